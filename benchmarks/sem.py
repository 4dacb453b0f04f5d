"""How fast structural equation models are fitted, and how exactly: ``python -m benchmarks.sem [--check]``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

import jaxlatent as jl
from benchmarks import cold, harness, memory, peers
from benchmarks.harness import Benchmark, Fact, Options, Peer, Result, measure
from benchmarks.models import (
    THREE_FACTORS,
    bench_data,
    everything,
    holzinger_swineford,
    simulated_sets,
    six_factors,
    with_parameters,
)
from jaxlatent.data.moments import sample_moments
from jaxlatent.data.responses import Responses
from jaxlatent.inference.fitting import moment_layout, moment_problem, newton_problem, saturated_log_likelihood
from jaxlatent.inference.newton_engine import Newton, run
from jaxlatent.models.moments_objective import maximum_likelihood
from jaxlatent.spec.restrictions_matrix import split

DRAWS, SETS = 1000, 200
CLOSE, CLOSE_SE, CLOSE_LOOSE = 1e-3, 1e-3, 0.1  # of a standard error; relative; relative, for the bootstrap's


def _converged(fit: jl.Fit) -> Fact:
    state = "converged" if fit.converged else "NOT converged"
    return Fact(f"{state} in {fit.n_iterations} steps", fit.converged)


def _reference(name: str) -> dict[str, Any]:
    return json.loads(peers.shared("reference", f"{name}.json").read_text(encoding="utf-8"))


# ---- Holzinger-Swineford ----------------------------------------------------------------------------------------


def compiled_work(options: Options) -> Result:
    """The compiled program alone, on arrays that are already on the device."""
    table = jl.SEM(THREE_FACTORS).table()
    moments = sample_moments(Responses.from_frame(holzinger_swineford(), table.observed))
    n = float(moments.n.sum())
    inner = moment_problem(moment_layout(table, moments), moments, table.mean_structure)
    engine = Newton(maximum_likelihood)
    with jax.enable_x64(True):
        problem = newton_problem(inner, inner.start, split(table)[0], n, saturated_log_likelihood(moments, []))
        problem = jax.device_put(problem)
        timing, found = measure(lambda _: jax.block_until_ready(run(engine, problem)), 10 * options.repeat)
    chi_square = 2 * n * float(found.statistics["value"])
    state = Fact(f"code {int(found.code)} (1: converged) in {int(found.steps)} steps", int(found.code) == 1)
    return Result(timing, (state, peers.quoted_difference("chi-square", chi_square, peers.CHI_SQUARE["hs"], 4)))


def _against_reference(fit: jl.Fit) -> tuple[Fact, ...]:
    """Chi-square, estimates and standard errors against lavaan's at full precision."""
    lavaan = _reference("a01_hs_cfa_ml_marker")
    gap = float(fit.fit_measures()["chisq"]) - lavaan["fit"]["chisq"]
    far = peers.largest_difference(fit.parameters, peers.estimates(lavaan["parameters"]))
    ratio = peers.largest_ratio(fit.parameters, peers.estimates(lavaan["parameters"], "se"))
    return (
        _converged(fit),
        Fact(f"chi-square minus lavaan's {gap:+.1e}", abs(gap) < 1e-4),
        Fact(f"estimates within {far:.1e} s.e. of lavaan's", far < CLOSE),
        Fact(f"standard errors within {ratio:.1e} relative", ratio < CLOSE_SE),
    )


def finished_fit(options: Options) -> Result:
    """model.fit(frame) and its parameters, with standard errors."""
    model, data = jl.SEM(THREE_FACTORS), holzinger_swineford()

    def work(_: None) -> jl.Fit:
        return with_parameters(model.fit(data))

    timing, fit = measure(work, options.repeat)
    other = peers.semopy_fit(THREE_FACTORS, data, options.repeat)
    facts = _against_reference(fit) + peers.semopy_facts(fit.parameters, float(fit.fit_measures()["chisq"]), other)
    return Result(timing, facts, (other.peer,) if other else ())


def all_of_holzinger(options: Options) -> Result:
    """fit, parameters, fit_measures."""
    model = jl.SEM(THREE_FACTORS)
    timing, fit = measure(lambda _: everything(model, holzinger_swineford()), options.repeat)
    return Result(timing, _against_reference(fit), peers.LAVAAN["hs"])


def bootstrap(options: Options) -> Result:
    """1000 bootstrap fits from one fit."""
    fit = jl.SEM(THREE_FACTORS).fit(holzinger_swineford())
    timing, found = measure(lambda _: fit.bootstrap(DRAWS, key=options.seed), min(options.repeat, 5))
    parameters = fit.parameters.assign(se=found.parameters()["se"].to_numpy())
    lavaan = _reference("f_hs_bootstrap")
    ratio = peers.largest_ratio(parameters, peers.estimates(lavaan["parameters"], "se"))
    facts = (
        Fact(f"{len(found.draws)} of {DRAWS} converged", found.n_failed == 0 and len(found.draws) == DRAWS),
        Fact(f"standard errors within {ratio:.1%} of lavaan's bootstrap (1000 other draws)", ratio < CLOSE_LOOSE),
    )
    return Result(timing, facts, peers.LAVAAN["bootstrap"])


def batch(options: Options) -> Result:
    """fit_batch against a loop of fits over the same simulated data sets."""
    model = jl.SEM(THREE_FACTORS)
    stack = simulated_sets(model.fit(holzinger_swineford()), SETS, 301, options.seed)
    timing, found = measure(lambda _: jl.fit_batch(model, stack), min(options.repeat, 5))
    loop, fits = measure(lambda _: [model.fit(y) for y in stack], 1)
    single = np.array([_free(fit) for fit in fits])
    se = np.sqrt(np.diagonal(found.vcov, axis1=1, axis2=2))
    far = float((np.abs(found.free - single) / se).max())
    good = int((found.code == 1).sum())
    alone = sum(fit.converged for fit in fits)
    facts = (
        Fact(f"{good} of {SETS} converged (loop: {alone})", good == alone),
        Fact(f"estimates within {far:.1e} s.e. of the loop's", far < CLOSE),
    )
    return Result(timing, facts, (Peer(f"a loop of {SETS} x model.fit", loop.median, False),))


def _free(fit: jl.Fit) -> np.ndarray:
    """The free vector, read from the table."""
    rows = fit.parameters[fit.parameters["free"] > 0].drop_duplicates("free").sort_values("free")
    return rows["est"].to_numpy()


# ---- six factors ------------------------------------------------------------------------------------------------


def six(options: Options, p: int) -> Result:
    """Everything about cfa_n1000_p<p>, and semopy's fit of the same."""
    data, syntax = bench_data(f"cfa_n1000_p{p}"), six_factors(p)
    model = jl.SEM(syntax)
    timing, fit = measure(lambda _: everything(model, data), options.repeat)
    other = peers.semopy_fit(syntax, data, options.repeat)
    chi_square = float(fit.fit_measures()["chisq"])
    same = peers.quoted_difference("chi-square", chi_square, peers.CHI_SQUARE[f"p{p}"], 3)
    facts = (_converged(fit), same, *peers.semopy_facts(fit.parameters, chi_square, other))
    return Result(timing, facts, peers.LAVAAN[f"p{p}"] + ((other.peer,) if other else ()))


def modification(options: Options) -> Result:
    """Modification indices of p = 30 from a finished fit, checked by freeing the largest."""
    data, syntax = bench_data("cfa_n1000_p30"), six_factors(30)
    model = jl.SEM(syntax)
    timing, found = measure(lambda fit: fit.modification_indices(), options.repeat, lambda: everything(model, data))
    top = found.sort_values("mi", ascending=False).iloc[0]
    name = f"{top['lhs']} {top['op']} {top['rhs']}"
    freed = jl.SEM(f"{syntax}\n{name}").fit(data)
    drop = float(model.fit(data).fit_measures()["chisq"] - freed.fit_measures()["chisq"])
    near = abs(top["mi"] / drop - 1) < CLOSE_LOOSE
    text = f"{len(found)} rows; {name}: mi {top['mi']:.3f}, and chi-square falls by {drop:.3f} when it is freed"
    return Result(timing, (Fact(text, near),))


def fiml(options: Options) -> Result:
    """Everything about fiml_n2000_p30_miss20."""
    data, model = bench_data("fiml_n2000_p30_miss20"), jl.SEM(six_factors(30))
    timing, fit = measure(lambda _: everything(model, data), min(options.repeat, 11))
    measures = fit.fit_measures()
    facts = (
        _converged(fit),
        peers.quoted_difference("chi-square", float(measures["chisq"]), peers.CHI_SQUARE["fiml"], 4),
        Fact(f"df {measures['df']:.0f}", int(measures["df"]) == peers.FIML_DF),
        peers.quoted_difference("log-likelihood", float(measures["logl"]), peers.FIML_LOG_LIKELIHOOD, 4),
    )
    return Result(timing, facts, peers.LAVAAN["fiml"])


# ---- the table --------------------------------------------------------------------------------------------------

HS = "Holzinger-Swineford, three factors"
WHOLE = "everything (fit, parameters with standard errors, fit measures)"
ROWS = (
    Benchmark("hs_compiled", f"{HS}: the compiled program alone", 1e-3, compiled_work),
    Benchmark("hs_fit", f"{HS}: frame to finished Fit and parameters with standard errors", 15e-3, finished_fit),
    Benchmark("hs_everything", f"{HS}: {WHOLE}", None, all_of_holzinger),
    Benchmark("hs_bootstrap", f"{HS}: {DRAWS} bootstrap fits", 0.5, bootstrap),
    Benchmark("cfa_p30", f"N = 1000, p = 30, six factors: {WHOLE}", None, partial(six, p=30)),
    Benchmark("cfa_p60", f"N = 1000, p = 60, six factors: {WHOLE}", None, partial(six, p=60)),
    Benchmark("cfa_p120", f"N = 1000, p = 120, six factors: {WHOLE}", 0.15, partial(six, p=120)),
    Benchmark("modification", "N = 1000, p = 30: modification indices of a finished fit", None, modification),
    Benchmark("fiml", f"FIML, N = 2000, p = 30, 20 % missing: {WHOLE}", 0.5, fiml),
    Benchmark("batch", f"{HS}: fit_batch of {SETS} simulated data sets", None, batch),
    Benchmark("memory", f"FIML, N = 1,000,000, p = 30, 20 % missing: {WHOLE}, cold", None, memory.measure_memory),
    Benchmark("cold_first", "jaxlatent fit on these data, empty cache folder, whole process", 8.0, cold.measure_first),
    Benchmark("cold_again", "the same with the persistent cache of an earlier run", 3.0, cold.measure_again),
    Benchmark("import", "import jaxlatent and first use of jl.SEM, whole process", 1.7, cold.measure_import),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    return harness.command("benchmarks.sem", __doc__ or "", ROWS, argv)


if __name__ == "__main__":
    sys.exit(main())
