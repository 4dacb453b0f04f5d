"""Sample moments: what a Gaussian model needs of complete data, from rows or given as a covariance matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from jaxlatent.data.responses import Responses
from jaxlatent.numerics.definite import smallest_eigenvalue


class Moments:
    """A covariance matrix (n - 1 in the denominator), its sample size and names, instead of rows.

    cov [p, p] in the units of the variables (a DataFrame names them by itself); mean [p] or None.
    Raises ValueError where cov is not square, symmetric and positive definite or the names don't fit.
    """

    def __init__(self, cov: Any, n: int, *, mean: Any = None, names: Sequence[str] | None = None) -> None:
        if names is None and hasattr(cov, "columns"):
            names = [str(c) for c in cov.columns]
            cov = _rows_like_columns(cov)
        if isinstance(names, str):
            raise ValueError(f"Expected names to be a list of names; got {names!r}.")
        s = _numbers(cov, "cov, the covariance matrix,")
        if s.ndim != 2 or s.shape[0] != s.shape[1]:
            raise ValueError(f"Expected a square covariance matrix; got shape {s.shape}.")
        if names is None or len(names) != len(s):
            raise ValueError(
                f"Expected {len(s)} names, one for each row of cov; got {None if names is None else len(names)}."
            )
        if len(set(names)) < len(names):
            raise ValueError(
                f"Expected different names; got {next(v for v in names if list(names).count(v) > 1)!r} twice."
            )
        self.names = tuple(names)
        self.cov = _symmetric(s, self.names)
        check_positive_definite(self.cov, self.names, "The covariance matrix")
        self.mean = None if mean is None else _means(mean, self.names)
        self.n = _persons(n)


def _persons(n: Any) -> int:
    if not isinstance(n, Real) or not float(n).is_integer() or n < 2:
        raise ValueError(f"Expected n, the number of persons, to be a whole number above 1; got {n!r}.")
    return int(float(n))


def _numbers(given: Any, what: str) -> np.ndarray:
    try:
        return np.array(given, dtype=float)
    except (TypeError, ValueError):
        shown = given if isinstance(given, str) else type(given).__name__
        raise ValueError(f"Expected {what} to hold numbers; got {shown!r} with something else in it.") from None


def _rows_like_columns(cov: Any) -> Any:
    """A frame with its rows in the order of its columns, where both have the same names."""
    columns, index = list(cov.columns), list(getattr(cov, "index", ()))
    same = index != columns and len(set(columns)) == len(columns) and set(index) == set(columns)
    return cov.loc[columns] if same else cov


def _means(mean: Any, names: Sequence[str]) -> np.ndarray:
    """Means in the order of the names; those with labels of their own (a Series, a mapping) are matched by them."""
    if isinstance(mean, Mapping) or hasattr(mean, "loc"):
        given = {str(k): v for k, v in mean.items()}
        if set(given) >= set(names):
            mean = [given[name] for name in names]
        elif isinstance(mean, Mapping) or not all(k.isdecimal() for k in given):
            absent = next(name for name in names if name not in given)
            raise ValueError(f"Expected a mean for {absent!r}; there are means for {', '.join(given)}.")
    out = _numbers(mean, "mean").reshape(-1)
    if len(out) != len(names):
        raise ValueError(f"Expected {len(names)} means; got {len(out)}.")
    if not np.isfinite(out).all():
        at = int(np.argmin(np.isfinite(out)))
        raise ValueError(f"The mean of {names[at]!r} is {out[at]}: expected a finite number.")
    return out


def _symmetric(s: np.ndarray, names: Sequence[str]) -> np.ndarray:
    if not np.isfinite(s).all():
        j, k = np.argwhere(~np.isfinite(s))[0]
        raise ValueError(f"The covariance of {names[j]!r} and {names[k]!r} is {s[j, k]}: expected a finite number.")
    gap = np.abs(s - s.T)
    j, k = divmod(int(gap.argmax()), len(gap))
    if gap[j, k] > 1e-8 * np.sqrt(abs(s[j, j] * s[k, k])):
        raise ValueError(
            f"The covariance matrix is not symmetric: cov({names[j]}, {names[k]}) = {s[j, k]:g} but"
            f" cov({names[k]}, {names[j]}) = {s[k, j]:g}."
        )
    return (s + s.T) / 2


def check_positive_definite(s: np.ndarray, names: Sequence[str], what: str) -> None:
    """Raise a sentence that names the variables at fault."""
    d = np.diag(s)
    if not np.isfinite(s).all():
        j = int(np.argmin(np.isfinite(d)))
        raise ValueError(f"{what} overflows: the values of {names[j]!r} are too large; rescale them.")
    if (d <= 0).any():
        j = int(np.argmin(d))
        raise ValueError(f"{what} is not positive definite: the variance of {names[j]!r} is {d[j]:g}.")
    r = s / np.sqrt(np.outer(d, d))
    if smallest_eigenvalue(s) > 1e-12:
        return
    values, vectors = np.linalg.eigh(r)
    if values[0] > 1e-12:
        return
    off = np.abs(r - np.eye(len(r)))
    j, k = divmod(int(off.argmax()), len(off))
    if off[j, k] > 1 + 1e-10:
        raise ValueError(
            f"{what} is not positive definite: it gives {names[j]!r} and {names[k]!r} a correlation of {r[j, k]:.4g}."
        )
    if off[j, k] > 1 - 1e-10:
        raise ValueError(f"{what} is not positive definite: {names[j]!r} and {names[k]!r} are the same up to scale.")
    involved = [name for name, share in zip(names, np.abs(vectors[:, 0]), strict=True) if share > 0.1]
    raise ValueError(
        f"{what} is not positive definite: a combination of {', '.join(involved)} does not vary"
        " (a variable that is a sum of others, or fewer rows than variables)."
    )


@dataclass(frozen=True)
class GroupMoments:
    """Moments by group: mean [group, p], cov [group, p, p] (the denominator the estimator wants), n [group]."""

    mean: np.ndarray
    cov: np.ndarray
    n: np.ndarray
    names: tuple[str, ...]


def sample_moments(data: Responses, *, unbiased: bool = False, check: bool = True) -> GroupMoments:
    """Weighted means and covariances of complete rows, divided by n (or n - 1)."""
    means, covs, ns = [], [], []
    for g in range(data.n_groups):
        rows = slice(None) if data.n_groups == 1 else data.rows_of(g)
        y = data.y[rows]
        n, p = y.shape
        if check and n <= p:
            where = f" in group {data.group_labels[g]!r}" if data.n_groups > 1 else ""
            raise ValueError(f"Expected more rows than variables; got {n} complete rows and {p} variables{where}.")
        with np.errstate(over="ignore", invalid="ignore"):
            mean, cov = weighted_moments(y, None if data.weight is None else data.weight[rows])
        if check:
            check_positive_definite(cov, data.names, f"The sample covariance matrix{_in_group(data, g)}")
        means.append(mean)
        covs.append(cov * n / (n - 1) if unbiased else cov)
        ns.append(n)
    return GroupMoments(np.array(means), np.array(covs), np.array(ns), data.names)


def _in_group(data: Responses, g: int) -> str:
    return f" of group {data.group_labels[g]!r}" if data.n_groups > 1 else ""


def weighted_moments(y: np.ndarray, weight: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean [p] and covariance [p, p] with the sum of weights in the denominator."""
    if weight is None:
        mean = y.mean(axis=0)
        e = y - mean
        return mean, e.T @ e / len(y)
    w = weight / weight.sum()
    mean = w @ y
    e = y - mean
    return mean, (e * w[:, None]).T @ e


def from_cov(given: Moments, variables: Sequence[str], *, unbiased: bool = False) -> GroupMoments:
    """Moments of the model's variables out of a given covariance matrix."""
    missing = [v for v in variables if v not in given.names]
    if missing:
        raise ValueError(f"The variable {missing[0]!r} is not in the covariance matrix of {', '.join(given.names)}.")
    if given.n <= len(variables):
        raise ValueError(f"Expected more persons than variables; got n = {given.n} and {len(variables)} variables.")
    pick = [given.names.index(v) for v in variables]
    cov = given.cov[np.ix_(pick, pick)] * (1.0 if unbiased else (given.n - 1) / given.n)
    mean = np.zeros(len(pick)) if given.mean is None else given.mean[pick]
    return GroupMoments(mean[None], cov[None], np.array([given.n]), tuple(variables))
