"""Other programs: semopy measured in the same run where it is installed, lavaan's figures quoted."""

from __future__ import annotations

import os
import statistics
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.harness import Fact, Peer, timed

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
Key = tuple[str, str, str]

# lavaan 0.6-20, one thread, as the README of the benchmark data has them
LAVAAN: dict[str, tuple[Peer, ...]] = {
    "hs": (Peer("lavaan, everything", 0.034, True),),
    "bootstrap": (Peer("lavaan, 5 x its 200 draws", 5 * 1.83, True),),
    "p30": (Peer("lavaan, everything", 0.088, True), Peer("lavaan, estimates only", 0.031, True)),
    "p60": (Peer("lavaan, everything", 1.88, True), Peer("lavaan, estimates only", 0.096, True)),
    "p120": (Peer("lavaan, everything", 24.5, True), Peer("lavaan, estimates only", 0.263, True)),
    "fiml": (Peer("lavaan, everything", 69.5, True), Peer("lavaan, estimates only", 9.1, True)),
}
CHI_SQUARE = {"hs": 85.3055, "p30": 388.864, "p60": 1718.882, "p120": 7354.071, "fiml": 366.0034}
FIML_DF, FIML_LOG_LIKELIHOOD = 390, -59218.4782


def shared(*parts: str) -> Path:
    """A file of the shared folder: JAXLATENT_SHARED, or shared/ beside the checkout.

    Raises FileNotFoundError that says so.
    """
    path = Path(os.environ.get("JAXLATENT_SHARED") or ROOT.parent / "shared").joinpath(*parts)
    if not path.exists():
        raise FileNotFoundError(f"There is no {'/'.join(parts)} in the folder of shared data: set JAXLATENT_SHARED.")
    return path


def quoted_difference(name: str, value: float, quoted: float, digits: int) -> Fact:
    """Ours minus a printed figure; it may differ by 1e-4 and half a unit of the last digit printed."""
    gap = value - quoted
    return Fact(f"{name} {value:.{digits}f}, minus lavaan's {gap:+.1e}", abs(gap) <= 1e-4 + 0.5 * 10.0**-digits)


# ---- estimates, by parameter ------------------------------------------------------------------------------------


def key_of(lhs: str, op: str, rhs: str) -> Key:
    """One name for a parameter: covariances have no direction."""
    return (min(lhs, rhs), max(lhs, rhs), op) if op == "~~" else (lhs, rhs, op)


def estimates(table: Any, column: str = "est") -> dict[Key, float]:
    """A column of a parameter table (a frame, or a mapping of columns) by parameter."""
    names = zip(table["lhs"], table["op"], table["rhs"], strict=True)
    return {key_of(*name): float(value) for name, value in zip(names, table[column], strict=True)}


def largest_difference(parameters: pd.DataFrame, other: dict[Key, float]) -> float:
    """Largest |ours - other| in our standard errors, over free parameters. Raises KeyError where one has no partner."""
    ours, se = estimates(parameters), estimates(parameters, "se")
    return max(abs(ours[k] - other[k]) / se[k] for k in ours if se[k] > 0)


def largest_ratio(parameters: pd.DataFrame, other: dict[Key, float]) -> float:
    """Largest |our standard error / the other's - 1| over free parameters."""
    se = estimates(parameters, "se")
    return max(abs(se[k] / other[k] - 1) for k in se if se[k] > 0)


# ---- semopy -----------------------------------------------------------------------------------------------------


class Semopy(NamedTuple):
    """What semopy needed and found."""

    peer: Peer
    estimates: dict[Key, float]
    chi_square: float


def semopy_fit(syntax: str, data: pd.DataFrame, repeat: int) -> Semopy | None:
    """Median of at most `repeat` runs of fit and inspect, after one that is not counted; None without semopy."""
    if find_spec("semopy") is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import semopy

        def work() -> tuple[Any, pd.DataFrame]:
            model = semopy.Model(syntax)
            model.fit(data)
            return model, model.inspect()

        first, (model, table) = timed(work)
        count = max(1, min(repeat, int(5 / first)))  # one counted run where it takes seconds
        seconds = statistics.median(timed(work)[0] for _ in range(count))
        chi_square = float(semopy.stats.calc_chi2(model)[0])
    return Semopy(Peer("semopy, fit and inspect", seconds, False), _semopy_estimates(table), chi_square)


def _semopy_estimates(table: pd.DataFrame) -> dict[Key, float]:
    """semopy writes a loading as a regression of the item on the factor."""
    found = {}
    for left, op, right, value in zip(table["lval"], table["op"], table["rval"], table["Estimate"], strict=True):
        found[key_of(right, "=~", left) if op == "~" else key_of(left, op, right)] = float(value)
    return found


def semopy_facts(parameters: pd.DataFrame, chi_square: float, other: Semopy | None) -> tuple[Fact, ...]:
    """How far semopy ends from ours: information, not an aim."""
    if other is None:
        return ()
    gap = chi_square - other.chi_square
    far = largest_difference(parameters, other.estimates)
    return (Fact(f"ours minus semopy's chi-square {gap:+.1e}, largest difference of an estimate {far:.1e} s.e."),)
