"""Several starting points: the best maximum is kept, and the fit says how many reached it."""

import jax
import numpy as np
import pandas as pd
import pytest

import jaxlatent as jl
from jaxlatent.inference import marginal_fit
from jaxlatent.inference.marginal_engine import Marginal, MarginalProblem
from jaxlatent.inference.marginal_fit import form_of, problem_of, reduction, solver_options, starting_values
from jaxlatent.inference.starts import starting_points
from jaxlatent.spec.item_table import item_layout


@pytest.fixture(scope="module")
def peaks():
    """Items that are chosen by people near them: where each peak lies is a question with several good answers."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((300, 1))
    p = np.exp(-0.5 * (1.2 * (x - np.array([-2, -1, -0.3, 0.3, 1, 2]))) ** 2)
    return pd.DataFrame((rng.random(p.shape) < p).astype(float), columns=[f"i{j}" for j in range(6)])


def test_many_starts_find_a_better_maximum_where_there_are_several(peaks):
    spec = jl.IRT("ideal")
    one = spec.fit(peaks, jl.MarginalML(se="none"))
    several = spec.fit(peaks, jl.MarginalML(se="none", starts=8))
    assert one.converged and several.converged
    assert several.log_likelihood > one.log_likelihood + 5
    note = next(each for each in several.notes if "starts" in each)
    assert note.startswith("Best of 8 starts: ") and "at lower ones (the next" in note
    assert not any("starts" in each for each in one.notes)
    # from the better maximum nothing is gained by starting there again
    again = spec.fit(peaks, jl.MarginalML(se="none", starts=8))
    assert again.log_likelihood == several.log_likelihood


@pytest.mark.study
def test_one_program_and_one_after_the_other_agree(peaks, monkeypatch):
    spec, engine = jl.IRT("ideal"), jl.MarginalML(se="none", starts=8)
    together = spec.fit(peaks, engine)
    monkeypatch.setattr(marginal_fit, "LARGE", 0)
    apart = spec.fit(peaks, engine, progress=False)
    assert abs(apart.log_likelihood - together.log_likelihood) < 1e-6
    np.testing.assert_allclose(apart.parameters["est"], together.parameters["est"], atol=1e-3)
    assert together.notes == apart.notes


def test_starting_points_are_allowed_and_differ():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((120, 1))
    z = x + rng.logistic(size=(120, 5))
    data = pd.DataFrame(np.digitize(z, [-2, -1, 0, 1, 2]).astype(float), columns=list("abcde"))
    data["a"], data["b"] = z[:, 0] > 0, z[:, 1] > 0
    spec = jl.IRT({"a": "3pl", "b": "4pl", "c": "graded", "d": "graded", "e": "graded"}, "F =~ a + b + q*c + q*d + e")
    with jax.enable_x64(True):
        p = spec._prepare(data.astype(float), None, None)
        layout, rule = item_layout(p.table), jl.GaussHermite(5)
        form = form_of(p.measurement, p.coding, rule)
        inner, modes, _ = problem_of(form, layout, p.data, 1, rule)
        offset, basis = reduction(p.table)
        start = starting_values(p.table, layout, p.data, p.measurement)
        options = solver_options(form, inner, basis.shape[1], 120, jl.MarginalML())
        whole = MarginalProblem(inner, offset, basis, basis.T @ (start - offset), modes, options)
        points = np.asarray(starting_points(Marginal(form, p.priors), whole, 40, 0))
        np.testing.assert_allclose(points[0], whole.start)
        matrices = [{k: np.asarray(v) for k, v in layout.unpack(offset + basis @ x).items()} for x in points]
    assert len(np.unique(points, axis=0)) == 40
    for each in matrices:
        assert (np.diff(each["intercepts"][0, 2:], axis=-1) < 0).all()
        assert ((each["guessing"][0, :2] > 0) & (each["guessing"] < each["upper"])[0, :2]).all()
        assert (each["upper"][0, 1] < 1) and each["loadings"][0, 2, 0] == each["loadings"][0, 3, 0]
    spread = np.std([each["loadings"][0, 4, 0] for each in matrices])
    assert 0.6 < spread < 1.5  # sd 1 of 40 draws


@pytest.mark.parametrize("starts", [0, -1, 1.5, True, "2"])
def test_starts_are_a_whole_number(starts):
    with pytest.raises(ValueError, match="starts to be a whole number from 1"):
        jl.MarginalML(starts=starts)


def test_batches_start_once(peaks):
    with pytest.raises(ValueError, match="starts=1"):
        jl.fit_batch(jl.IRT("2pl"), [peaks, peaks], jl.MarginalML(starts=2))
