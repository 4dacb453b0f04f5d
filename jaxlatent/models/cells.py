"""Free cells of the LISREL matrices and their rank-two derivatives.

With A = (I - B)^-1, Phi = A Psi A', G = Lambda A and C = Lambda Phi, every derivative of the implied covariance is
dSigma = f (u v' + v u') with u and v columns of E = [I_p | G | C], and every derivative of the implied mean is a number
times one column of E:

    cell          u     v     f          dmu
    Lambda_jk     e_j   C_k   1          e_j h_k            h = A alpha
    B_kl          G_k   C_l   1          G_k h_l
    Psi_kl        G_k   G_l   1 (1/2)    0                  (1/2 on the diagonal)
    Theta_jk      e_j   e_k   1 (1/2)    0
    nu_j, alpha_k                        e_j, G_k

Derivatives of the columns themselves are again combinations of u and v of the other cell, so the second derivatives
are gathers too. Which cells are free is data: models of one shape share one compiled program.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxlatent.numerics.linalg import structural_inverse
from jaxlatent.numerics.types import Array
from jaxlatent.spec.layout import Layout


class Cells(NamedTuple):
    """Index arrays [group, cell]; padded cells have factor 0, scalar 0 and point at free parameter n_free."""

    u: Array
    v: Array
    factor: Array
    mean: Array  # column of E
    scalar: Array  # 0: none, 1: one, 2 + k: h_k
    alpha: Array  # row of the column-derivative table, along u
    beta: Array  # the same, along v
    free: Array


class Basis(NamedTuple):
    """What a point of one group offers its cells: E [p, p + 2m], and the small tables of second derivatives."""

    columns: Array
    scalars: Array
    table: Array
    scalar_table: Array


def round_up(n: int, to: int) -> int:
    return -(-max(n, 1) // to) * to


def cells_of(layout: Layout, padded_free: int) -> Cells:
    """The free cells of every group, padded to a common multiple of 32."""
    lists = [_group_cells(layout, g) for g in range(layout.n_groups)]
    width = round_up(max(len(cells) for cells in lists), 32)
    blank = (0, 0, 0.0, 0, 0, 0, 0, padded_free)
    table = np.array([cells + [blank] * (width - len(cells)) for cells in lists])
    names = Cells._fields
    return Cells(*(table[..., k].astype(float if name == "factor" else np.int32) for k, name in enumerate(names)))


def _group_cells(layout: Layout, g: int) -> list[tuple]:
    p, m = layout.fixed["loadings"].shape[1:]
    found: list[tuple] = []
    for name, index in layout.index.items():
        here = np.asarray(index[g])
        for where in zip(*np.nonzero(here >= 0), strict=True):
            if name in ("factor_cov", "residual_cov") and where[1] > where[0]:
                continue
            found.append((*_cell(name, where, p, m), int(here[where])))
    return found


def _cell(name: str, where: tuple[int, ...], p: int, m: int) -> tuple:
    j, k = where[0], where[-1]
    half = 0.5 if j == k else 1.0
    match name:
        case "loadings":
            return j, p + m + k, 1.0, j, 2 + k, 1 + k, 0
        case "regressions":
            return p + j, p + m + k, 1.0, p + j, 2 + k, 1 + k, 1 + m + j
        case "factor_cov":
            return p + j, p + k, half, 0, 0, 1 + m + k, 1 + m + j
        case "residual_cov":
            return j, k, half, 0, 0, 0, 0
        case "intercepts":
            return 0, 0, 0.0, j, 1, 0, 0
        case "factor_means":
            return 0, 0, 0.0, p + j, 1, 0, 0
    raise ValueError(f"Expected a matrix of the Gaussian model; got {name!r}.")


def total_effects(regressions: Array) -> Array:
    """A = (I - B)^-1, by our own elimination where traced and by LAPACK on the host."""
    if isinstance(regressions, np.ndarray):
        return np.linalg.inv(np.eye(len(regressions)) - regressions)
    return structural_inverse(regressions)


def basis(params: dict[str, Array]) -> Basis:
    """E and its tables for one group (matrices without a group axis); NumPy in, NumPy out."""
    loadings, psi = params["loadings"], params["factor_cov"]
    xp = np if isinstance(loadings, np.ndarray) else jnp
    p, m = loadings.shape
    a = total_effects(params["regressions"])
    phi = a @ psi @ a.T
    h = a @ params["factor_means"]
    columns = xp.concatenate([xp.eye(p), loadings @ a, loadings @ phi], axis=1)
    scalars = xp.concatenate([xp.array([0.0, 1.0]), h])
    none = xp.zeros
    second, third = xp.concatenate([none((m, p)), a, phi], axis=1), xp.concatenate([none((m, p + m)), a.T], axis=1)
    table = xp.concatenate([none((1, p + 2 * m)), second, third])
    inner = xp.concatenate([none((m, p)), a, none((m, m))], axis=1)
    return Basis(columns, scalars, table, xp.concatenate([none((2, p + 2 * m)), inner]))


def implied(params: dict[str, Array]) -> tuple[Array, Array]:
    """Mean [p] and covariance [p, p] of one group: nu + Lambda A alpha and Lambda A Psi A' Lambda' + Theta."""
    g = params["loadings"] @ total_effects(params["regressions"])
    return params["intercepts"] + g @ params["factor_means"], g @ params["factor_cov"] @ g.T + params["residual_cov"]


def pair(q: Array, rows: Array, cols: Array) -> Array:
    """q[rows, :][:, cols]: one Gram matrix of E looked up for all pairs of cells."""
    return q[rows][:, cols]


def information_cells(c: Cells, b: Basis, gram: Array) -> Array:
    """1/2 tr(K dS_s K dS_t) + dmu_s' K dmu_t for all pairs of cells, from gram = E' K E."""
    uu, vv, uv = pair(gram, c.u, c.u), pair(gram, c.v, c.v), pair(gram, c.u, c.v)
    s = b.scalars[c.scalar]
    covariance = c.factor[:, None] * c.factor * (uu * vv + uv * uv.T)
    return covariance + s[:, None] * s * pair(gram, c.mean, c.mean)


def gradient_cells(c: Cells, b: Basis, weight: Array, z: Array) -> Array:
    """1/2 tr(W dS_s) - z' dmu_s for every cell, from weight = E' W E and z = E' K (m - mu)."""
    return c.factor * weight[c.u, c.v] - b.scalars[c.scalar] * z[c.mean]


def curvature_cells(c: Cells, b: Basis, weight: Array, z: Array) -> Array:
    """1/2 tr(W d2S_st) - z' d2mu_st for all pairs of cells: what the model's own curvature adds to a Hessian."""
    f, s = c.factor, b.scalars[c.scalar]
    alpha, beta = b.table[c.alpha], b.table[c.beta]  # [cell t, column]
    a_u, a_v, b_u, b_v = alpha[:, c.u].T, alpha[:, c.v].T, beta[:, c.u].T, beta[:, c.v].T
    uv, vv, uu = pair(weight, c.u, c.v), pair(weight, c.v, c.v), pair(weight, c.u, c.u)
    covariance = f[:, None] * f * (a_u * uv.T + b_u * vv + a_v * uu + b_v * uv)
    column = s[:, None] * f * alpha[:, c.mean].T * z[c.u]
    scalar = pair(b.scalar_table, c.scalar, c.mean) * s * z[c.mean][:, None]
    return covariance - column - scalar


def observed_cells(c: Cells, b: Basis, k: Array, r: Array, z: Array) -> Array:
    """Second derivatives of the normal log-likelihood's moment part: k = E'KE, r = E'K S* K E, z = E'K(m - mu)."""
    f, s = c.factor, b.scalars[c.scalar]
    kuu, kvv, kuv = pair(k, c.u, c.u), pair(k, c.v, c.v), pair(k, c.u, c.v)
    ruu, rvv, ruv = pair(r, c.u, c.u), pair(r, c.v, c.v), pair(r, c.u, c.v)
    mixed = f[:, None] * f * (kuv.T * ruv + kvv * ruu + kuu * rvv + kuv * ruv.T)
    cross = (f * z[c.u])[:, None] * pair(k, c.v, c.mean) + (f * z[c.v])[:, None] * pair(k, c.u, c.mean)
    cross = cross * s
    plain = f[:, None] * f * (kuu * kvv + kuv * kuv.T)
    means = s[:, None] * s * pair(k, c.mean, c.mean)
    return mixed - plain + means + cross + cross.T


def vech_jacobian(c: Cells, b: Basis, lower: tuple[np.ndarray, np.ndarray]) -> tuple[Array, Array]:
    """d mu / d cell [p, cell] and d vech(Sigma) / d cell [p(p+1)/2, cell] (lower triangle, row by row)."""
    e = b.columns
    rows, cols = e[np.asarray(lower[0])], e[np.asarray(lower[1])]
    d_sigma = c.factor * (rows[:, c.u] * cols[:, c.v] + rows[:, c.v] * cols[:, c.u])
    return e[:, c.mean] * b.scalars[c.scalar], d_sigma


def to_free(values: Array, free: Array, n_free: int) -> Array:
    """Sum cells [group, cell] onto free parameters [n_free]."""
    return jnp.zeros(n_free + 1, values.dtype).at[free.reshape(-1)].add(values.reshape(-1))[:-1]


def pairs_to_free(values: Array, free: Array, n_free: int) -> Array:
    """Sum pairs of cells [group, cell, cell] onto pairs of free parameters [n_free, n_free]."""
    groups, width, _ = values.shape
    half = jnp.zeros((groups, n_free + 1, width), values.dtype).at[jnp.arange(groups)[:, None], free].add(values)
    half = jnp.swapaxes(half, 1, 2)
    out = jnp.zeros((n_free + 1, n_free + 1), values.dtype).at[free.reshape(-1)].add(half.reshape(-1, n_free + 1))
    return out[:-1, :-1]
