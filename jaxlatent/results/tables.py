"""The parameter tables users read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxlatent.data.responses import Responses
from jaxlatent.inference.fitted import Fitted
from jaxlatent.numerics.special import ndtr, ndtri
from jaxlatent.results.matrices import normal_matrix, total_moments
from jaxlatent.results.values import estimates, jacobian, standardize

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {"intercepts": "intercept", "factor_means": "mean"}


def confidence(est: np.ndarray, se: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    half = ndtri(0.5 + level / 2) * se
    return est - half, est + half


def _base(fitted: Fitted) -> dict[str, list]:
    """lhs, op, rhs, group, label, free of rows and definitions."""
    several = fitted.table.n_groups > 1
    rows = fitted.table.rows
    d = fitted.table.definitions
    return {
        "lhs": [r.lhs for r in rows] + [x.name for x in d],
        "op": [r.op for r in rows] + [":="] * len(d),
        "rhs": [r.rhs for r in rows] + [x.text for x in d],
        "group": [fitted.group_labels[r.group - 1] if several else 1 for r in rows] + ["" if several else 1] * len(d),
        "label": [r.label for r in rows] + [x.name for x in d],
        "free": [r.free for r in rows] + [0] * len(d),
    }


def _inference(est: np.ndarray, se: np.ndarray) -> dict[str, np.ndarray]:
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(se > 0, est / se, np.nan)
    lower, upper = confidence(est, se)
    return {"se": se, "z": z, "pvalue": 2 * ndtr(-np.abs(z)), "ci_lower": lower, "ci_upper": upper}


def standard_errors(fitted: Fitted, vcov: np.ndarray | None) -> np.ndarray:
    """Of every row and definition; 0 where nothing is estimated, nan where the covariance matrix is not available."""
    table = fitted.table
    size = len(table.rows) + len(table.definitions)
    if vcov is None:
        fixed = [r.free == 0 for r in table.rows] + [False] * len(table.definitions)
        return np.where(fixed, 0.0, np.nan)
    j = np.zeros((size, table.n_free))
    for k, row in enumerate(table.rows):
        if row.free:
            j[k, row.free - 1] = 1
    if table.definitions:
        j = jacobian(lambda free: estimates(fitted, free), fitted.free)
    return np.sqrt(np.maximum(((j @ vcov) * j).sum(axis=1), 0))


def parameters(fitted: Fitted, vcov: np.ndarray | None) -> pd.DataFrame:
    """Estimates, standard errors, tests, intervals and standardized values, a row each."""
    import pandas as pd

    est = estimates(fitted, fitted.free)
    table = _base(fitted) | {"est": est} | _inference(est, standard_errors(fitted, vcov))
    table["std_lv"] = standardize(fitted, fitted.free, everything=False)
    table["std_all"] = standardize(fitted, fitted.free, everything=True)
    return pd.DataFrame(table)


def standardized(fitted: Fitted, vcov: np.ndarray | None, kind: str = "all") -> pd.DataFrame:
    """Standardized values with delta-method standard errors; kind "all" (every variable) or "lv"."""
    import pandas as pd

    if kind not in ("all", "lv"):
        raise ValueError(f"Expected kind to be 'all' or 'lv'; got {kind!r}.")

    def function(free: np.ndarray) -> np.ndarray:
        return standardize(fitted, free, everything=kind == "all")

    est = function(fitted.free)
    if vcov is None:
        se = np.full(len(est), np.nan)
    else:
        j = jacobian(function, fitted.free)
        se = np.sqrt(np.maximum(((j @ vcov) * j).sum(axis=1), 0))
        se = np.where(se < 1e-12, 0.0, se)
    base = _base(fitted)
    base.pop("free")
    return pd.DataFrame(base | {"est_std": est} | _inference(est, se))


def matrix_frames(fitted: Fitted, name: str) -> pd.DataFrame:
    """One matrix of the model with names; a first index level "group" when there are groups."""
    import pandas as pd

    parts = [_one_matrix(fitted, name, g) for g in range(fitted.table.n_groups)]
    if len(parts) == 1:
        return parts[0]
    return pd.concat(parts, keys=fitted.group_labels, names=["group"])


def _one_matrix(fitted: Fitted, name: str, g: int) -> pd.DataFrame:
    import pandas as pd

    values, axes = normal_matrix(fitted, fitted.model.group(g), name)
    if len(axes) == 1:
        return pd.DataFrame({COLUMNS[name]: values}, list(axes[0][1]))
    return pd.DataFrame(values, list(axes[0][1]), list(axes[1][1]))


def latent_moments(fitted: Fitted, g: int) -> tuple[np.ndarray, np.ndarray]:
    """Total means and covariances of all (also carried) latent variables of a group."""
    return total_moments(fitted.model.group(g))


def implied_moments(fitted: Fitted) -> dict[str, tuple[pd.Series, pd.DataFrame]]:
    """Implied mean and covariance by group label."""
    import pandas as pd

    names = list(fitted.table.observed)
    out = {}
    for label, (mean, cov) in zip(fitted.group_labels, fitted.model.implied, strict=True):
        out[label] = (pd.Series(mean, names), pd.DataFrame(cov, names, names))
    return out


def r_squared(fitted: Fitted) -> pd.DataFrame:
    """1 - residual variance / total variance of every endogenous variable."""
    import pandas as pd

    dependent = {(r.rhs if r.op == "=~" else r.lhs) for r in fitted.table.rows if r.op in ("=~", "~")}
    names = [v for v in (*fitted.table.observed, *fitted.table.latent) if v in dependent]
    parts = []
    for g in range(fitted.table.n_groups):
        params = fitted.model.group(g)
        sigma = fitted.model.implied[g][1]
        _, phi = latent_moments(fitted, g)
        values = []
        for v in names:
            if v in fitted.places.latent:
                k = fitted.places.latent.index(v)
                values.append(_explained(params["factor_cov"][k, k], phi[k, k]))
            else:
                k = fitted.table.observed.index(v)
                values.append(_explained(params["residual_cov"][k, k], sigma[k, k]))
        parts.append(pd.DataFrame({"r2": values}, pd.Index(names, name="variable")))
    return parts[0] if len(parts) == 1 else pd.concat(parts, keys=fitted.group_labels, names=["group"])


def _explained(residual: float, total: float) -> float:
    """Share of variance explained; nan in a Heywood case."""
    return 1 - residual / total if residual >= 0 else np.nan


def free_names(fitted: Fitted) -> list[str]:
    """Names of the free parameters, such as visual=~x2, with .g2 in the second group, or their labels."""
    names = [""] * fitted.table.n_free
    for row in fitted.table.rows:
        if row.free and not names[row.free - 1]:
            plain = f"{row.lhs}{row.op}{row.rhs}" + (f".g{row.group}" if row.group > 1 else "")
            names[row.free - 1] = row.label or plain
    return names


def vcov_frame(fitted: Fitted, vcov: np.ndarray | None) -> pd.DataFrame:
    """Covariance matrix of the free parameters with names such as visual=~x2 or their labels."""
    import pandas as pd

    names = free_names(fitted)
    values = np.full((len(names),) * 2, np.nan) if vcov is None else vcov
    return pd.DataFrame(values, names, names)


def score_frame(
    fitted: Fitted, source: Responses, values: np.ndarray, errors: np.ndarray, return_se: bool
) -> pd.DataFrame:
    """Persons by factors, with the data's row labels; <factor>_se where asked for."""
    import pandas as pd

    frame = pd.DataFrame(values, source.index, list(fitted.table.latent))
    if return_se:
        for k, name in enumerate(fitted.table.latent):
            frame[f"{name}_se"] = errors[:, k]
    return frame


def person_series(index: np.ndarray, values: np.ndarray) -> pd.Series:
    import pandas as pd

    return pd.Series(values, index, name="log_likelihood")


def series(values: dict[str, float]) -> pd.Series:
    import pandas as pd

    return pd.Series(values, dtype=float)


def no_thresholds(fitted: Fitted) -> pd.DataFrame:
    """An empty frame with the observed variables as rows."""
    import pandas as pd

    return pd.DataFrame(index=list(fitted.table.observed))
