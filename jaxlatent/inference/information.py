"""Information matrices, robust covariance matrices and U-Gamma traces of a fitted Gaussian model.

Everything is "bread and meat" over free parameters. With A the information per person, B the covariance of the scores
and Z the directions the constraints leave free,

    standard      Z (Z'AZ)^-1 Z' / N
    robust        Z (Z'AZ)^-1 Z' B Z (Z'AZ)^-1 Z' / N          (Huber 1967, White 1982)
    robust_sem    the same with B = Delta' W Gamma W Delta      (Browne 1984; Satorra and Bentler 1994)
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from jaxlatent.data.responses import Responses
from jaxlatent.inference.casewise_host import casewise_gradient, casewise_information, casewise_scores
from jaxlatent.inference.casewise_model import CasewiseModel, observed_hessian
from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.moment_model import (
    MomentModel,
    apply_normal_weight,
    moment_contributions,
)
from jaxlatent.inference.settings import LeastSquares
from jaxlatent.inference.weights import centred_contributions
from jaxlatent.numerics.definite import smallest_eigenvalue

SINGULAR = 1e-10  # smallest eigenvalue, at unit diagonal, of an information matrix that can be inverted


class Inference:
    """Information and sandwich pieces of one fitted model (or its baseline), each computed once when asked for."""

    def __init__(self, fitted: Fitted) -> None:
        self.fitted = fitted
        self.model: MomentModel = fitted.model
        self.groups = range(self.model.n_groups)
        self.weight = fitted.group_weight

    @property
    def least_squares(self) -> bool:
        return isinstance(self.fitted.engine, LeastSquares)

    @cached_property
    def weight_inverse(self) -> list[np.ndarray]:
        """The inverse covariance of the normal-theory weight: at the model, or at the moments for two-stage fits."""
        if "two_stage" in self.fitted.missing:
            return [np.linalg.inv(s) for s in self.fitted.moments.cov]
        return self.model.inverse

    # ---- bread ------------------------------------------------------------------------------------------------

    @cached_property
    def expected(self) -> np.ndarray:
        """Expected information per person [n_free, n_free] (least squares: Delta' W Delta)."""
        parts = (f * self.expected_of(self.model, g) for g, f in zip(self.groups, self.weight, strict=True))
        return sum(parts) + self.prior_curvature

    @cached_property
    def prior_curvature(self) -> np.ndarray | float:
        """Minus the Hessian per person of the log-density of written priors [n_free, n_free]; 0 without."""
        f = self.fitted
        return -f.priors.on_host(f.layout, f.free)[2] / f.n_effective if f.priors.active else 0.0

    def expected_of(self, model: MomentModel, g: int) -> np.ndarray:
        """Expected information per person of group g of this model, or of one that extends it.

        For incomplete rows Delta' W Delta with W averaged over the patterns of missing values, taken as given.
        """
        if self.least_squares:
            return model.jacobian[g].T @ self._weigh_columns(g, model.jacobian[g])
        if self.fitted.missing == "fiml":
            return model.jacobian[g].T @ self._pattern_weight[g] @ model.jacobian[g]
        return model.expected_information(g, self.weight_inverse[g])

    @cached_property
    def _pattern_weight(self) -> list[np.ndarray]:
        return [
            casewise_information(self.fitted, g, *self.model.implied[g], expected=True) / self.fitted.moments.n[g]
            for g in self.groups
        ]

    def moment_pull(self, g: int) -> np.ndarray:
        """Derivative of the log-likelihood (minus the discrepancy) per person of group g by its implied moments."""
        f = self.fitted
        mean, cov = f.moments.mean[g], f.moments.cov[g]
        if f.missing == "fiml":
            d_mean, d_cov = casewise_gradient(f, g, *self.model.implied[g])
            low = d_cov - np.diag(np.diag(d_cov)) / 2
            return -np.concatenate([d_mean, low[np.tril_indices(len(mean))]]) / f.moments.n[g]
        r = self.model.residual(g, mean, cov)
        if self.least_squares:
            return self._weigh_columns(g, r[:, None])[:, 0]
        if self.model.mean_structure:
            e = r[: len(mean)]
            r[len(mean) :] += np.outer(e, e)[np.tril_indices(len(mean))]
        return apply_normal_weight(self.model.inverse[g], r[:, None], self.model.mean_structure)[:, 0]

    @cached_property
    def observed(self) -> np.ndarray:
        """Hessian per person of the objective [n_free, n_free]."""
        f = self.fitted
        if f.missing == "fiml":
            rows = observed_hessian(CasewiseModel(f.layout, f.cases, f.n_total), self.model) / f.n_total
            return rows + self.prior_curvature
        parts = [
            w * self.model.observed_information(g, f.moments.mean[g], f.moments.cov[g])
            for g, w in zip(self.groups, self.weight, strict=True)
        ]
        return sum(parts) + self.prior_curvature

    @property
    def information(self) -> np.ndarray:
        """The information matrix the engine's options name, per person."""
        match self.fitted.engine.information:
            case "expected":
                return self.expected
            case "observed":
                return self.observed
        return self.first_order

    def invert(self, information: np.ndarray) -> np.ndarray:
        """Z (Z' I Z)^-1 Z'; raises np.linalg.LinAlgError where that is singular."""
        try:
            inverse = np.linalg.inv(self.fitted.tangent(information))
        except np.linalg.LinAlgError:
            raise ValueError(
                "The information matrix is singular, so the model is not identified: fit.message names the parameters."
            ) from None
        z = self.fitted.basis
        return inverse if not len(self.fitted.restrictions) else z @ inverse @ z.T

    @cached_property
    def bread(self) -> np.ndarray:
        return self.invert(self.information)

    # ---- meat -------------------------------------------------------------------------------------------------

    def _weighted(self, g: int) -> np.ndarray:
        """W Delta of group g."""
        return self._weigh_columns(g, self.model.jacobian[g])

    def _weigh_columns(self, g: int, columns: np.ndarray, *, mask: bool = True) -> np.ndarray:
        """W x for columns of moments [moments, column]; moments of fixed exogenous variables carry no weight."""
        if mask and len(self.fitted.exogenous):
            keep = np.zeros(len(columns))
            keep[kept_moments(self.fitted)] = 1
            return self._weigh_columns(g, columns * keep[:, None], mask=False) * keep[:, None]
        if self.least_squares:
            w = self.fitted.weights[g]
            return w[:, None] * columns if w.ndim == 1 else w @ columns
        return apply_normal_weight(self.weight_inverse[g], columns, self.model.mean_structure)

    def moment_scores(self, g: int, mean: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        """Each person's score over the moments of group g, times the sampling weight [person, moments]."""
        f = self.fitted
        if f.missing == "fiml":
            return casewise_scores(f, g, mean, sigma)
        rows = f.rows.rows_of(g)
        means = self.model.mean_structure
        centre = mean if means else f.moments.mean[g]
        z = moment_contributions(f.rows.y[rows], centre, means)
        lower = np.tril_indices(len(mean))
        expected = np.concatenate([np.zeros(len(mean)), sigma[lower]]) if means else sigma[lower]
        scores = apply_normal_weight(np.linalg.inv(sigma), (z - expected).T, means).T
        return scores if f.rows.weight is None else scores * f.rows.weight[rows][:, None]

    @cached_property
    def person_scores(self) -> np.ndarray:
        """Each person's score over free parameters [person, n_free], in the order of the data."""
        f = self.fitted
        out = np.zeros((len(f.rows.y), f.table.n_free))
        for g in self.groups:
            out[f.rows.rows_of(g)] = self.moment_scores(g, *self.model.implied[g]) @ self.model.jacobian[g]
        return out

    @cached_property
    def first_order(self) -> np.ndarray:
        """Cross-product of the scores per person; summed within clusters first where there are clusters."""
        return cross_product(self.person_scores, self.fitted.rows.cluster) / self.fitted.n_total

    @cached_property
    def contributions(self) -> list[np.ndarray]:
        """Per group rows whose cross-product over n_g is Gamma, the covariance of the sample moments."""
        f = self.fitted
        if "two_stage" in f.missing:
            return [self._saturated_root(g) for g in self.groups]
        z = [centred_contributions(f.rows, g, self.model.mean_structure) for g in self.groups]
        return (
            [self._given_exogenous(g, rows) for g, rows in zip(self.groups, z, strict=True)] if len(f.exogenous) else z
        )

    def _given_exogenous(self, g: int, z: np.ndarray) -> np.ndarray:
        """Contributions to the moments that are not fixed, given those that are: W_kk^-1 (W z)_k, zero elsewhere."""
        keep = kept_moments(self.fitted)
        full = np.eye(z.shape[1])
        w = full * self.fitted.weights[g] if self._diagonal else self._weigh_columns(g, full, mask=False)
        out = np.zeros_like(z)
        out[:, keep] = np.linalg.solve(w[np.ix_(keep, keep)], (z @ w).T[keep]).T
        return out

    @property
    def _diagonal(self) -> bool:
        return self.fitted.weight_matrix is not None and self.fitted.weights[0].ndim == 1

    def _saturated_root(self, g: int) -> np.ndarray:
        """A root of n_g times the covariance of saturated moments from incomplete rows (Savalei and Bentler 2009)."""
        f = self.fitted
        n = f.moments.n[g]
        mean, cov = f.moments.mean[g], f.moments.cov[g]
        a = casewise_information(f, g, mean, cov) / n
        gamma = np.linalg.inv(a)
        if f.missing == "robust_two_stage":
            s = casewise_scores(f, g, mean, cov)
            gamma = gamma @ (s.T @ s / n) @ gamma
        value, vector = np.linalg.eigh((gamma + gamma.T) / 2)
        root = (vector * np.sqrt(np.maximum(value, 0))).T * np.sqrt(n)
        return root if self.model.mean_structure else root[:, len(mean) :]

    @cached_property
    def sem_meat(self) -> np.ndarray:
        """sum_g f_g Delta' W Gamma W Delta [n_free, n_free]."""
        total = np.zeros((self.fitted.table.n_free,) * 2)
        for g, f in zip(self.groups, self.weight, strict=True):
            s = self.contributions[g] @ self._weighted(g)
            total += f * s.T @ s / self.fitted.moments.n[g]
        return total

    # ---- covariance of the estimates --------------------------------------------------------------------------

    def vcov(self, kind: str) -> np.ndarray:
        """Covariance matrix of the estimates [n_free, n_free] for a kind of standard errors."""
        n = self.fitted.n_effective
        if kind in ("standard", "first_order"):
            return (self.invert(self.first_order) if kind == "first_order" else self.bread) / n
        if kind in ("robust", "cluster"):
            return self.bread @ self.first_order @ self.bread / n
        if kind in ("robust_sem", "two_stage", "robust_two_stage"):
            bread = self.invert(self.expected)
            return bread @ self.sem_meat @ bread / n
        raise ValueError(f"Expected a kind of standard errors; got {kind!r}.")

    def safe_vcov(self, kind: str) -> np.ndarray | None:
        """The covariance matrix, or None where the information matrix is singular."""
        sound = smallest_eigenvalue(self.fitted.tangent(self.information)) > SINGULAR
        return self.vcov(kind) if sound else None

    # ---- tests ------------------------------------------------------------------------------------------------

    @cached_property
    def ugamma_trace(self) -> float:
        """tr(U Gamma), U = W - W Delta (Delta' W Delta)^-1 Delta' W (Satorra and Bentler 1994, eq. 16.7)."""
        total = 0.0
        for g in self.groups:
            z = self.contributions[g]
            w = self._weigh_columns(g, z.T).T
            total += (z * w).sum() / self.fitted.moments.n[g]
        return total - np.trace(self.invert(self.expected) @ self.sem_meat)

    @cached_property
    def ugamma_square_trace(self) -> float:
        """tr(U Gamma U Gamma), over persons or over moments, whichever are fewer."""
        roots = [
            self.contributions[g] / np.sqrt(self.fitted.moments.n[g] * f)
            for g, f in zip(self.groups, self.weight, strict=True)
        ]
        weighted = [f * self._weigh_columns(g, roots[g].T).T for g, f in zip(self.groups, self.weight, strict=True)]
        scores = [f * roots[g] @ self._weighted(g) for g, f in zip(self.groups, self.weight, strict=True)]
        bread = self.invert(self.expected)
        total = 0.0
        for g in self.groups:
            for h in self.groups:
                cross = -scores[g] @ bread @ scores[h].T
                if g == h:
                    cross = cross + roots[g] @ weighted[g].T
                total += (cross**2).sum()
        return total


def person_log_likelihoods(fitted: Fitted, data: Responses) -> tuple[np.ndarray, np.ndarray]:
    """Row labels, and log p(y_i) of every person (joint with exogenous variables), missing values marginalised."""
    out = np.full(len(data.y), np.nan)
    means = fitted.table.mean_structure
    for g in range(fitted.table.n_groups):
        mean = fitted.model.implied[g][0] if means else fitted.moments.mean[g]
        sigma = fitted.model.implied[g][1]
        rows = data.rows_of(g)
        patterns, code = np.unique(~np.isnan(data.y[rows]), axis=0, return_inverse=True)
        for k, seen in enumerate(patterns):
            at = rows[code.reshape(-1) == k]
            e = data.y[np.ix_(at, np.flatnonzero(seen))] - mean[seen]
            s = sigma[np.ix_(seen, seen)]
            quadratic = (e * np.linalg.solve(s, e.T).T).sum(axis=1)
            out[at] = -(seen.sum() * np.log(2 * np.pi) + np.linalg.slogdet(s)[1] + quadratic) / 2
    return data.index, out


def kept_moments(fitted: Fitted) -> np.ndarray:
    """Positions of the moments that are not fixed at the sample's because all their variables are exogenous."""
    p = len(fitted.table.observed)
    fixed = np.isin(np.arange(p), fitted.exogenous)
    a, b = np.tril_indices(p)
    free = ~(fixed[a] & fixed[b])
    return np.flatnonzero(np.concatenate([~fixed, free]) if fitted.table.mean_structure else free)


def cross_product(scores: np.ndarray, cluster: np.ndarray | None) -> np.ndarray:
    """Scores' scores; with clusters their sums, times C / (C - 1)."""
    if cluster is None:
        return scores.T @ scores
    n = int(cluster.max()) + 1
    sums = np.zeros((n, scores.shape[1]))
    np.add.at(sums, cluster, scores)
    return sums.T @ sums * n / (n - 1)
