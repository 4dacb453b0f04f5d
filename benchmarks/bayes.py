"""How fast posterior draws are, and how good: ``python -m benchmarks.bayes [--check] [--markdown FILE]``.

Effective draws per second (the smallest effective sample size of the bulk over parameters, by the seconds of a warm
call, warm-up included) with R-hat and ESS beside every time. The three-factor model is also written in NumPyro the
plain way: factor scores sampled with the parameters, markers, half-normal deviations, LKJ correlations; its own MCMC,
chains vectorised, warm. Under flat priors medians of loadings are held against the maximum; of the 2PL, Pareto's k of
leave-one-out is checked.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

import jaxlatent as jl
from benchmarks import pages
from benchmarks.harness import Benchmark, Fact, Options, Peer, Result, measure, timed
from jaxlatent.numerics.chains import summarize_chains

RHAT, ESS_PER_CHAIN = 1.01, 400
GAP, ESS_FLAT, PARETO = 0.25, 4000, 0.7
FASTER = 5.0  # effective draws per second against the plain model
SETTINGS = jl.NUTS()
LONGER = jl.NUTS(num_samples=2000)
THREE = "visual =~ x1 + x2 + x3\n textual =~ x4 + x5 + x6\n speed =~ x7 + x8 + x9"
DEMOCRACY = """
ind60 =~ x1 + x2 + x3
dem60 =~ y1 + y2 + y3 + y4
dem65 =~ y5 + y6 + y7 + y8
dem60 ~ ind60
dem65 ~ ind60 + dem60
y1 ~~ y5
y2 ~~ y4 + y6
y3 ~~ y7
y4 ~~ y8
y6 ~~ y8
"""


def _holzinger() -> Any:
    return jl.datasets.load("holzinger_swineford")


def _neuroticism() -> Any:
    return jl.datasets.load("bfi")[["N1", "N2", "N3", "N4", "N5"]].head(500)


def sampled(
    make: Callable[[], tuple[Any, Any, dict[str, Any]]],
    options: Options,
    settings: jl.NUTS = SETTINGS,
    more_facts: Callable[[Any], tuple[Fact, ...]] = lambda fit: (),
) -> tuple[Result, float]:
    """A fit by NUTS, warm; smallest ESS per second. more_facts: what else is checked of the fit."""
    model, data, more = make()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jl.ModelWarning)
        timing, fit = measure(lambda key: model.fit(data, settings, key=key, **more), min(options.repeat, 3), _keys())
    table = fit.parameters.query("free > 0")
    rhat, ess = float(table["rhat"].max()), float(table["ess_bulk"].min())
    divergent = int(fit.draws.stats["diverging"].sum())
    rate = ess / timing.median
    facts = (
        Fact(f"R-hat {rhat:.4f}", rhat <= RHAT),
        Fact(f"ESS of the bulk {ess:.0f}, {ess / settings.num_chains:.0f} a chain", ess >= ESS_PER_CHAIN * 4),
        Fact(f"{divergent} divergences", divergent == 0),
        Fact(f"{rate:.0f} effective draws a second"),
        *more_facts(fit),
    )
    return Result(timing, facts), rate


def _keys() -> Callable[[], int]:
    """0, 1, 2, ...: another key for every run."""
    state = iter(range(10**6))
    return lambda: next(state)


def pareto(fit: Any) -> tuple[Fact, ...]:
    """The largest Pareto k of leave-one-out."""
    k = float(fit.loo().pareto_k.max())
    return (Fact(f"largest Pareto k {k:.2f}", k <= PARETO),)


def near_maximum(options: Options) -> Result:
    """Medians of loadings under flat priors beside the maximum, in posterior standard deviations."""

    def facts(fit: Any) -> tuple[Fact, ...]:
        found, best = fit.parameters, jl.SEM(THREE).fit(_holzinger()).parameters
        loadings = found["op"].eq("=~") & (found["free"] > 0)
        gap = float(((found["median"] - best["est"]) / found["se"])[loadings].abs().max())
        ess = float(found.loc[loadings, "ess_bulk"].min())
        return (
            Fact(f"medians of loadings within {gap:.2f} posterior sd of the maximum", gap <= GAP),
            Fact(f"their ESS {ess:.0f}", ess >= ESS_FLAT),
        )

    return sampled(lambda: (jl.SEM(THREE, priors="flat"), _holzinger(), {}), options, LONGER, facts)[0]


# ---- the plain model ------------------------------------------------------------------------------------------------


def plain_model(y: jax.Array) -> None:
    """Three factors and nine items, factor scores sampled along."""
    n = y.shape[0]
    loadings = numpyro.sample("loadings", dist.Normal(0, 3).expand([6]).to_event(1))
    residual = numpyro.sample("residual", dist.HalfNormal(2).expand([9]).to_event(1))
    scale = numpyro.sample("scale", dist.HalfNormal(2).expand([3]).to_event(1))
    root = numpyro.sample("root", dist.LKJCholesky(3, 2.0))
    with numpyro.plate("person", n):
        x = numpyro.sample("x", dist.MultivariateNormal(jnp.zeros(3), scale_tril=scale[:, None] * root))
        one = jnp.ones(1)
        rows = [jnp.concatenate([one, loadings[2 * k : 2 * k + 2]]) for k in range(3)]
        mean = jnp.concatenate([x[:, k : k + 1] * rows[k] for k in range(3)], 1)
        numpyro.sample("y", dist.Normal(mean, residual).to_event(1), obs=y)


def plain(options: Options) -> tuple[float, float, float, float]:
    """Seconds, R-hat, ESS and ESS per second of the plain model, warm; draws doubled until R-hat is below 1.01."""
    names = [f"x{j}" for j in range(1, 10)]
    rows = _holzinger()[names].to_numpy()
    y = jnp.asarray(rows - rows.mean(0))
    draws = SETTINGS.num_samples
    while True:
        kernel = numpyro.infer.NUTS(plain_model)
        mcmc = numpyro.infer.MCMC(
            kernel, num_warmup=SETTINGS.num_warmup, num_samples=draws, num_chains=SETTINGS.num_chains,
            chain_method="vectorized", progress_bar=False,
        )  # fmt: skip
        mcmc.run(jax.random.key(options.seed), y)
        jax.block_until_ready(mcmc.get_samples())

        def again(mcmc: Any = mcmc) -> Any:
            mcmc.run(jax.random.key(options.seed + 1), y)
            return jax.block_until_ready(mcmc.get_samples(group_by_chain=True))

        took, found = timed(again)
        parameters = [np.asarray(found[name], float).reshape(SETTINGS.num_chains, draws, -1)
                      for name in ("loadings", "residual", "scale")]  # fmt: skip
        correlations = np.asarray(found["root"] @ jnp.swapaxes(found["root"], -1, -2), float)
        parameters.append(correlations[..., np.tril_indices(3, -1)[0], np.tril_indices(3, -1)[1]])
        chains = summarize_chains(np.concatenate(parameters, -1))
        rhat, ess = float(np.nanmax(chains.rhat)), float(np.nanmin(chains.ess_bulk))
        if rhat < RHAT or draws >= 8 * SETTINGS.num_samples:
            return took, rhat, ess, ess / took
        draws *= 2


def against_plain(options: Options) -> Result:
    """Our three-factor fit, the plain model beside it."""
    result, rate = sampled(MODELS["holzinger_swineford"], options)
    took, rhat, ess, theirs = plain(options)
    facts = (
        *result.facts,
        Fact(f"plain NumPyro: {took:.1f} s, R-hat {rhat:.4f}, ESS {ess:.0f}, {theirs:.1f} effective draws a second"),
        Fact(f"{rate / theirs:.1f} x its effective draws a second", rate >= FASTER * theirs),
    )
    return Result(result.timing, facts, (Peer("plain joint NumPyro", took, False),))


MODELS: dict[str, Callable[[], tuple[Any, Any, dict[str, Any]]]] = {
    "holzinger_swineford": lambda: (jl.SEM(THREE), _holzinger(), {}),
    "political_democracy": lambda: (jl.SEM(DEMOCRACY), jl.datasets.load("political_democracy"), {}),
    "two_groups": lambda: (jl.SEM(THREE), _holzinger(), {"group": "school"}),
    "lsat7_2pl": lambda: (jl.IRT("2pl"), jl.datasets.load("lsat7"), {}),
    "bfi_graded": lambda: (jl.IRT("graded"), _neuroticism(), {}),
}
WHAT = {
    "political_democracy": "Bollen's model, 31 parameters, from moments",
    "two_groups": "three factors in two schools, 60 parameters, from moments",
    "lsat7_2pl": "2PL of five items, by quadrature over patterns",
    "bfi_graded": "graded model of five items, 500 persons, by quadrature over patterns",
}


def measured(name: str, options: Options) -> Result:
    """One of the models."""
    if name == "lsat7_2pl":
        return sampled(MODELS[name], options, more_facts=pareto)[0]
    return sampled(MODELS[name], options)[0]


BENCHMARKS = (
    Benchmark("holzinger_swineford", "three factors, 21 parameters, 4 chains of 500 + 1000", None, against_plain),
    Benchmark("flat_priors", "the same under flat priors, 4 chains of 500 + 2000", None, near_maximum),
    *(Benchmark(name, f"{what}, 4 chains of 500 + 1000", None, partial(measured, name)) for name, what in WHAT.items()),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rows; 1 where --check finds an aim missed. --markdown FILE writes them to their place in the page."""
    return pages.command("benchmarks.bayes", __doc__ or "", BENCHMARKS, arguments)


if __name__ == "__main__":
    sys.exit(main())
