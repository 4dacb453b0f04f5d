"""AmortizedVI: the same maximum as MarginalML's, learned densities, going on where it stopped, saving, bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from scipy.stats import ks_2samp

import jaxlatent as jl
from jaxlatent.inference import amortized_run, amortized_training
from jaxlatent.inference.amortized_settings import AmortizedVI as Settings
from jaxlatent.inference.importance import information
from jaxlatent.inference.item_model import double_arrays

QUICK = {"max_epochs": 6, "se": "none"}


@pytest.fixture(scope="module")
def lsat():
    return jl.datasets.load("lsat7")


@pytest.fixture(scope="module")
def exact(lsat):
    return jl.IRT("2pl").fit(lsat)


@pytest.fixture(scope="module")
def polished(lsat):
    return jl.IRT("2pl").fit(lsat, jl.AmortizedVI())


def test_polishing_ends_at_the_maximum(exact, polished):
    """Second-order steps follow, so the end point is the maximum likelihood estimate, with its standard errors."""
    assert polished.converged
    assert abs(polished.log_likelihood - exact.log_likelihood) < 1e-4
    a, b = polished.parameters, exact.parameters
    free = b["free"] > 0
    gap = (a["est"] - b["est"])[free] / b["se"][free]
    assert np.abs(gap).max() < 0.01
    np.testing.assert_allclose(a["se"][free], b["se"][free], rtol=0.01)


def test_the_sampled_log_likelihood_is_within_its_error(exact, polished):
    found = polished.log_likelihood_estimate
    assert found.n_samples == 1000 and found.standard_error > 0
    assert abs(found.value - exact.log_likelihood) < 4 * found.standard_error + 0.01
    with pytest.raises(ValueError, match=r"fit with AmortizedVI"):
        _ = exact.log_likelihood_estimate


@pytest.mark.study
def test_training_alone_comes_near(lsat, exact):
    """Without polishing the log-likelihood is within half a unit of the maximum, and scores are the same."""
    fit = jl.IRT("2pl").fit(lsat, jl.AmortizedVI(polish=False))
    assert exact.log_likelihood - 0.5 < fit.log_likelihood_estimate.value < exact.log_likelihood + 0.3
    scores, others = fit.scores(lsat.head(200))["F1"], exact.scores(lsat.head(200))["F1"]
    assert np.corrcoef(scores, others)[0, 1] > 0.999


def test_errors_from_draws_are_those_of_quadrature(lsat, exact, polished):
    """Louis' information at the maximum from 1000 draws of the guide, within 5 % of quadrature's standard errors."""
    f, t = exact._fitted, polished._fitted.amortized
    with jax.enable_x64(True):
        arrays = double_arrays(f.data)
        cross, observed = information(t.model, {}, f.free, t.guide, t.guide_params, arrays, 1000, 0)
    for matrix, other in ((observed, exact), (cross, jl.IRT("2pl").fit(lsat, jl.MarginalML(se="crossprod")))):
        se = np.sqrt(np.diag(np.linalg.inv(matrix)))
        np.testing.assert_allclose(se, np.sqrt(np.diag(other.vcov())), rtol=0.05)


def test_the_same_key_gives_the_same_numbers(lsat):
    engine = jl.AmortizedVI(polish=False, **QUICK)
    a, b, c = (jl.IRT("2pl").fit(lsat, engine, key=key).parameters["est"].to_numpy() for key in (3, 3, 4))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 1e-6


class Stop(Exception):
    """Stands for whatever ends a run."""


def test_a_run_that_stopped_ends_where_the_other_does(lsat, tmp_path, monkeypatch):
    """Bit for bit, from a checkpoint in the midst of what is averaged."""
    monkeypatch.setattr(amortized_run, "SAVE_EVERY", 0.0)
    engine = jl.AmortizedVI(polish=False, annealing=2, averaging=1.0, **QUICK)
    whole = jl.IRT("2pl").fit(lsat, engine, checkpoint=tmp_path / "whole").parameters["est"].to_numpy()
    looks, judge = [], amortized_training.judge

    def stop(course, *rest):
        judge(course, *rest)
        looks.append(course.epoch)
        if len(looks) == 6:
            raise Stop

    monkeypatch.setattr(amortized_training, "judge", stop)
    with pytest.raises(Stop):
        jl.IRT("2pl").fit(lsat, engine, checkpoint=tmp_path / "part")
    monkeypatch.setattr(amortized_training, "judge", judge)
    fit = jl.IRT("2pl").fit(lsat, engine, checkpoint=tmp_path / "part")
    np.testing.assert_array_equal(fit.parameters["est"].to_numpy(), whole)
    assert len(fit._fitted.amortized.looks) > 5 and looks[-2] > 4


def test_a_checkpoint_of_something_else_is_refused(lsat, tmp_path):
    engine = jl.AmortizedVI(polish=False, **QUICK)
    jl.IRT("2pl").fit(lsat, engine, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=r"of another model"):
        jl.IRT("2pl").fit(lsat.iloc[:, :4], engine, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=r"of other data"):
        jl.IRT("2pl").fit(lsat.iloc[::-1], engine, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=r"of other settings"):
        jl.IRT("2pl").fit(lsat, jl.AmortizedVI(particles=7, polish=False, **QUICK), checkpoint=tmp_path)
    with pytest.raises(ValueError, match=r"MarginalML takes no checkpoint"):
        jl.IRT("2pl").fit(lsat, checkpoint=tmp_path)


def test_ctrl_c_keeps_the_last_look(lsat, tmp_path, monkeypatch):
    judge, looks = amortized_training.judge, []

    def interrupt(course, *rest):
        judge(course, *rest)
        looks.append(1)
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(amortized_training, "judge", interrupt)
    with pytest.warns(jl.ModelWarning, match=r"did not converge"):
        fit = jl.IRT("2pl").fit(lsat, jl.AmortizedVI(**QUICK), checkpoint=tmp_path)
    assert not fit.converged and np.isfinite(fit.log_likelihood)
    assert list(tmp_path.glob("step-*.checkpoint"))


def test_streamed_data_give_what_data_in_memory_give(lsat, exact, tmp_path):
    pytest.importorskip("pyarrow")
    lsat.to_parquet(tmp_path / "answers.parquet", row_group_size=100)
    source = jl.Responses.scan(tmp_path / "answers.parquet")
    fit = jl.IRT("2pl").fit(source, jl.AmortizedVI())
    assert fit.converged and fit.fit_measures()["ntotal"] == 1000
    value, error, _ = fit.log_likelihood_estimate
    assert abs(value - fit.log_likelihood) < 4 * error + 0.1 and error > 0
    assert abs(fit.log_likelihood - exact.log_likelihood) < 1e-4  # second-order steps, a pass through the file for each
    np.testing.assert_allclose(fit.parameters["se"], exact.parameters["se"], rtol=1e-3)
    assert np.corrcoef(fit.scores(lsat)["F1"], exact.scores(lsat)["F1"])[0, 1] > 0.999
    with pytest.raises(ValueError, match=r"holds no rows"):
        fit.scores()


@pytest.fixture(scope="module")
def bent():
    """Two clusters of persons: far from normal."""
    rng = np.random.default_rng(1)
    x = np.where(rng.random(1500) < 0.7, -0.65, 1.52) + 0.25 * rng.standard_normal(1500)
    slopes, d = np.linspace(1.5, 3, 12), np.linspace(-1.5, 1.5, 12)
    p = 1 / (1 + np.exp(-(x[:, None] * slopes + d)))
    return (rng.random(p.shape) < p).astype(float)


@pytest.fixture(scope="module")
def learned(bent):
    return jl.IRT("2pl", latent=jl.latent.Flow("spline")).fit(bent, jl.AmortizedVI(max_epochs=60))


@pytest.mark.study
def test_a_flow_beats_the_normal_where_persons_are_no_normal_sample(bent, learned):
    normal = jl.IRT("2pl").fit(bent)
    assert learned.log_likelihood > normal.log_likelihood + 20
    assert learned.engine.name == "AmortizedVI"
    assert any("learned distribution" in note for note in learned.notes)
    frame = learned.plausible_values(3, key=1)
    assert frame.shape == (4500, 1) and abs(frame["F1"].mean()) < 0.1 and abs(frame["F1"].std() - 1) < 0.1
    measures = learned.fit_measures()
    assert np.isnan(measures["m2"]) and np.isfinite(measures["srmsr"])
    assert (learned.item_fit()["s_x2_pvalue"] > 1e-4).all()


def test_a_saved_fit_scores_as_before(bent, learned, tmp_path):
    assert learned.fit_measures()["npar"] == 24 + jl.latent.Flow("spline").n_weights(1) > 24
    learned.save(tmp_path / "bent.latent")
    again = jl.load(tmp_path / "bent.latent")
    np.testing.assert_allclose(again.scores(bent[:50]).to_numpy(), learned.scores(bent[:50]).to_numpy(), atol=1e-6)
    assert again.engine.name == "AmortizedVI" and repr(again.spec.latent) == repr(learned.spec.latent)


def test_plots_of_training_and_density(learned, exact, tmp_path):
    pytest.importorskip("matplotlib")
    learned.plot.loss(path=tmp_path / "loss.png")
    ax = learned.plot.latent_density(path=tmp_path / "density.png")
    x, density = ax.get_lines()[0].get_data()
    assert abs(np.trapezoid(density, x) - 1) < 0.01
    assert (tmp_path / "loss.png").stat().st_size > 5000
    with pytest.raises(ValueError, match=r"fit with AmortizedVI"):
        exact.plot.loss()


@pytest.mark.study
def test_two_devices_give_the_answer_of_one(tmp_path):
    """Persons over two devices; sums differ in their order only."""
    code = textwrap.dedent("""
        import json, numpy as np, jaxlatent as jl, jax
        engine = jl.AmortizedVI(polish=False, max_epochs=2, se="none")
        fit = jl.IRT("2pl").fit(jl.datasets.load("lsat7"), engine)
        print(json.dumps([len(jax.devices()), *fit.parameters["est"]]))
    """)
    found = []
    for n in (1, 2):
        flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={n}", "JAX_PLATFORMS": "cpu"}
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(jl.__file__).parents[1],
            env={**os.environ, **flags},
        )  # fmt: skip
        found.append(json.loads(run.stdout.splitlines()[-1]))
    assert [each[0] for each in found] == [1, 2]
    np.testing.assert_allclose(found[1][1:], found[0][1:], atol=1e-5)


def test_steps_that_are_not_finite_are_undone(lsat, polished):
    """An optimiser that explodes: the run ends with finite numbers, and says so."""
    wild = optax.chain(optax.scale_by_adam(), optax.scale(-1e6))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jl.ModelWarning)
        fit = jl.IRT("2pl").fit(lsat, jl.AmortizedVI(optimizer=wild, polish=False, max_epochs=2, se="none"))
    assert any("not finite and undone" in note for note in fit.notes)
    assert np.isfinite(fit.parameters["est"]).all()


BAD = {
    "particles": (lambda: Settings(particles=0), "particles to be a whole number from 1; got 0"),
    "estimator": (lambda: Settings(estimator="vimco"), "estimator to be one of .*got 'vimco'"),
    "batch size": (lambda: Settings(batch_size=2.5), "batch_size to be a whole number"),
    "epochs": (lambda: Settings(max_epochs=True), "max_epochs to be a whole number"),
    "errors": (lambda: Settings(se="expected"), "se to be one of"),
    "polish": (lambda: Settings(polish=1), "polish to be True or False"),
    "annealing": (lambda: Settings(annealing=-1), "annealing to be a whole number of epochs from 0; got -1"),
    "annealing for ever": (lambda: Settings(annealing=5, max_epochs=5), "annealing below max_epochs, 5; got 5"),
    "averaging": (lambda: Settings(averaging=1.5), "averaging as a share from 0 to 1; got 1.5"),
    "optimizer": (lambda: Settings(optimizer="adam"), "optax GradientTransformation"),
}


@pytest.mark.parametrize("name", BAD)
def test_settings_that_make_no_sense(name):
    make, sentence = BAD[name]
    with pytest.raises(ValueError, match=sentence):
        make()


def test_models_it_does_not_take(lsat):
    with pytest.raises(ValueError, match=r"MarginalML takes normal"):
        jl.IRT("2pl", latent=jl.latent.Flow("spline")).fit(lsat, jl.MarginalML())
    with pytest.raises(ValueError, match=r"Expected a guide"):
        jl.IRT("2pl").fit(lsat, jl.AmortizedVI(guide=3, **QUICK))


def test_a_batch_is_the_loop(lsat):
    """Three data sets by programs compiled once give what single fits give."""
    sets = [lsat.sample(frac=1, replace=True, random_state=k).reset_index(drop=True) for k in range(3)]
    batch = jl.fit_batch(jl.IRT("2pl"), sets, jl.AmortizedVI())
    singles = [jl.IRT("2pl").fit(each, jl.AmortizedVI()) for each in sets]
    np.testing.assert_allclose(batch.free, [fit._fitted.free for fit in singles], atol=1e-5)
    np.testing.assert_allclose(batch.log_likelihood, [fit.log_likelihood for fit in singles], atol=1e-6)
    assert batch.vcov.shape == (3, 10, 10) and (batch.code == 1).all()


@pytest.mark.study
def test_a_run_that_falls_goes_back(lsat):
    """A flow guide at the usual rate can diverge on five items: the run goes back to its best look, or says so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jl.ModelWarning)
        fit = jl.IRT("2pl").fit(lsat, jl.AmortizedVI(polish=False, guide=jl.guides.Amortized(family="flow"), se="none"))
    assert np.isfinite(fit.log_likelihood)
    assert fit.log_likelihood > -2670 or not fit.converged


def test_answers_of_a_learned_density_are_simulated_from_it(learned, bent):
    """Sum scores are those observed, by Kolmogorov and Smirnov at 1 %; with normal factors they are not."""
    observed = bent.sum(axis=1)
    normal = jl.IRT("2pl").fit(bent).simulate(3000, key=1).sum(axis=1)
    assert ks_2samp(learned.simulate(3000, key=1).sum(axis=1), observed).pvalue > 0.01
    assert ks_2samp(normal, observed).pvalue < 0.01


def test_what_a_learned_density_does_not_have(learned, bent):
    for call in (learned.modification_indices, learned.score_tests, lambda: learned.scores(bent[:5], "map")):
        with pytest.raises(ValueError, match=r"is for normal factors"):
            call()


def test_functions_as_guides(lsat):
    import numpyro
    import numpyro.distributions as dist

    def plain(y, observed, covariates):
        return dist.Normal((y.sum(-1, keepdims=True) - 3.5) / 2, 0.9)

    def learns(y, observed, covariates):
        return dist.Normal(numpyro.param("b", 0.5) * (y.sum(-1, keepdims=True) - 3.5), 0.9)

    fit = jl.IRT("2pl").fit(lsat, jl.AmortizedVI(guide=plain, max_epochs=4))
    assert fit.converged and abs(fit.log_likelihood + 2658.805) < 1e-2
    with pytest.raises(ValueError, match=r"numpyro.param 'b' would stay at its start"):
        jl.IRT("2pl").fit(lsat, jl.AmortizedVI(guide=learns, max_epochs=4))


def test_guides_of_persons_and_files(lsat, tmp_path):
    pytest.importorskip("pyarrow")
    lsat.to_parquet(tmp_path / "answers.parquet")
    source = jl.Responses.scan(tmp_path / "answers.parquet")
    with pytest.raises(ValueError, match=r"Free has numbers of its own"):
        jl.IRT("2pl").fit(source, jl.AmortizedVI(guide=jl.guides.Free()))
