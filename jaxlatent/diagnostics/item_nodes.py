"""A fitted item response model as the fit statistics see it: nodes of the latent distribution, tables, derivatives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlatent.diagnostics.category_tables import CategoryTables, SlotJacobian
from jaxlatent.diagnostics.limited_information import GroupFit
from jaxlatent.diagnostics.sum_scores import eap_sum_scores, sum_score_table
from jaxlatent.inference.item_model import is_normal
from jaxlatent.inference.marginal_fit import GRID_NODES, ItemFitted
from jaxlatent.integration.gauss_hermite import grid
from jaxlatent.integration.histogram import EmpiricalHistogram
from jaxlatent.integration.standard_points import equal_weights
from jaxlatent.measurement.measurement import Measurement
from jaxlatent.models.latent_prior import features, prior_vector
from jaxlatent.models.slots import (
    Slots,
    family_positions,
    family_slots,
    gathered,
    slot_jacobians,
    slots_at,
    slots_of,
    table_and_scores,
)
from jaxlatent.numerics.program import jit
from jaxlatent.numerics.sobol import normal_sobol
from jaxlatent.numerics.types import Array
from jaxlatent.results.item_curves import curves_at
from jaxlatent.results.item_scores import posterior_moments
from jaxlatent.results.learned_latent import log_density
from jaxlatent.spec.layout import Layout

SOBOL_POINTS = 2048  # of the latent distribution, where there are more factors than a grid can take
SOBOL_SEED = 0
ROWS = 4096  # persons whose tables are computed together
MOST_MOMENTS = 12_000
MOST = 2e8  # persons x points up to which the mixture over covariates uses every person


class Nodes(NamedTuple):
    """Points of one group's latent distribution: x [R, D], their weights [R], sum 1."""

    x: np.ndarray
    weights: np.ndarray


class FamilyTables(NamedTuple):
    """One family at points: P [R, item, category], and dP / d slot [R, item, category, slot]."""

    probability: Array
    by_slot: Array


@partial(jit, static_argnums=(0, 1, 2))
def _family_tables(
    measurement: Measurement, categories: tuple[int, ...], slopes: bool, slots: Slots, layout: Layout,
    free: jax.Array, g: jax.Array, x: jax.Array,
) -> list[FamilyTables]:  # fmt: skip
    """Tables of the categorical families of group g at x [R, D]; without slopes by_slot has no slots."""
    every = family_slots(measurement, slots, layout.unpack(free))
    out = []
    for (family, _), at, here, k in zip(
        measurement.groups, family_positions(measurement), every, categories, strict=True
    ):
        if not k:
            continue
        xs = gathered(x, jnp.asarray(slots.factor)[at]) * jnp.asarray(slots.used)[at]
        log_p, scores = table_and_scores(family, xs, slots_at(here, g), k)
        p = jnp.where(log_p < -1e20, 0.0, jnp.exp(log_p))
        by_slot = jnp.where((p > 0)[..., None], p[..., None] * scores, 0.0) if slopes else scores[..., :0]
        out.append(FamilyTables(p, by_slot))
    return out


@partial(jit, static_argnums=0)
def _derivatives(measurement: Measurement, slots: Slots, layout: Layout, free: jax.Array) -> tuple[Any, jax.Array]:
    """Derivatives of item slots [group, item, slot, free] by family, and of the prior [group, feature, free]."""
    prior = jax.jacfwd(lambda f: prior_vector(layout.unpack(f)))(free)
    return slot_jacobians(measurement, slots, layout, free), prior


@dataclass(frozen=True)
class ItemDiagnosis:
    """A fit, and what several statistics share; everything is computed when it is first asked for."""

    fitted: ItemFitted

    # ---- items ------------------------------------------------------------------------------------------------

    @cached_property
    def categorical(self) -> np.ndarray:
        """Which items have categories [J]."""
        return self.n_categories > 0

    @cached_property
    def n_categories(self) -> np.ndarray:
        """Categories of every item [J], 0 where it has none."""
        return np.array(self.fitted.coding.n_categories)

    @property
    def names(self) -> list[str]:
        return list(self.fitted.table.observed)

    @property
    def is_normal(self) -> bool:
        """Whether latent variables are normal, not learned."""
        return is_normal(self.fitted.latent)

    @property
    def has_covariates(self) -> bool:
        return bool(self.fitted.table.covariates)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Which statistics are left out or rest on part of the persons, and on which points they rest."""
        f = self.fitted
        out = []
        if not self.categorical.all():
            out.append("G2, M2, C2, SRMSR and S-X2 need items with categories and are left out.")
        elif self.has_covariates:
            out.append("G2, M2, C2 and SRMSR are left out, because the model has covariates.")
        elif not self.is_normal:
            out.append("M2 and C2 are left out, because the distribution of the factors was learned.")
        elif f.measurement.blocks:
            out.append("M2 and C2 are left out, because items have networks.")
        elif self.too_many_moments:
            out.append(f"M2 and C2 are left out, because items and pairs have more than {MOST_MOMENTS} moments.")
        d = len(f.table.factors)
        if d not in GRID_NODES:
            out.append(f"Fit statistics integrate over {SOBOL_POINTS} quasi-Monte Carlo points (fixed seed).")
        if self.categorical.all() and f.data.codes.size and (f.data.codes < 0).any():
            n = int((f.data.codes >= 0).all(1).sum())
            out.append(f"M2, C2, SRMSR and S-X2 rest on the {n} persons without a missing answer; G2 is left out.")
        return tuple(out)

    # ---- the latent distribution --------------------------------------------------------------------------------

    @cached_property
    def latent_moments(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """M [D, 1 + covariates], the covariance given covariates, and that of all persons of a group [D, D]."""
        p = self.fitted.params
        d = p["factor_cov"].shape[-1]
        out = []
        for g in range(self.fitted.table.n_groups):
            a = np.linalg.inv(np.eye(d) - p["regressions"][g])
            parts = [p["factor_means"][g][:, None]]
            if self.has_covariates:
                parts.append(p["covariate_effects"][g])
            m, cov = a @ np.concatenate(parts, 1), a @ p["factor_cov"][g] @ a.T
            z, w = self._design(g)
            mean = w @ z
            gap = (z - mean) @ m.T
            out.append((m, cov, cov + (gap * w[:, None]).T @ gap))
        return out

    def latent_mean(self, g: int) -> np.ndarray:
        """Mean of the latent variables over the persons of a group [D]."""
        z, w = self._design(g)
        return self.latent_moments[g][0] @ (w @ z)

    def _design(self, g: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows (1, covariates) of a group's persons, and their shares; one row where there are no covariates."""
        if not self.has_covariates:
            return np.ones((1, 1)), np.ones(1)
        rows = self.rows(g)
        z = self.fitted.data.covariates[rows]  # type: ignore[index]
        w = np.ones(len(rows)) if self.fitted.data.weight is None else self.fitted.data.weight[rows]
        return np.column_stack([np.ones(len(rows)), z]), w / w.sum()

    @cached_property
    def nodes(self) -> list[Nodes]:
        """Nodes of every group: those of a histogram, Gauss-Hermite for up to three factors, else Sobol points; with
        covariates weighted by the mean of the persons' densities.
        """
        d = len(self.fitted.table.factors)
        if isinstance(self.fitted.rule, EmpiricalHistogram):
            nodes, weights = self.fitted.rule.arrays()
            return [Nodes(nodes[:, None], weights)]
        if d in GRID_NODES:
            z, log_w = grid(GRID_NODES[d], d)
        else:
            z, log_w = normal_sobol(SOBOL_POINTS, d, SOBOL_SEED), equal_weights(SOBOL_POINTS)
        out = []
        for g, (_, _, total) in enumerate(self.latent_moments):
            root = _root(total)
            x = self.latent_mean(g) + z @ root.T
            w = np.exp(log_w)
            if self.has_covariates and not self.is_normal:
                raise ValueError("Fit statistics of models with covariates need normal factors, not learned ones.")
            if self.has_covariates:
                w = w * self._mixture(g, x, z, root)
            elif not self.is_normal:
                log_q = -(z**2).sum(1) / 2 - z.shape[1] * math.log(2 * math.pi) / 2 - np.linalg.slogdet(root)[1]
                w = w * np.exp(log_density(self.fitted, x, g) - log_q)
            out.append(Nodes(x, w / w.sum()))
        return out

    def _mixture(self, g: int, x: np.ndarray, z: np.ndarray, root: np.ndarray) -> np.ndarray:
        """Mean density of the group's persons at x over that of one normal distribution [R]."""
        m, cov, _ = self.latent_moments[g]
        design, share = self._design(g)
        step = max(1, int(len(design) * len(x) // MOST))
        design, share = design[::step], share[::step]
        white = np.linalg.inv(_root(cov))
        log_q = -(z**2).sum(1) / 2 - np.linalg.slogdet(root)[1]
        constant = -np.linalg.slogdet(_root(cov))[1]
        total = np.zeros(len(x))
        for start in range(0, len(design), 256):
            mean = design[start : start + 256] @ m.T
            gap = (x[None] - mean[:, None]) @ white.T
            total += share[start : start + 256] @ np.exp(constant - (gap**2).sum(-1) / 2 - log_q)
        return total

    # ---- tables -------------------------------------------------------------------------------------------------

    @cached_property
    def _slots(self) -> Slots:
        return slots_of(self.fitted.layout)

    def _families(self, x: np.ndarray, g: int, slopes: bool) -> list[FamilyTables]:
        f = self.fitted
        with jax.enable_x64(True):
            found = _family_tables(
                f.measurement, f.form.categories, slopes, self._slots, f.layout, jnp.asarray(f.free), jnp.asarray(g),
                jnp.asarray(x),
            )  # fmt: skip
            return [FamilyTables(np.asarray(p), np.asarray(by_slot)) for p, by_slot in found]

    def _positions(self) -> list[np.ndarray]:
        """Positions of the items of each categorical family."""
        f = self.fitted
        return [at for at, k in zip(family_positions(f.measurement), f.form.categories, strict=True) if k]

    def tables_at(self, x: np.ndarray, g: int = 0) -> np.ndarray:
        """P_jk(x) [R, J, K] of group g at x [R, D]; 0 beyond an item's categories and for items without them."""
        f = self.fitted
        out = np.zeros((len(x), len(self.n_categories), max(int(self.n_categories.max()), 1)))
        if f.measurement.blocks:
            found = curves_at(f.measurement, f.coding, f.params, x, g, f.networks).probabilities
            out[..., : found.shape[-1]] = np.nan_to_num(found)
            return out
        size = min(ROWS, 1 << max(len(x) - 1, 0).bit_length())
        for start in range(0, len(x), size):
            part = x[start : start + size]
            padded = np.concatenate([part, np.zeros((size - len(part), x.shape[1]))])
            for at, each in zip(self._positions(), self._families(padded, g, False), strict=True):
                out[start : start + size, at, : each.probability.shape[-1]] = each.probability[: len(part)]
        return out

    @cached_property
    def models(self) -> list[CategoryTables]:
        """Tables of every group at its nodes."""
        return [CategoryTables(n.weights, self.tables_at(n.x, g), self.n_categories) for g, n in enumerate(self.nodes)]

    @cached_property
    def _slopes(self) -> tuple[list[np.ndarray], np.ndarray]:
        f = self.fitted
        with jax.enable_x64(True):
            slots, prior = _derivatives(f.measurement, self._slots, f.layout, jnp.asarray(f.free))
            return [np.asarray(a) for a in slots], np.asarray(prior)

    def slot_jacobian(self, g: int) -> SlotJacobian:
        """Derivatives of a group's tables at its nodes by the whole free vector, through item slots."""
        chains = [a[g] for a, k in zip(self._slopes[0], self.fitted.form.categories, strict=True) if k]
        found = self._families(self.nodes[g].x, g, True)
        width = max(a.shape[1] for a in chains)
        items, q = len(self.n_categories), chains[0].shape[-1]
        by_slot = np.zeros((len(self.nodes[g].x), items, int(self.n_categories.max()), width))
        chain = np.zeros((items, width, q))
        for at, each, link in zip(self._positions(), found, chains, strict=True):
            chain[at, : link.shape[1]] = link
            by_slot[:, at, : each.by_slot.shape[2], : each.by_slot.shape[3]] = each.by_slot
        return SlotJacobian(by_slot, chain)

    def weight_jacobian(self, g: int) -> np.ndarray:
        """d w_r / d free = w_r d log p(x_r) / d free [R, q], nodes kept where they are; without covariates."""
        x, w = self.nodes[g]
        with jax.enable_x64(True):
            seen = np.asarray(features(x[:, :, None] * x[:, None, :], jnp.asarray(x), jnp.ones((len(x), 1))))
        return (seen @ self._slopes[1][g]) * w[:, None]

    def group_fits(self) -> list[GroupFit]:
        """What limited-information tests read, derivatives in the directions linear restrictions leave free."""
        basis, free_latent = self.fitted.basis, self.latent_parameters
        out = []
        for g in range(self.fitted.table.n_groups):
            slopes = self.slot_jacobian(g)
            weights = self.weight_jacobian(g) @ basis if free_latent[g].any() else None
            jacobian = SlotJacobian(slopes.by_slot, slopes.chain @ basis)
            out.append(GroupFit(self.y(g), self.models[g], jacobian, weights, self.person_weights(g)))
        return out

    def group_part(self, g: int) -> GroupFit:
        """Answers and tables of the items with categories, without derivatives."""
        keep, model = self.categorical, self.models[g]
        tables = CategoryTables(model.weights, model.tables[:, keep], model.n_categories[keep])
        nothing = np.zeros((*tables.tables.shape, 0))
        return GroupFit(self.y(g)[:, keep], tables, nothing, None, self.person_weights(g))

    @property
    def too_many_moments(self) -> bool:
        """Whether the covariance matrix of all univariate and bivariate moments would not fit into memory."""
        j = len(self.n_categories)
        return int(np.maximum(self.n_categories - 1, 0).sum()) + j * (j - 1) // 2 > MOST_MOMENTS

    @cached_property
    def enough_complete(self) -> bool:
        """Whether in every group some persons have no missing answer."""
        return all((~np.isnan(self.y(g)).any(1)).sum() > 1 for g in range(self.fitted.table.n_groups))

    @cached_property
    def latent_parameters(self) -> np.ndarray:
        """Which free parameters the latent distribution depends on [group, q]."""
        return (self._slopes[1] != 0).any(1)

    def item_parameter_counts(self, g: int) -> np.ndarray:
        """How many free parameters every item and the latent distribution depend on [J]."""
        out = np.zeros(len(self.n_categories), int)
        for at, chain in zip(family_positions(self.fitted.measurement), self._slopes[0], strict=True):
            out[at] = ((chain[g] != 0).any(1) | self.latent_parameters[g]).sum(1)
        return out

    # ---- persons ------------------------------------------------------------------------------------------------

    def rows(self, g: int) -> np.ndarray:
        """Positions of a group's persons."""
        return np.flatnonzero(self.fitted.data.group == g)

    def y(self, g: int) -> np.ndarray:
        """Categories of a group's persons [N, J], nan where missing."""
        return as_floats(self.fitted.data.codes[self.rows(g)])

    def person_weights(self, g: int) -> np.ndarray | None:
        """Weights of a group's persons."""
        given = self.fitted.data.weight
        return None if given is None else given[self.rows(g)]

    @cached_property
    def posterior(self) -> tuple[np.ndarray, np.ndarray]:
        """Posterior means [person, D] and covariances [person, D, D] of the fitted persons."""
        _, mean, cov = posterior_moments(self.fitted, self.fitted.data)
        return mean, cov

    def person_tables(self, g: int) -> np.ndarray:
        """P_jk at each person's EAP score [N, J, K]."""
        return self.tables_at(self.posterior[0][self.rows(g)], g)

    def sum_scores(self, codes: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """EAP scores for sum scores and their standard errors [person, 1]; nan where an answer is missing.

        Raises
        ------
        ValueError
            There are several factors, or items without categories.
        """
        if len(self.fitted.table.factors) > 1:
            raise ValueError("Scores for sum scores need one factor: use 'eap', 'map', 'ml' or 'wle'.")
        if not self.categorical.all():
            raise ValueError("Scores for sum scores need items with categories: use 'eap', 'map', 'ml' or 'wle'.")
        y = as_floats(codes)
        values, errors = np.full((len(y), 1), np.nan), np.full((len(y), 1), np.nan)
        for g in range(self.fitted.table.n_groups):
            mine = group == g
            table = sum_score_table(self.models[g], self.nodes[g].x, np.zeros((1, y.shape[1])))
            values[mine], errors[mine] = eap_sum_scores(table, y[mine])
        return values, errors


def as_floats(codes: np.ndarray) -> np.ndarray:
    """Codes [person, item] as floats, nan where missing."""
    out = codes.astype(float)
    if np.issubdtype(codes.dtype, np.integer):
        out[codes < 0] = np.nan
    return out


def _root(cov: np.ndarray) -> np.ndarray:
    """A square root R of a covariance matrix, R R' = cov."""
    size, vectors = np.linalg.eigh(cov)
    return vectors * np.sqrt(np.maximum(size, 1e-12))


def by_groups(parts: Sequence[Any], labels: Sequence[str]) -> Any:
    """Frames of all groups under a first index level "group", or the only one as it is."""
    import pandas as pd

    return parts[0] if len(parts) == 1 else pd.concat(parts, keys=list(labels), names=["group"])
