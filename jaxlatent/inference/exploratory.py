"""A rotated factor solution as a fitted Gaussian model, so that tests, indices and errors are those of any model.

The rotated parameters (Λ, Φ, Θ, ν) move on the set of points that a rotation reaches from unrotated ones (A, Θ, ν). Its
tangent space is the range of the Jacobian J of that map; the rows orthogonal to it are the restrictions under which
the information is inverted. Jennrich (1973, 1974), Psychometrika 38 and 39.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jaxlatent.inference.estimate import Estimate
from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.moment_model import MomentModel
from jaxlatent.numerics.rotation import Rotation, rotate, rotation_jacobian
from jaxlatent.spec.efa_table import exploratory_table
from jaxlatent.spec.layout import layout_of, places
from jaxlatent.spec.restrictions_matrix import null_space

STEP = 1e-30


@dataclass(frozen=True)
class Unrotated:
    """Extracted factors before rotation, and all of a Fitted that rotation leaves as it is.

    loadings [item, factor] on the scale of the variables; uniquenesses [item]; at_bound [item] says which are held at
    their least value; intercepts [item] where means are modelled; canonical: "ml" (Λ'Θ^-1 Λ is diagonal) or "axes"
    (Λ'Λ of standardised variables is).
    """

    factors: tuple[str, ...]
    loadings: np.ndarray
    uniquenesses: np.ndarray
    at_bound: np.ndarray
    intercepts: np.ndarray | None
    value: float
    converged: bool
    steps: int
    canonical: str
    isotropic: bool
    common: dict[str, Any]

    @property
    def n_coordinates(self) -> int:
        """Free parameters of the model, whatever the rotation."""
        p, m = self.loadings.shape
        means = 0 if self.intercepts is None else p
        return p * m - m * (m - 1) // 2 + (1 if self.isotropic else p) + means


def standard_deviations(loadings: np.ndarray, uniquenesses: np.ndarray) -> np.ndarray:
    """Of the variables, as the model has them [item]; of complex parameters too."""
    return np.sqrt((loadings * loadings).sum(1) + uniquenesses)


def turned(plain: Unrotated, method: str, key: int = 0, **options: Any) -> tuple[Fitted, Rotation]:
    """The solution rotated: loadings of standardised variables are what the criterion sees, as in lavaan."""
    sd = standard_deviations(plain.loadings, plain.uniquenesses)
    rotation = rotate(plain.loadings / sd[:, None], method, key=key, **options)
    return turned_by(plain, rotation), rotation


def turned_by(plain: Unrotated, rotation: Rotation) -> Fitted:
    """The fitted model at a known rotation."""
    oblique = is_oblique(rotation)
    m = plain.loadings.shape[1]
    table = exploratory_table(
        plain.common["moments"].names,
        plain.factors,
        oblique=oblique and m > 1,
        mean_structure=plain.intercepts is not None,
        isotropic=plain.isotropic,
    )
    layout = layout_of(table, width=m, exogenous=None)
    sd = standard_deviations(plain.loadings, plain.uniquenesses)
    parts = _ordered(
        plain, rotation.loadings * sd[:, None], rotation.factor_cov, plain.uniquenesses, oblique, plain.intercepts
    )
    free = np.concatenate(parts)
    common = plain.common
    try:
        if not rotation.converged:
            raise ValueError(f"The rotation {rotation.settings.name} did not converge: there are no standard errors")
        restrictions = _restrictions(plain, rotation, oblique)
    except ValueError as reason:
        means = plain.intercepts is not None
        model = MomentModel(layout, free, np.ones(1), means)
        restrictions = null_space(model.jacobian[0]).T
        common = common | {"engine": replace(common["engine"], se="none"), "notes": (*common["notes"], f"{reason}.")}
    extra = _bounds(plain, len(parts[0]), len(free))
    statistics = {"value": np.asarray(plain.value), "at_bound": extra.any(0)}
    code = np.asarray(1 if plain.converged else 2)
    nothing = np.full((len(free),) * 2, np.nan)
    estimate = Estimate(
        free, nothing, plain.common["log_likelihood"], code, np.asarray(plain.steps), statistics
    )  # fmt: skip
    return Fitted(
        table=table,
        places=places(table),
        layout=layout,
        estimate=estimate,
        restrictions=np.concatenate([restrictions, extra]),
        equalities=len(free) - plain.n_coordinates,
        **common,
    )


def is_oblique(rotation: Rotation) -> bool:
    """Whether the factors may be correlated."""
    return rotation.settings.oblique or rotation.settings.power is not None


def free_vector(plain: Unrotated, loadings: np.ndarray, phi: np.ndarray, rotation: Rotation) -> np.ndarray:
    """The free vector of the rotated table for rotated loadings on the scale of the variables."""
    oblique = is_oblique(rotation)
    return np.concatenate(_ordered(plain, loadings, phi, plain.uniquenesses, oblique, plain.intercepts))


def _ordered(
    plain: Unrotated, loadings: np.ndarray, phi: np.ndarray, theta: np.ndarray, oblique: bool, means: Any
) -> list[np.ndarray]:
    """Parts of the free vector in the table's order: loadings by factor, variances, covariances, intercepts."""
    above = np.triu_indices(len(phi), 1)
    out = [loadings.T.ravel(), theta[:1] if plain.isotropic else theta, phi[above] if oblique else phi[:0, 0]]
    return out if means is None else [*out, means]


def _bounds(plain: Unrotated, before: int, n_free: int) -> np.ndarray:
    """A row for every uniqueness that is held at its bound."""
    if plain.isotropic:
        return np.zeros((0, n_free))
    at = np.flatnonzero(plain.at_bound)
    out = np.zeros((len(at), n_free))
    out[np.arange(len(at)), before + at] = 1
    return out


def _restrictions(plain: Unrotated, rotation: Rotation, oblique: bool) -> np.ndarray:
    """Orthonormal rows [k, n_free] orthogonal to all directions in which a rotated solution can move."""
    p, m = plain.loadings.shape
    if rotation.settings.name == "none" and m > 1:
        by_free = _canonical_rows(plain)
        width = 0 if plain.intercepts is None else p
        return np.hstack([by_free, np.zeros((len(by_free), width))])
    jacobian = _jacobian(plain, rotation, oblique)
    full, means = np.linalg.svd(jacobian)[0], 0 if plain.intercepts is None else p
    rows = full[:, plain.n_coordinates - means :].T
    return np.hstack([rows, np.zeros((len(rows), means))])


def _jacobian(plain: Unrotated, rotation: Rotation, oblique: bool) -> np.ndarray:
    """d (Λ, Θ, Φ) / d (A, Θ) in the order of the free vector, intercepts left out.

    Λ = D R(D^-1 A), D the standard deviations of the variables, which depend on A and Θ.
    """
    a, theta = plain.loadings, plain.uniquenesses
    p, m = a.shape
    sd = standard_deviations(a, theta)
    n_theta = 1 if plain.isotropic else p
    d_sd = np.zeros((p, p * m + n_theta))
    d_sd[np.arange(p)[:, None], np.arange(p * m).reshape(p, m)] = a / sd[:, None]
    d_sd[np.arange(p), p * m + (0 if plain.isotropic else np.arange(p))] = 0.5 / sd
    d_standard = np.zeros((p, m, p * m + n_theta))
    d_standard.reshape(p * m, -1)[np.arange(p * m), np.arange(p * m)] = np.repeat(1 / sd, m)
    d_standard -= (a / sd[:, None] ** 2)[:, :, None] * d_sd[:, None, :]
    turn = rotation_jacobian(a / sd[:, None], rotation)
    both = turn @ d_standard.reshape(p * m, -1)
    lead = both[: p * m].reshape(p, m, -1) * sd[:, None, None] + rotation.loadings[:, :, None] * d_sd[:, None, :]
    phi = both[p * m :].reshape(m, m, -1)
    unique = np.zeros((n_theta, p * m + n_theta))
    unique[:, p * m :] = np.eye(n_theta)
    parts = [lead.transpose(1, 0, 2).reshape(p * m, -1), unique]
    return np.concatenate([*parts, phi[np.triu_indices(m, 1)]] if oblique else parts)


def _canonical_rows(plain: Unrotated) -> np.ndarray:
    """Derivatives of what is zero in an unrotated solution, by complex steps [m(m-1)/2, free]."""
    p, m = plain.loadings.shape
    n_theta = 1 if plain.isotropic else p
    above = np.triu_indices(m, 1)

    def zeros(x: np.ndarray) -> np.ndarray:
        loadings, theta = x[: p * m].reshape(m, p).T, np.broadcast_to(x[p * m :], (p,))
        scale = theta if plain.canonical == "ml" else standard_deviations(loadings, theta) ** 2
        return (loadings.T @ (loadings / scale[:, None]))[above]

    start = np.concatenate([plain.loadings.T.ravel(), plain.uniquenesses[:n_theta]]).astype(complex)
    rows = [zeros(start + STEP * 1j * direction).imag / STEP for direction in np.eye(len(start))]
    return np.array(rows).T.reshape(len(above[0]), len(start))
