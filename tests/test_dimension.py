"""Choice of the number of factors by held-out log-likelihood."""

import numpy as np
import pandas as pd
import pytest

import jaxlatent as jl

ENGINE = jl.MarginalML(jl.GaussHermite(9), "none")
N = 400


@pytest.fixture(scope="module")
def two_factors():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, 2))
    z = 2 * np.repeat(x, 4, axis=1) + rng.logistic(size=(N, 8))
    return pd.DataFrame((z > 0).astype(float), columns=[f"i{j}" for j in range(8)])


@pytest.mark.study
def test_two_factors_are_found_and_the_figures_are_those_of_the_fits(two_factors):
    table = jl.choose_dimension("2pl", two_factors, (1, 2), folds=2, engine=ENGINE)
    assert list(table.index) == [1, 2] and table["converged"].all()
    assert table["gain"][2] > 4 * table["gain_se"][2] > 0
    assert table["held_out_log_likelihood"].idxmax() == 2 == table["bic"].idxmin()
    # people who were not fitted to are less likely than those who were, by about the number of parameters
    optimism = (table["log_likelihood"] - table["held_out_log_likelihood"]) / table["npar"]
    assert optimism.between(0.5, 6).all()
    whole = jl.IRT("2pl", 2).fit(two_factors, ENGINE)
    assert table.loc[2, "log_likelihood"] == pytest.approx(whole.log_likelihood, abs=1e-8)
    assert table.loc[2, "npar"] == 23 and table.loc[2, "aic"] == pytest.approx(46 - 2 * whole.log_likelihood, abs=1e-6)


def test_held_out_figures_are_sums_over_folds(two_factors, tmp_path):
    """A function that makes the same model for both sizes, against fits to halves."""
    made = []

    def model(d):
        made.append(d)
        return jl.IRT("2pl")

    y = two_factors.to_numpy()
    table = jl.choose_dimension(model, y, (2, 1), folds=2, engine=ENGINE, key=3, path=tmp_path / "scree.svg")
    fold = np.random.default_rng(3).permutation(N) % 2
    values = np.empty(N)
    for f in (0, 1):
        values[fold == f] = jl.IRT("2pl").fit(y[fold != f], ENGINE).log_likelihoods(y[fold == f])
    assert table["held_out_log_likelihood"][1] == pytest.approx(values.sum(), abs=1e-6)
    assert table["held_out_log_likelihood_se"][1] == pytest.approx(np.sqrt(N) * values.std(ddof=1), rel=1e-6)
    whole = jl.IRT("2pl").fit(y, ENGINE)
    measures = {"log_likelihood": whole.log_likelihood, "npar": 16, "aic": 32 - 2 * whole.log_likelihood}
    measures["bic"] = 16 * np.log(N) - 2 * whole.log_likelihood
    assert table.loc[1, list(measures)].to_dict() == pytest.approx(measures, abs=1e-6)
    assert list(table.index) == [1, 2] and set(made) == {1, 2} and table["converged"].all()
    assert np.isnan(table["gain"][1]) and table["gain"][2] == 0 and table["gain_se"][2] == 0
    assert "<svg" in (tmp_path / "scree.svg").read_text()


BAD = {
    "no dims": ({"dims": ()}, "different numbers of factors from 1"),
    "twice the same": ({"dims": (1, 1)}, "different numbers of factors from 1"),
    "half a factor": ({"dims": (1.5,)}, "different numbers of factors from 1"),
    "one fold": ({"folds": 1}, "folds, a whole number from 2 to 40"),
    "many folds": ({"folds": 41}, "folds, a whole number from 2 to 40"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_options_are_refused(two_factors, what):
    options, says = BAD[what]
    with pytest.raises(ValueError, match=says):
        jl.choose_dimension("2pl", two_factors, **options)


def test_a_category_of_one_person_is_refused(two_factors):
    data = two_factors.copy()
    data.loc[5, "i3"] = 2.0
    with pytest.raises(ValueError, match="answer 2 to 'i3' is too rare"):
        jl.choose_dimension({name: "graded" if name == "i3" else "2pl" for name in data}, data, (1,), engine=ENGINE)
