"""How many factors, and whether there are any: functions of data alone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.data.moments import Moments, from_cov, sample_moments
from jaxlatent.data.responses import Responses
from jaxlatent.diagnostics import factorability as measures
from jaxlatent.efa import EFA, read_items
from jaxlatent.inference.requirements import saturated_or_refuse
from jaxlatent.inference.settings import check_key
from jaxlatent.plots.scree_plot import scree
from jaxlatent.results.residuals import correlation
from jaxlatent.sem import ModelWarning

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("chisq", "df", "pvalue", "rmsea", "cfi", "tli", "srmr", "logl", "npar", "aic", "bic")


def kmo(data: Any) -> pd.Series:
    """Kaiser, Meyer and Olkin's measure of sampling adequacy: overall, and of every variable; below 0.5 is unfit.

    MSA = Σ r² / (Σ r² + Σ a²), a partial correlations given all other variables. data: a frame, an array or Moments;
    with missing cells the maximum likelihood correlations are used. Kaiser and Rice (1974).
    """
    import pandas as pd

    r, _, names, _ = _correlations(data)
    overall, by_item = measures.sampling_adequacy(r)
    return pd.Series([overall, *by_item], ["overall", *names], name="msa")


def bartlett_sphericity(data: Any) -> pd.Series:
    """Bartlett's test that all correlations are zero: chisq, df, pvalue.

    chisq = -(n - 1 - (2p + 5)/6) log|R|. data: a frame, an array or Moments. Bartlett (1951), Biometrika 38.
    """
    import pandas as pd

    r, n, _, _ = _correlations(data)
    return pd.Series(dict(zip(("chisq", "df", "pvalue"), measures.sphericity(r, n), strict=True)), dtype=float)


def parallel_analysis(
    data: Any,
    *,
    simulations: int = 200,
    quantile: float = 0.95,
    resample: bool = False,
    key: int = 0,
    path: str | Path | None = None,
) -> pd.DataFrame:
    """Horn's parallel analysis: eigenvalues beside those of independent variables, a row each.

    Columns eigenvalue, simulated (their quantile; correlations), factor_eigenvalue, factor_simulated (correlations
    with squared multiple correlations on the diagonal). attrs: n_components and n_factors, how many come before the
    first that is not above chance. resample: columns of the data are shuffled instead of drawing normal ones.
    path: also draws the scree plot. Horn (1965), Psychometrika 30; Humphreys and Montanelli (1975).
    """
    import pandas as pd

    check_key(key)
    if isinstance(simulations, bool) or not isinstance(simulations, int | np.integer) or simulations < 1:
        raise ValueError(f"Expected simulations to be a whole number from 1; got {simulations!r}.")
    if isinstance(quantile, bool) or not isinstance(quantile, int | float) or not 0 < quantile < 1:
        raise ValueError(f"Expected quantile between 0 and 1; got {quantile!r}.")
    r, n, _, y = _correlations(data)
    if resample and y is None:
        raise ValueError("resample=True shuffles complete rows: pass rows without missing values, or leave it out.")
    p = len(r)
    full, less = measures.random_eigenvalues(
        n, p, int(simulations), np.random.default_rng(key), y if resample else None
    )
    columns = {
        "eigenvalue": measures.eigenvalues(r),
        "simulated": np.quantile(full, quantile, axis=0),
        "factor_eigenvalue": measures.eigenvalues(measures.reduced(r)),
        "factor_simulated": np.quantile(less, quantile, axis=0),
    }
    out = pd.DataFrame(columns, pd.Index(np.arange(1, p + 1), name="factor"))
    out.attrs["n_components"] = measures.leading((out["eigenvalue"] > out["simulated"]).to_numpy())
    out.attrs["n_factors"] = measures.leading((out["factor_eigenvalue"] > out["factor_simulated"]).to_numpy())
    if path is not None:
        scree(out, path=path)
    return out


def number_of_factors(
    data: Any, most: int | Sequence[int] | None = None, *, engine: Any = None, missing: str | None = None
) -> pd.DataFrame:
    """The fit of 1, 2, ... factors: a row each, with chisq, df, pvalue, rmsea, cfi, tli, srmr, logl, npar, aic, bic.

    most: the largest number, or the numbers to fit; None: 8, or as many as the variables can tell apart. converged and
    proper (no variance at its bound) say which rows can be trusted. data, engine, missing: as for EFA.fit.
    """
    import pandas as pd

    source = read_items(data)
    rows, sizes = [], _sizes(most, len(source.names))
    for m in sizes:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ModelWarning)
            fit = EFA(m, rotation="none").fit(source, engine, missing=missing)
        found = fit.fit_measures()
        rows.append({name: found.get(name, np.nan) for name in COLUMNS})
        rows[-1] |= {"converged": fit.converged, "proper": not fit.improper}
    return pd.DataFrame(rows, pd.Index(sizes, name="factors"))


def _sizes(most: Any, p: int) -> list[int]:
    possible = [k for k in range(1, p) if (p - k) ** 2 >= p + k]
    if not possible:
        raise ValueError(f"Expected at least three variables for a factor; got {p}.")
    if most is None:
        return possible[:8]
    given = list(range(1, int(most) + 1)) if isinstance(most, int | np.integer) else list(most)
    if not given or any(k not in possible for k in given):
        raise ValueError(f"Expected numbers of factors from 1 to {possible[-1]} for {p} variables; got {most!r}.")
    return [int(k) for k in given]


def _correlations(data: Any) -> tuple[np.ndarray, int, tuple[str, ...], np.ndarray | None]:
    """Correlations, the number of persons, names, and complete rows or None."""
    source = read_items(data)
    if isinstance(source, Moments):
        moments = from_cov(source, source.names)
        return correlation(moments.cov[0]), int(moments.n[0]), source.names, None
    missing = isinstance(source, Responses) and source.has_missing
    moments = saturated_or_refuse(source)[0] if missing else sample_moments(source)
    return correlation(moments.cov[0]), len(source.y), source.names, None if missing else source.y
