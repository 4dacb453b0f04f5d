"""Factor scores, tables and simulated data of two-level models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxlatent.data.cluster_cases import cluster_cases
from jaxlatent.data.responses import Responses
from jaxlatent.inference.two_level_casewise import cluster_parts
from jaxlatent.inference.two_level_fit import TwoLevelFitted
from jaxlatent.inference.two_level_model import LevelMoments
from jaxlatent.results import tables
from jaxlatent.spec.levels import LEVELS

if TYPE_CHECKING:
    import pandas as pd


def parameters(fit: TwoLevelFitted, vcov: np.ndarray | None) -> pd.DataFrame:
    """A row for every parameter, with its level: 1 persons, 2 clusters, "" for defined parameters."""
    return _leveled(tables.parameters(fit.fitted, vcov))


def standardized(fit: TwoLevelFitted, vcov: np.ndarray | None, kind: str) -> pd.DataFrame:
    """Values standardized within each level, with standard errors by the delta method."""
    return _leveled(tables.standardized(fit.fitted, vcov, kind))


def _leveled(frame: pd.DataFrame) -> pd.DataFrame:
    numbers = {name: k for k, name in enumerate(LEVELS, 1)}
    levels = [numbers.get(label, "") for label in frame["group"]]
    frame["group"] = 1
    frame.insert(list(frame.columns).index("group") + 1, "level", levels)
    return frame


def matrix_of(fit: TwoLevelFitted, name: str) -> pd.DataFrame:
    """One matrix with a first index level "level" and the rows of variables that this level has."""
    frame = tables.matrix_frames(fit.fitted, name)
    frame.index = frame.index.set_names("level", level=0)
    here = {(LEVELS[r.group - 1], v) for r in fit.fitted.table.rows for v in (r.lhs, r.rhs)}
    return frame.loc[[label in here for label in frame.index]]


def vcov_frame(fit: TwoLevelFitted, vcov: np.ndarray | None) -> pd.DataFrame:
    """Covariance matrix of the free parameters; names of those of level 2 end in .l2."""
    frame = tables.vcov_frame(fit.fitted, vcov)
    names = [f"{name[:-3]}.l2" if name.endswith(".g2") else name for name in frame.columns]
    return frame.set_axis(names, axis=0).set_axis(names, axis=1)


def implied(fit: TwoLevelFitted) -> dict[str, tuple[pd.Series, pd.DataFrame]]:
    """Mean and covariance of the variables of each level."""
    out = {}
    for (label, (mean, cov)), here in zip(tables.implied_moments(fit.fitted).items(), fit.levels, strict=True):
        names = [v for v, at in zip(mean.index, here, strict=True) if at]
        out[label] = (mean[names], cov.loc[names, names])
    return out


def r_squared(fit: TwoLevelFitted) -> pd.DataFrame:
    """Share of variance explained of every variable that something explains, by level."""
    import pandas as pd

    rows = fit.fitted.table.rows
    explained = {(r.group, r.rhs if r.op == "=~" else r.lhs) for r in rows if r.op in ("=~", "~")}
    with np.errstate(invalid="ignore", divide="ignore"):
        frame = tables.r_squared(fit.fitted)
    keep = [(LEVELS.index(level) + 1, name) in explained for level, name in frame.index]
    frame = frame.loc[keep]
    return frame.set_axis(pd.MultiIndex.from_tuples(list(frame.index), names=["level", "variable"]))


def intraclass_correlations(fit: TwoLevelFitted) -> pd.DataFrame:
    """Variance between clusters over the variance in all: in the unrestricted moments and as the model implies it."""
    import pandas as pd

    both = np.asarray(fit.levels.all(axis=0))

    def shares(at: LevelMoments) -> np.ndarray:
        between = np.diag(at.between)[both]
        return between / (between + np.diag(at.within)[both])

    names = [v for v, at in zip(fit.fitted.table.observed, both.tolist(), strict=True) if at]
    return pd.DataFrame({"sample": shares(fit.saturated), "model": shares(fit.at)}, names)


def scores(fit: TwoLevelFitted, data: Responses) -> tuple[np.ndarray, np.ndarray]:
    """Posterior means and standard deviations of the factors of both levels, within first [person, 2 factors].

    Factors of clusters follow from h = Z' V^-1 (y - mean) and H = Z' V^-1 Z by regression, factors of persons from
    y_ij - E u_j, for they depend on the data of a cluster through y_ij and u_j only: see two_level_casewise. Columns of
    factors that a level does not have are nan.
    """
    at, cases = fit.at, cluster_cases(data, fit.moments.within)
    parts = cluster_parts(cases, at.mean, at.within, at.between)
    (inner_mean, inner_cov, inner_cross), (outer_mean, outer_cov, outer_cross) = (_factors(fit, g) for g in (0, 1))
    between = outer_mean + parts.h @ outer_cross.T
    between_error = outer_cov - outer_cross @ parts.big_h @ outer_cross.T
    within = inner_mean + parts.q @ inner_cross.T
    spread = parts.g[cases.codes]
    precision = parts.p[cases.pattern]
    within_error = inner_cov - inner_cross @ (precision - precision @ spread @ precision) @ inner_cross.T
    back = np.argsort(cases.order)
    values = np.concatenate([within, between[cases.codes]], axis=1)
    errors = np.concatenate([_root_diagonal(within_error), _root_diagonal(between_error)[cases.codes]], axis=1)
    return values[back], errors[back]


def _root_diagonal(cov: np.ndarray) -> np.ndarray:
    """Square roots of the diagonals of [..., m, m]."""
    return np.sqrt(np.maximum(np.diagonal(cov, axis1=1, axis2=2), 0))


def _factors(fit: TwoLevelFitted, g: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means [m], covariances [m, m] and covariances with the variables [m, p] of the latent variables of a level."""
    f = fit.fitted
    mean, cov = tables.latent_moments(f, g)
    names = [f.places.latent.index(name) for name in f.table.latent]
    cross = (f.model.group(g)["loadings"] @ cov).T
    return mean[names], cov[np.ix_(names, names)], cross[names]


def score_frame(fit: TwoLevelFitted, data: Responses, return_se: bool) -> pd.DataFrame:
    """Persons by factors; a factor that both levels have is <factor> and <factor>_between."""
    import pandas as pd

    values, errors = scores(fit, data)
    names = fit.fitted.table.latent
    used = [_factors_of(fit, g) for g in (1, 2)]
    columns: dict[str, np.ndarray] = {}
    for g, level in enumerate(used):
        for k, name in enumerate(names):
            if name in level:
                label = f"{name}_between" if g and name in used[0] else name
                columns[label] = values[:, g * len(names) + k]
                if return_se:
                    columns[f"{label}_se"] = errors[:, g * len(names) + k]
    ordered = sorted(columns, key=lambda c: c.endswith("_se")) if return_se else list(columns)
    return pd.DataFrame({name: columns[name] for name in ordered}, data.index)


def _factors_of(fit: TwoLevelFitted, level: int) -> set[str]:
    """Latent variables that occur in the rows of a level."""
    return {name for r in fit.fitted.table.rows if r.group == level and r.op != "~1" for name in (r.lhs, r.rhs)}


def simulate(fit: TwoLevelFitted, n: int, key: int, cluster: str) -> pd.DataFrame:
    """n persons in clusters whose sizes are drawn from those of the data, the last one cut to make n."""
    import pandas as pd

    rng = np.random.default_rng(key)
    moments, at = fit.moments, fit.at
    sizes: list[int] = []
    while sum(sizes) < n:
        sizes.append(int(rng.choice(moments.size, p=moments.number / moments.clusters)))
    sizes[-1] -= sum(sizes) - n
    codes = np.repeat(np.arange(len(sizes)), sizes)
    draw = lambda mean, cov, m: mean + rng.standard_normal((m, len(mean))) @ _root(cov).T  # noqa: E731
    u = draw(at.between_mean, at.between, len(sizes))
    y = u[codes] + draw(at.within_mean, at.within, n)
    return pd.DataFrame(y, columns=list(fit.fitted.table.observed)).assign(**{cluster: codes + 1})


def _root(cov: np.ndarray) -> np.ndarray:
    value, vector = np.linalg.eigh(cov)
    return vector * np.sqrt(np.maximum(value, 0))
