"""Vectors of free cells of a matrix <-> unconstrained vectors of the same length, cell by cell, without LAPACK."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.numerics.small_cholesky import Cells, cholesky_cells

At = tuple[int, ...]


@dataclass(frozen=True)
class Covariance:
    """A covariance matrix whose cells below the diagonal are free or 0, and whose variances are free or fixed.

    free: (row, column, position in the vector), row >= column, row by row; variances: the fixed ones, as (row, value).
    """

    size: int
    free: tuple[tuple[int, int, int], ...]
    variances: tuple[tuple[int, float], ...]

    def matrix(self, c: jax.Array) -> Cells:
        """Cells [...] of the matrix at a vector [..., n]."""
        zero = jnp.zeros_like(c[..., 0])
        out: Cells = [[zero] * self.size for _ in range(self.size)]
        for i, value in self.variances:
            out[i][i] = zero + value
        for i, j, at in self.free:
            out[i][j] = out[j][i] = c[..., at]
        return out


@dataclass(frozen=True)
class Bijection:
    """u [..., n] <-> c [..., n]; static. Positions that are named nowhere are any real numbers.

    positive: c = e^u. unit: c = σ(u). bounded, (position, a, b): c = a + (b - a) σ(u), a + e^u or b - e^u, by which
    bounds are finite. decreasing, for each row of positions: c_1 = u_1, c_k = c_{k-1} - e^{u_k}.
    covariances: by Cholesky factors, Sigma = L L'. Free cells of a row i are u_ij = L_ij, u_ii = log L_ii; a fixed zero
    Sigma_ij is solved for, L_ij = -Σ_{k<j} L_ik L_jk / L_jj; a row of fixed variance v has L_ii = 1 and is then scaled
    to Σ_j L_ij² = v.
    """

    size: int
    positive: At = ()
    unit: At = ()
    decreasing: tuple[At, ...] = ()
    covariances: tuple[Covariance, ...] = ()
    bounded: tuple[tuple[int, float, float], ...] = ()

    def forward(self, u: jax.Array) -> jax.Array:
        """c at u."""
        c = u
        if self.positive:
            c = c.at[..., np.array(self.positive)].set(jnp.exp(u[..., np.array(self.positive)]))
        if self.unit:
            c = c.at[..., np.array(self.unit)].set(jax.nn.sigmoid(u[..., np.array(self.unit)]))
        for at, low, high in self.bounded:
            c = c.at[..., at].set(_between(u[..., at], low, high))
        for row in self._rows():
            first, rest = u[..., row[:, :1]], u[..., row[:, 1:]]
            c = c.at[..., row[:, 1:]].set(first - jnp.cumsum(jnp.exp(rest), -1))
        for pattern in self.covariances:
            root = _factor(pattern, u)
            for i, j, at in pattern.free:
                c = c.at[..., at].set(sum((root[i][k] * root[j][k] for k in range(j)), start=root[i][j] * root[j][j]))
        return c

    def inverse(self, c: jax.Array) -> jax.Array:
        """u at c; nan where c is outside."""
        u = c
        if self.positive:
            u = u.at[..., np.array(self.positive)].set(jnp.log(c[..., np.array(self.positive)]))
        if self.unit:
            inside = c[..., np.array(self.unit)]
            u = u.at[..., np.array(self.unit)].set(jnp.log(inside) - jnp.log1p(-inside))
        for at, low, high in self.bounded:
            below = jnp.log(c[..., at] - low) if low > -math.inf else 0.0
            above = jnp.log(high - c[..., at]) if high < math.inf else 0.0
            u = u.at[..., at].set(below - above if low > -math.inf else above)
        for row in self._rows():
            u = u.at[..., row[:, 1:]].set(jnp.log(c[..., row[:, :-1]] - c[..., row[:, 1:]]))
        for pattern in self.covariances:
            fixed = dict(pattern.variances)
            root = cholesky_cells(pattern.matrix(c))
            for i, j, at in pattern.free:
                cell = jnp.log(root[i][i]) if i == j else root[i][j] / (root[i][i] if i in fixed else 1)
                u = u.at[..., at].set(cell)
        return u

    def log_det(self, u: jax.Array) -> jax.Array:
        """Terms [..., n] whose sum is log |dc/du|; those of a covariance matrix lie at its own positions.

        Rows of L depend on earlier rows only, and within a row dSigma_ij/du_ij = L_jj, dSigma_ii/du_ii = 2 L_ii²; a
        row i of fixed variance scaled by s_i = (v / (1 + q))^½, q = Σ_{j<i} L_ij² before scaling, has s_i L_jj for each
        free cell and 1 / (1 + q) once.
        """
        out = jnp.zeros_like(u)
        if self.positive:
            out = out.at[..., np.array(self.positive)].set(u[..., np.array(self.positive)])
        if self.unit:
            inside = u[..., np.array(self.unit)]
            out = out.at[..., np.array(self.unit)].set(_log_slope(inside))
        for at, low, high in self.bounded:
            both = low > -math.inf and high < math.inf
            out = out.at[..., at].set(math.log(high - low) + _log_slope(u[..., at]) if both else u[..., at])
        for row in self._rows():
            out = out.at[..., row[:, 1:]].set(u[..., row[:, 1:]])
        for pattern in self.covariances:
            fixed = dict(pattern.variances)
            root = _factor(pattern, u)
            seen: set[int] = set()
            for i, j, at in pattern.free:
                if i == j:
                    out = out.at[..., at].set(jnp.log(2.0) + 2 * u[..., at])
                    continue
                term = jnp.log(root[j][j])
                if i in fixed:
                    # the last cell of a scaled row is s_i itself, since L_ii = 1 before; and 1 / (1 + q) = s_i² / v
                    term = term + jnp.log(root[i][i])
                    if i not in seen:
                        term = term + 2 * jnp.log(root[i][i]) - np.log(fixed[i]).item()
                        seen.add(i)
                out = out.at[..., at].set(term)
        return out

    def holds(self, c: jax.Array) -> jax.Array:
        """Whether c [..., n] lies in the set: [...]."""
        return jnp.isfinite(self.inverse(c)).all(-1)

    def _rows(self) -> Iterator[np.ndarray]:
        """Decreasing rows [row, cell] of one length after the other."""
        lengths = sorted({len(at) for at in self.decreasing})
        for length in lengths:
            yield np.array([at for at in self.decreasing if len(at) == length])


def _between(u: jax.Array, low: float, high: float) -> jax.Array:
    """An open interval, one end of which is finite at least."""
    if low == -math.inf:
        return high - jnp.exp(u)
    return low + (jnp.exp(u) if high == math.inf else (high - low) * jax.nn.sigmoid(u))


def _log_slope(u: jax.Array) -> jax.Array:
    """log σ'(u)."""
    return -jnp.abs(u) - 2 * jnp.log1p(jnp.exp(-jnp.abs(u)))


def _factor(pattern: Covariance, u: jax.Array) -> Cells:
    """L, cell by cell."""
    at, fixed = {(i, j): k for i, j, k in pattern.free}, dict(pattern.variances)
    root: Cells = []
    for i in range(pattern.size):
        row: list[jax.Array] = []
        for j in range(i):
            if (i, j) in at:
                row.append(u[..., at[i, j]])
            else:
                inner = sum((row[k] * root[j][k] for k in range(j)), start=jnp.zeros_like(u[..., 0]))
                row.append(-inner / root[j][j])
        if i in fixed:
            scale = (fixed[i] / (1 + sum((cell**2 for cell in row), start=jnp.zeros_like(u[..., 0])))) ** 0.5
            row = [cell * scale for cell in row] + [scale]
        else:
            row.append(jnp.exp(u[..., at[i, i]]))
        root.append(row)
    return root
