"""Item types by rules of integration by kinds of data: every cell fits, or is listed with the sentence it raises.

The fast tests cover every type, every rule and every kind of data once; the whole product is slow.
"""

from __future__ import annotations

import warnings

import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest

import jaxlatent as jl
from jaxlatent.measurement.item_types import ITEM_TYPES

N, J = 400, 5
RULES = {
    "quadrature": jl.GaussHermite(31),
    "adaptive": jl.AdaptiveGaussHermite(11),
    "laplace": jl.Laplace(),
    "quasi": jl.QuasiMonteCarlo(256),
    "importance": jl.ImportanceSampling(64),
}
DATA = ("complete", "missing", "weights", "groups")
PRIORS = {  # without which a small sample has no maximum inside
    "3pl": {"logit_guessing": dist.Normal(-1.5, 0.5)},
    "4pl": {"logit_guessing": dist.Normal(-1.5, 0.5), "logit_upper": dist.Normal(1.5, 0.5)},
}
UNSUPPORTED: dict[tuple[str, str], str] = {}  # (type, rule) -> the sentence, whatever the data
BINARY = ("rasch", "1pl", "2pl", "3pl", "4pl", "ideal", "cloglog")


def answers(kind, x, rng):
    """Answers of one item of a type to latent values x."""
    z = 1.1 * x + rng.logistic(size=len(x))
    if kind == "ideal":
        return (rng.random(len(x)) < np.exp(-0.5 * (0.9 * x - 0.4) ** 2)).astype(float)
    if kind in BINARY:
        return (z > rng.uniform(-0.8, 0.8)).astype(float)
    if kind in ("poisson", "negative_binomial"):
        rate = np.exp(0.6 + 0.5 * x)
        return rng.poisson(rate * (rng.gamma(3, 1 / 3, len(x)) if kind == "negative_binomial" else 1)).astype(float)
    if kind in ("normal", "lognormal"):
        z = x + rng.standard_normal(len(x))
        return z if kind == "normal" else np.exp(0.4 * z)
    return np.digitize(z, [-1.0, 0.8]).astype(float)


def sample(kinds, data, seed=1):
    """Answers to items of these types, as a frame with the columns w and g, and the options of fit."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(N)
    y = pd.DataFrame({f"y{j}": answers(kind, x, rng) for j, kind in enumerate(kinds)})
    if data == "missing":
        y = y.mask(rng.random(y.shape) < 0.15)
    if data == "weights":
        return y.assign(w=rng.uniform(0.5, 1.5, N)), {"weights": "w"}
    if data == "groups":
        return y.assign(g=np.where(np.arange(N) % 2, "v", "u")), {"group": "g"}
    return y, {}


def check(kinds, rule, data, seed=1):
    """Fit, and hold the likelihood found against a fine grid at the same estimates."""
    y, options = sample(kinds, data, seed)
    kinds = {f"y{j}": kind for j, kind in enumerate(kinds)}
    priors = {k: v for kind in kinds.values() for k, v in PRIORS.get(kind, {}).items()}
    spec = jl.IRT(kinds, priors=priors)
    with warnings.catch_warnings():
        warnings.simplefilter("error", jl.ModelWarning)
        fit = spec.fit(y, jl.MarginalML(RULES[rule]), **options)
    assert fit.converged and np.isfinite(fit.log_likelihood)
    est = fit.parameters[fit.parameters["free"] > 0]
    assert np.isfinite(est["est"]).all() and (est["se"] > 0).all()
    exact = fit.log_likelihoods() if "weights" not in options else None
    if exact is not None:
        np.testing.assert_allclose(exact.sum(), fit.log_likelihood, rtol=1e-5)
    scores = fit.scores()
    assert len(scores) == N and np.isfinite(scores).all(axis=None)


COVER = [
    (("rasch", "rsm", "rsm", "3pl", "ideal"), "quadrature", "complete"),
    (("1pl", "pcm", "gpcm", "normal", "negative_binomial"), "adaptive", "missing"),
    (("2pl", "2pl", "2pl", "2pl", "2pl"), "laplace", "weights"),
    (("2pl", "2pl", "2pl", "2pl", "2pl"), "quadrature", "weights"),
    (("nominal", "graded", "ogive", "2pl", "poisson"), "quadrature", "complete"),
    (("2pl", "2pl", "2pl", "2pl", "2pl"), "quasi", "groups"),
    (("grsm", "grsm", "4pl", "cloglog", "lognormal"), "importance", "complete"),
]


def test_the_cover_covers():
    assert {kind for kinds, _, _ in COVER for kind in kinds} == set(ITEM_TYPES)
    assert {rule for _, rule, _ in COVER} == set(RULES)
    assert {data for _, _, data in COVER} == set(DATA)


@pytest.mark.parametrize(("kinds", "rule", "data"), COVER, ids=[f"{r}-{d}" for _, r, d in COVER])
def test_some_of_everything(kinds, rule, data):
    check(kinds, rule, data)


@pytest.mark.study
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", ITEM_TYPES)
def test_product(kind, rule, data, monkeypatch, request):
    if rule == "quasi" and ITEM_TYPES[kind].variance_free:
        reason = "points move with the variance, and their score is not the gradient: many steps, or none that helps"
        request.applymarker(pytest.mark.xfail(strict=False, reason=reason))
    # persons one by one, so that complete, missing and weighted data have one shape and compile once
    import jaxlatent.inference.marginal_fit as marginal_fit

    monkeypatch.setattr(marginal_fit, "pattern_data", lambda data: (data, np.arange(len(data.codes))))
    check((kind,) * J, rule, data)
