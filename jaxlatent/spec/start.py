"""Starting values from sample moments, good enough that Newton's method needs a handful of steps."""

from __future__ import annotations

import numpy as np

from jaxlatent.spec.layout import Layout


def starting_values(layout: Layout, mean: np.ndarray, cov: np.ndarray) -> np.ndarray:
    """Free vector [n_free]: the user's values where given, otherwise averages over the cells a parameter fills.

    mean [group, p], cov [group, p, p]. Loadings by the centroid method within each factor's indicators, residual
    variances half the variances, factor variances on the scale of the fixed loading, everything else zero.
    """
    guesses = [_group_start(layout, g, mean[g], cov[g]) for g in range(layout.n_groups)]
    total, count = np.zeros(layout.n_free), np.zeros(layout.n_free)
    for g, guess in enumerate(guesses):
        for name, value in guess.items():
            index = np.asarray(layout.index[name][g])
            np.add.at(total, index[index >= 0], value[index >= 0])
            np.add.at(count, index[index >= 0], 1)
    return np.where(np.isnan(layout.start), total / np.maximum(count, 1), layout.start)


def _group_start(layout: Layout, g: int, mean: np.ndarray, cov: np.ndarray) -> dict[str, np.ndarray]:
    index = {name: np.asarray(i[g]) for name, i in layout.index.items()}
    value = {name: np.array(f[g]) for name, f in layout.fixed.items()}
    m = value["loadings"].shape[1]
    d = np.arange(m)
    value["residual_cov"] = np.diag(0.5 * np.diag(cov))
    psi = np.where(index["factor_cov"][d, d] >= 0, np.nan, np.diag(value["factor_cov"]))
    for f in range(m):
        _factor_start(f, index, value, psi, cov)
    _carried_start(index, value, psi, cov)
    _higher_order_start(index, value, psi)
    off = value["factor_cov"] * (1 - np.eye(m)) + _covariance_start(index, value, psi, cov)
    value["factor_cov"] = off + np.diag(np.where(np.isnan(psi), 0.5, psi))
    value["intercepts"] = np.where(index["intercepts"] >= 0, mean, value["intercepts"])
    _mean_start(index, value, mean)
    return value


def _factor_start(f: int, index: dict, value: dict, psi: np.ndarray, cov: np.ndarray) -> None:
    """Loadings and variance of a factor measured by observed variables."""
    free, fixed = index["loadings"][:, f] >= 0, value["loadings"][:, f] != 0
    items = np.flatnonzero(free | fixed)
    if len(items) == 0 or (not free.any() and len(items) == 1):
        return
    sd = np.sqrt(np.diag(cov)[items])
    size = _centroid(cov[np.ix_(items, items)] / np.outer(sd, sd)) * sd
    marker = next((k for k, j in enumerate(items) if fixed[j]), None)
    if not free.any():
        slopes = np.linalg.pinv(value["loadings"])[f]
        psi[f] = max(0.5 * slopes @ cov @ slopes, 1e-3) if np.isnan(psi[f]) else psi[f]
        return
    if marker is not None and np.isnan(psi[f]):
        at = value["loadings"][items[marker], f]
        psi[f] = max((size[marker] / at) ** 2, 0.05 * sd[marker] ** 2 / at**2)
        size = size * np.sign(size[marker] * at)
    scale = np.sqrt(psi[f]) if psi[f] > 0 else 1.0
    psi[f] = 1.0 if np.isnan(psi[f]) else psi[f]
    value["loadings"][items, f] = np.where(free[items], size / scale, value["loadings"][items, f])


def _centroid(r: np.ndarray) -> np.ndarray:
    """One factor's standardized loadings: row sums of the off-diagonal correlations over the root of their total."""
    k = len(r)
    if k == 1:
        return np.array([0.7])
    off = r - np.eye(k)
    sign = np.where(np.linalg.eigh(r)[1][:, -1] < 0, -1.0, 1.0)
    sign = sign if sign.sum() >= 0 else -sign
    off = off * np.outer(sign, sign)
    total = off.sum()
    if total <= 1e-3:
        return 0.3 * sign
    size = off.sum(axis=1) / np.sqrt(total)
    size = size * np.sqrt(k / (k - 1)) if k > 2 else np.full(2, np.sqrt(max(off[0, 1], 0.01)))
    return np.clip(size, 0.1, 0.95) * sign


def _covariance_start(index: dict, value: dict, psi: np.ndarray, cov: np.ndarray) -> np.ndarray:
    """Covariances of factors with separate indicators: least squares on the covariances between their indicators.

    At zero covariances a factor with few indicators may not be identified, and Newton's method would stand still.
    """
    out = np.zeros_like(value["factor_cov"])
    load = value["loadings"]
    for f, h in zip(*np.nonzero(np.tril(index["factor_cov"] >= 0, -1)), strict=True):
        a, b = np.flatnonzero(load[:, f]), np.flatnonzero(load[:, h])
        if len(a) < 2 or len(b) < 2 or set(a) & set(b):
            continue
        x, y = load[a, f], load[b, h]
        guess = x @ cov[np.ix_(a, b)] @ y / ((x @ x) * (y @ y))
        most = 0.8 * np.sqrt(max(psi[f] * psi[h], 0.0)) if np.isfinite(psi[[f, h]]).all() else 0.0
        out[f, h] = out[h, f] = np.clip(guess, -most, most)
    return out


def _carried_start(index: dict, value: dict, psi: np.ndarray, cov: np.ndarray) -> None:
    """Observed variables carried as latent start at their sample variances and covariances."""
    own = np.flatnonzero((np.count_nonzero(value["loadings"], axis=0) == 1) & ~(index["loadings"] >= 0).any(axis=0))
    item = {f: int(np.flatnonzero(value["loadings"][:, f])[0]) for f in own}
    for f in own:
        endogenous = ((index["regressions"][f] >= 0) | (value["regressions"][f] != 0)).any()
        if np.isnan(psi[f]):
            psi[f] = cov[item[f], item[f]] * (0.5 if endogenous else 1.0) / value["loadings"][item[f], f] ** 2
    for f in own:
        for h in own:
            exogenous = not ((index["regressions"][[f, h]] >= 0) | (value["regressions"][[f, h]] != 0)).any()
            if f != h and index["factor_cov"][f, h] >= 0 and exogenous:
                value["factor_cov"][f, h] = cov[item[f], item[h]]


def _higher_order_start(index: dict, value: dict, psi: np.ndarray) -> None:
    """A factor without observed indicators takes half of the variance of the first factor it stands behind."""
    b_free, b = index["regressions"] >= 0, value["regressions"]
    for f in range(len(psi)):
        if (index["loadings"][:, f] >= 0).any() or value["loadings"][:, f].any():
            continue
        below = np.flatnonzero(b_free[:, f] | (b[:, f] != 0))
        if len(below) == 0:
            continue
        marker = next((j for j in below if not b_free[j, f]), below[0])
        at = b[marker, f] if not b_free[marker, f] else 1.0
        size = psi[marker] if np.isfinite(psi[marker]) else 0.5
        psi[f] = 0.5 * size / at**2 if np.isnan(psi[f]) else psi[f]
        for j in below:
            ratio = np.sqrt(psi[j] / size) if np.isfinite(psi[j]) and size > 0 else 1.0
            scale = at if not b_free[marker, f] else np.sqrt(0.5 * size / max(psi[f], 1e-6))
            b[j, f] = b[j, f] if not b_free[j, f] else ratio * scale
            if index["factor_cov"][j, j] >= 0 and np.isfinite(psi[j]):
                psi[j] *= 0.5


def _mean_start(index: dict, value: dict, mean: np.ndarray) -> None:
    """Latent means by least squares of what the intercepts leave, where these are fixed."""
    free = index["factor_means"] >= 0
    if not free.any():
        return
    m = len(free)
    g = value["loadings"] @ np.linalg.inv(np.eye(m) - np.where(index["regressions"] >= 0, 0, value["regressions"]))
    fixed_items = index["intercepts"] < 0
    if fixed_items.any():
        rest = (mean - value["intercepts"])[fixed_items]
        value["factor_means"][free] = np.linalg.lstsq(g[np.ix_(fixed_items, free)], rest, rcond=None)[0]
