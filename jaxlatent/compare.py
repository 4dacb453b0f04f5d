"""Side-by-side comparison of fits, with difference tests where they are nested."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.diagnostics.difference_tests import difference
from jaxlatent.diagnostics.loo_table import loo_table
from jaxlatent.fit import Fit
from jaxlatent.inference.fitted import Fitted
from jaxlatent.irt_fit import ItemResponseFit
from jaxlatent.two_level_fit import TwoLevelFit

if TYPE_CHECKING:
    import pandas as pd


def compare(*fits: Any, names: tuple[str, ...] | None = None) -> pd.DataFrame:
    """Models from the freest to the most restricted: df, AIC, BIC, chi-square, and each tested against the one before.

    Fits by NUTS: a LOO table instead, the best first (``diagnostics.loo_table``).
    Columns df, chisq, chisq_diff, df_diff, pvalue, aic, bic, rmsea_diff, cfi, rmsea, srmr. The difference test takes
    for granted that models are nested; with robust engines it is scaled (Satorra and Bentler 2001; Satorra 2000).
    Raises ValueError for fewer than two fits, or fits to different data.
    """
    import pandas as pd

    if len(fits) < 2:
        raise ValueError(f"Expected at least two fits to compare; got {len(fits)}.")
    if any(hasattr(fit, "draws") for fit in fits):
        return _compare_posteriors(fits, _names_of(names, len(fits)))
    if all(isinstance(fit, ItemResponseFit) for fit in fits):
        return _by_likelihood([(f._fitted, f._fitted.n_total) for f in fits], _names_of(names, len(fits)))
    if all(isinstance(fit, TwoLevelFit) for fit in fits):
        return _by_likelihood([(f._fit.fitted, f._fit.moments.persons) for f in fits], _names_of(names, len(fits)))
    for fit in fits:
        if not isinstance(fit, Fit):
            raise ValueError(f"Expected fits, one argument each; got {fit!r}.")
    names = _names_of(names, len(fits))
    for name, fit in zip(names[1:], fits[1:], strict=True):
        _check_comparable(names[0], fits[0]._fitted, name, fit._fitted)
    order = sorted(range(len(fits)), key=lambda k: fits[k]._fitted.df)
    rows = [_row(fits[k], fits[order[i - 1]] if i else None) for i, k in enumerate(order)]
    return pd.DataFrame(rows, index=[names[k] for k in order])


def _names_of(names: tuple[str, ...] | str | None, n: int) -> tuple[str, ...]:
    names = (names,) if isinstance(names, str) else names
    names = names or tuple(f"model {k + 1}" for k in range(n))
    if len(names) != n:
        raise ValueError(f"Expected {n} names; got {len(names)}.")
    return tuple(names)


def _compare_posteriors(fits: Sequence[Any], names: tuple[str, ...]) -> pd.DataFrame:
    """LOO and WAIC of fits by draws."""
    from jaxlatent.posterior_fit import PosteriorFit

    for name, fit in zip(names, fits, strict=True):
        if not isinstance(fit, PosteriorFit):
            raise ValueError(f"Expected all fits to be by NUTS, as one of them is; {name!r} is {fit!r}.")
    first = fits[0]._fitted
    for name, fit in zip(names[1:], fits[1:], strict=True):
        other = fit._fitted
        if set(other.table.observed) != set(first.table.observed) or other.n_total != first.n_total:
            raise ValueError(
                f"{name!r} was fitted to other data than {names[0]!r}: their predictive densities cannot be compared."
            )
    return loo_table({name: (fit._fitted, fit.draws) for name, fit in zip(names, fits, strict=True)})


def _by_likelihood(fits: Sequence[tuple[Any, int]], names: tuple[str, ...]) -> pd.DataFrame:
    """(Fitted, persons) of item response or two-level models, the most parameters first, each tested against the last.

    Columns npar, logl, aic, bic, chisq_diff, df_diff, pvalue (likelihood ratio, nested models).
    """
    import pandas as pd
    from scipy.special import chdtrc

    first, persons = fits[0]
    for name, (other, n) in zip(names[1:], fits[1:], strict=True):
        if set(other.table.observed) != set(first.table.observed) or n != persons:
            raise ValueError(
                f"{name!r} was fitted to other data than {names[0]!r}: their likelihoods cannot be compared."
            )
    order = sorted(range(len(fits)), key=lambda k: -fits[k][0].n_parameters)
    rows = []
    for i, k in enumerate(order):
        f, n = fits[k]
        q = f.n_parameters
        row = {"npar": q, "logl": f.log_likelihood, "aic": 2 * q - 2 * f.log_likelihood,
               "bic": math.log(n) * q - 2 * f.log_likelihood}  # fmt: skip
        row |= {"chisq_diff": math.nan, "df_diff": math.nan, "pvalue": math.nan}
        if i:
            before = fits[order[i - 1]][0]
            stat, df = 2 * (before.log_likelihood - f.log_likelihood), before.n_parameters - q
            row |= {"chisq_diff": stat, "df_diff": df}
            row["pvalue"] = float(chdtrc(df, max(stat, 0))) if df > 0 else math.nan
        rows.append(row)
    return pd.DataFrame(rows, index=[names[k] for k in order])


def _check_comparable(first_name: str, first: Fitted, name: str, other: Fitted) -> None:
    """Raise a sentence where two fits are not of the same data by the same engine."""
    here, there = set(first.table.observed), set(other.table.observed)
    if here != there:
        only = ", ".join(sorted(here ^ there))
        raise ValueError(
            f"{name!r} was fitted to other data than {first_name!r}: {only} is in one of the models only, so their"
            " likelihoods cannot be compared."
        )
    if other.n_total != first.n_total or sorted(other.group_labels) != sorted(first.group_labels):
        raise ValueError(
            f"{name!r} was fitted to other data than {first_name!r}: {_persons(other)} instead of {_persons(first)}."
        )
    if other.engine.name != first.engine.name or other.missing != first.missing:
        raise ValueError(
            f"{name!r} was fitted by {other.engine.name} with {other.missing} data, {first_name!r} by"
            f" {first.engine.name} with {first.missing} data: use one for both."
        )
    if other.missing == "complete":
        for g, label in enumerate(first.group_labels):
            _check_moments(first_name, first, name, other, g, other.group_labels.index(label))


def _check_moments(first_name: str, first: Fitted, name: str, other: Fitted, g: int, h: int) -> None:
    at = [other.table.observed.index(v) for v in first.table.observed]
    mine, theirs = first.moments.cov[g], other.moments.cov[h][np.ix_(at, at)]
    spread = np.sqrt(np.diag(mine))
    gap = np.abs(mine - theirs) / np.outer(spread, spread)
    if gap.max() > 1e-6:
        v = first.table.observed[int(np.unravel_index(gap.argmax(), gap.shape)[0])]
        raise ValueError(
            f"{name!r} was fitted to other data than {first_name!r}: the covariances of {v!r} differ between them."
        )


def _persons(fitted: Fitted) -> str:
    groups = f" in the groups {', '.join(fitted.group_labels)}" if fitted.table.n_groups > 1 else ""
    return f"{fitted.n_total} persons{groups}"


def _row(fit: Fit, before: Fit | None) -> dict[str, float]:
    measures = fit.fit_measures()
    row = {name: measures.get(name, math.nan) for name in ("df", "chisq")}
    row |= {"chisq_diff": math.nan, "df_diff": math.nan, "pvalue": math.nan}
    row |= {name: measures.get(name, math.nan) for name in ("aic", "bic")} | {"rmsea_diff": math.nan}
    if before is not None:
        test = difference(fit._diagnosis, before._diagnosis)
        row |= {"chisq_diff": test["stat"], "df_diff": test["df"], "pvalue": test["pvalue"]}
        if test["df"] > 0:
            n, groups = fit._fitted.n_total, fit._fitted.table.n_groups
            row["rmsea_diff"] = math.sqrt(max((test["stat"] - test["df"]) / (n * test["df"]), 0) * groups)
    return row | {name: measures.get(name, math.nan) for name in ("cfi", "rmsea", "srmr")}
