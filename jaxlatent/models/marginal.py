"""The marginal likelihood of persons by points: value, scores, and the observed information by Louis' formula.

log p(y_i) ~ log sum_r w_ir p(y_i | x_ir) p(x_ir) / q(x_ir)

With posterior weights W_ir of the points, s_ir the score of the complete data and B_ir its negative Hessian:
score S_i = sum_r W_ir s_ir (Fisher's identity), information sum_i [sum_r W_ir (B_ir - s_ir s_ir') + S_i S_i']
(Louis 1982, eq. 3.2). Points are either the same for all persons of a group (then categorical items are tables, and
persons enter by matrix products), or each person's own, around the mode of the posterior.

Persons come in chunks of one group; nothing of size persons x points is ever held.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxlatent.data.chunks import Chunks, dense_chunk
from jaxlatent.measurement.measurement import Measurement
from jaxlatent.models.slots import (
    FamilySlots,
    Slots,
    eta_of,
    family_positions,
    family_slots,
    gathered,
    log_prob_of,
    point_scores,
    slot_jacobians,
    slots_at,
    table_and_scores,
    units,
)
from jaxlatent.models.slots import flat as flat_slots
from jaxlatent.numerics.linalg import structural_inverse
from jaxlatent.numerics.normal_density import inverse_and_log_det, psd_root
from jaxlatent.numerics.small_cholesky import backward, cells_of, cholesky_cells, forward, log_diagonal
from jaxlatent.numerics.types import Array
from jaxlatent.spec.layout import Layout

LOG_2_PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Form:
    """What is static: families, whether points are each person's own, categories by family (0: not categorical), and
    whether posterior weights are jackknifed.
    """

    measurement: Measurement
    personal: bool
    categories: tuple[int, ...]
    jackknife: bool = False


class Points(NamedTuple):
    """Standardised points z [..., point, factor] and their log-weights [point]; personal: z [chunk or 1, person or 1,
    point, factor].
    """

    z: Array
    log_weight: Array


class Problem(NamedTuple):
    """Data, pattern of the parameters, points, and mean [group, k] and covariance [group, k, k] of the design."""

    chunks: Chunks
    layout: Layout
    slots: Slots
    points: Points
    design_mean: Array
    design_cov: Array


class Evaluation(NamedTuple):
    """Log-likelihood (), score [free], sum of S S' [free, free], modes [chunk, person, factor]."""

    log_likelihood: jax.Array
    score: jax.Array
    cross: jax.Array
    modes: jax.Array


# ---- the latent part ----------------------------------------------------------------------------------------------


class Prior(NamedTuple):
    """x ~ N(M z, P^-1), z the design: P [.., D, D], P M [.., D, k], M'P M [.., k, k], log|P| [..]."""

    precision: jax.Array
    linear: jax.Array
    square: jax.Array
    log_det: jax.Array


def moments(params: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """M [group, D, k] and the covariance of x given the design [group, D, D]."""
    a = jax.vmap(structural_inverse)(params["regressions"])
    columns = [params["factor_means"][..., None]]
    if "covariate_effects" in params:
        columns.append(params["covariate_effects"])
    return a @ jnp.concatenate(columns, -1), a @ params["factor_cov"] @ a.mT


def prior_of(params: Mapping[str, jax.Array]) -> Prior:
    """The latent distribution of every group in its natural parameters."""
    m, cov = moments(params)
    precision, log_det = jax.vmap(inverse_and_log_det)(cov)
    linear = precision @ m
    return Prior(precision, linear, m.mT @ linear, -log_det)


def prior_vector(params: Mapping[str, jax.Array]) -> jax.Array:
    """What multiplies the features of x in log p(x) [group, feature]."""
    p = prior_of(params)
    n = p.log_det.shape[0]
    parts = [p.precision.reshape(n, -1), p.linear.reshape(n, -1), p.square.reshape(n, -1), p.log_det[:, None]]
    return jnp.concatenate(parts, -1)


def features(xx: jax.Array, x: jax.Array, design: jax.Array) -> jax.Array:
    """[-x x'/2, x z', -z z'/2, 1/2] [..., feature] of second moments [..., D, D], x [..., D] and design [..., k]."""
    shape = x.shape[:-1]
    square = jnp.broadcast_to(design[..., :, None] * design[..., None, :], (*shape, *design.shape[-1:] * 2))
    parts = [
        (-xx / 2).reshape(*shape, -1),
        (x[..., :, None] * design[..., None, :]).reshape(*shape, -1),
        (-square / 2).reshape(*shape, -1),
        jnp.full((*shape, 1), 0.5, x.dtype),
    ]
    return jnp.concatenate(parts, -1)


def log_prior(prior: Prior, x: jax.Array, design: jax.Array) -> jax.Array:
    """log p(x) [person, point] of x [person or 1, point, D] given design [person, k]; prior of the persons' group."""
    d = x.shape[-1]
    flat = x.reshape(-1, d)
    quadratic = ((flat @ prior.precision) * flat).sum(-1).reshape(x.shape[:-1])
    shift = design @ prior.linear.T
    constant = prior.log_det - d * LOG_2_PI - ((design @ prior.square) * design).sum(-1)
    cross = shift @ x[0].T if x.shape[0] == 1 else (x * shift[:, None, :]).sum(-1)
    return cross - quadratic / 2 + constant[:, None] / 2


# ---- points -------------------------------------------------------------------------------------------------------


class Located(NamedTuple):
    """Points x [person or 1, point, D] of a chunk with log w - log q [person or 1, point]."""

    x: jax.Array
    log_weight: jax.Array


def shared_points(problem: Problem, params: Mapping[str, jax.Array]) -> Located:
    """Points of every group [group, point, D]: standardised ones moved to the group's marginal mean and covariance."""
    m, cov = moments(params)
    z, log_w = jnp.asarray(problem.points.z), jnp.asarray(problem.points.log_weight)
    center = (m @ problem.design_mean[..., None])[..., 0]
    root = psd_root(cov + m @ problem.design_cov @ m.mT)
    x = center[:, None, :] + z @ root.mT
    log_det = jnp.log(jnp.diagonal(root, axis1=-2, axis2=-1)).sum(-1)
    log_q = -(z**2).sum(-1) / 2 - z.shape[-1] * LOG_2_PI / 2 - log_det[:, None]
    return Located(x, log_w - log_q)


class Group(NamedTuple):
    """What a chunk needs of its group's parameters."""

    loadings: jax.Array
    slots: list[FamilySlots]
    prior: Prior


def posterior_mode(
    form: Form, group: Group, y: jax.Array, seen: jax.Array, design: jax.Array, start: jax.Array, steps: Any
) -> tuple[jax.Array, Any]:
    """Modes [person, D] of p(x | y) and the Cholesky cells of the curvature there, by damped Newton steps.

    The curvature of an item counts where it is positive, so that the matrix is positive definite for every family.
    """
    positions = family_positions(form.measurement)
    d = start.shape[-1]
    shift = design @ group.prior.linear.T

    def derivatives(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        gradient, curvature = shift - x @ group.prior.precision, group.prior.precision
        for (family, _), at, each in zip(form.measurement.groups, positions, group.slots, strict=True):
            rows = group.loadings[at]
            own = jax.tree.map(lambda a: a[None], each).read(family)
            eta = x @ rows.T

            def slope(e: jax.Array, own: Any = own, family: Any = family, at: Any = at) -> jax.Array:
                return jax.grad(lambda v: family.log_prob(v, own, y[:, at]).sum())(e)

            first, second = jax.jvp(slope, (eta,), (jnp.ones_like(eta),))
            gradient = gradient + jnp.where(seen[:, at], first, 0) @ rows
            outer = (rows[:, :, None] * rows[:, None, :]).reshape(-1, d * d)
            bend = jnp.where(seen[:, at], jnp.maximum(-second, 0), 0)
            curvature = curvature + (bend @ outer).reshape(-1, d, d)
        return gradient, jnp.broadcast_to(curvature, (*x.shape, d))

    def newton(_: Any, x: jax.Array) -> jax.Array:
        gradient, curvature = derivatives(x)
        lower = cholesky_cells(cells_of(curvature))
        step = jnp.stack(backward(lower, forward(lower, [gradient[..., i] for i in range(d)])), -1)
        size = jnp.sqrt((step**2).sum(-1, keepdims=True))
        return x + step * jnp.minimum(1.0, 2.0 / jnp.maximum(size, 1e-30))

    x = lax.fori_loop(0, steps, newton, start)
    return x, cholesky_cells(cells_of(derivatives(x)[1]))


def personal_points(
    form: Form, group: Group, y: jax.Array, seen: jax.Array, design: jax.Array, mode: jax.Array, steps: Any,
    z: jax.Array, log_w: jax.Array,
) -> tuple[Located, jax.Array]:  # fmt: skip
    """x = mode + L'^-1 z with L L' the curvature at the mode: points of one chunk, and the modes."""
    mode, lower = posterior_mode(form, group, y, seen, design, mode, steps)
    d = mode.shape[-1]
    wide = [[cell[:, None] for cell in row] for row in lower]
    away = backward(wide, [z[..., i] for i in range(d)])
    x = jnp.stack([mode[:, None, i] + away[i] for i in range(d)], -1)
    log_q = -(z**2).sum(-1) / 2 - d * LOG_2_PI / 2 + log_diagonal(lower)[:, None]
    return Located(x, log_w - log_q), mode


def jackknifed(w: jax.Array) -> jax.Array:
    """w_r [R - (R - 1)/R (sum_s 1/(1 - w_s) - 1/(1 - w_r))]: self-normalised weights less their bias of order 1/R."""
    n = w.shape[-1]
    inverse = 1 / (1 - jnp.minimum(w, 0.9))
    return w * (n - (n - 1) / n * (inverse.sum(-1, keepdims=True) - inverse))


# ---- one chunk ----------------------------------------------------------------------------------------------------


class Chunk(NamedTuple):
    """The persons of one chunk."""

    y: jax.Array
    seen: jax.Array
    weight: jax.Array
    design: jax.Array


class Posterior(NamedTuple):
    """log p(y) [person], weights of points [person, point], scores by family [person, item, slot], features of x."""

    log_marginal: jax.Array
    weight: jax.Array
    scores: list[jax.Array]
    features: jax.Array


def _direct(
    form: Form, slots: Slots, group: Group, chunk: Chunk, x: jax.Array, which: list[int]
) -> tuple[jax.Array, Any]:
    """log p(y | x) [person, point] of some families at x [person or 1, point, D], and the scores for given weights."""
    positions = family_positions(form.measurement)
    persons = chunk.y.shape[0]
    etas = [eta_of(x, group.loadings, positions[f]) for f in which]
    slots_of_persons = [
        jax.tree.map(lambda a: jnp.broadcast_to(a[None, None], (persons, 1, *a.shape)), group.slots[f]) for f in which
    ]

    def log_prob(etas: list[jax.Array], of_persons: list[FamilySlots]) -> jax.Array:
        total = jnp.zeros((), x.dtype)
        for f, eta, each in zip(which, etas, of_persons, strict=True):
            own = log_prob_of(form.measurement.groups[f][0], eta, each, chunk.y[:, None, positions[f]])
            total = total + jnp.where(chunk.seen[:, None, positions[f]], own, 0).sum(-1)
        return total

    etas = [jnp.broadcast_to(eta, (persons, *eta.shape[1:])) for eta in etas]
    value, pull = jax.vjp(log_prob, etas, slots_of_persons)

    def scores(w: jax.Array) -> list[jax.Array]:
        out = []
        for f, slope, own in zip(which, *pull(w), strict=True):
            if x.shape[0] == 1:
                every = (jnp.swapaxes(slope, 1, 2).reshape(-1, slope.shape[1]) @ x[0]).reshape(
                    *slope.shape[::2], x.shape[-1]
                )
            else:
                every = jnp.einsum("crj,crd->cjd", slope, x)
            picked = jnp.take_along_axis(every, jnp.asarray(slots.factor)[None, positions[f]], axis=2)
            picked = (picked + own.loadings[:, 0]) * jnp.asarray(slots.used, picked.dtype)[positions[f]]
            out.append(jnp.concatenate([picked, *(own.own[name][:, 0] for name in sorted(own.own))], -1))
        return out

    return value, scores


class Table(NamedTuple):
    """A categorical family at a group's points: log P [point, item x category], derivatives by slots [point, ...]."""

    log_prob: jax.Array
    scores: jax.Array


def _tables(form: Form, slots: Slots, group: Group, x: jax.Array) -> list[Table | None]:
    """Tables of the categorical families of one group at x [point, D]."""
    out: list[Table | None] = []
    for (family, _), at, each, k in zip(
        form.measurement.groups, family_positions(form.measurement), group.slots, form.categories, strict=True
    ):
        if not k:
            out.append(None)
            continue
        xs = gathered(x, jnp.asarray(slots.factor)[at]) * jnp.asarray(slots.used, x.dtype)[at]
        value, scores = table_and_scores(family, xs, each, k)
        scores = jnp.where(value[..., None] < -1e20, 0, scores)  # categories an item does not have
        out.append(Table(value.reshape(len(x), -1), scores.reshape(len(x), -1)))
    return out


def _one_hot(chunk: Chunk, at: Any, k: int) -> jax.Array:
    """[person, item, category], all zeros where missing."""
    same = chunk.y[:, at, None] == jnp.arange(k, dtype=chunk.y.dtype)
    return (same & chunk.seen[:, at, None]).astype(chunk.design.dtype)


def posterior(
    form: Form, slots: Slots, group: Group, tables: list[Table | None], chunk: Chunk, at: Located
) -> Posterior:
    """The posterior of the points of one chunk, with Fisher's identity applied by item slots."""
    positions = family_positions(form.measurement)
    persons, points = chunk.y.shape[0], at.x.shape[1]
    direct = [f for f, table in enumerate(tables) if table is None]
    total = log_prior(group.prior, at.x, chunk.design) + at.log_weight
    hot = {f: _one_hot(chunk, positions[f], form.categories[f]) for f, t in enumerate(tables) if t is not None}
    for f, each in hot.items():
        total = total + each.reshape(persons, -1) @ tables[f].log_prob.T  # type: ignore[union-attr]
    pull = None
    if direct:
        value, pull = _direct(form, slots, group, chunk, at.x, direct)
        total = total + value
    log_marginal = jax.nn.logsumexp(total, axis=-1)
    w = jnp.exp(total - log_marginal[:, None])
    if form.jackknife:
        w = jackknifed(w)
    found = dict(zip(direct, pull(w), strict=True)) if pull else {}
    for f, each in hot.items():
        mean = (w @ tables[f].scores).reshape(*each.shape, -1)  # type: ignore[union-attr]
        found[f] = (mean * each[..., None]).sum(2)
    if at.x.shape[0] == 1:
        mean_x = w @ at.x[0]
        square = (at.x[0][:, :, None] * at.x[0][:, None, :]).reshape(points, -1)
        xx = (w @ square).reshape(persons, *at.x.shape[2:] * 2)
    else:
        weighted = w[..., None] * at.x
        mean_x = weighted.sum(1)
        xx = jnp.einsum("crd,cre->cde", weighted, at.x)
    return Posterior(log_marginal, w, [found[f] for f in range(len(tables))], features(xx, mean_x, chunk.design))


# ---- all persons --------------------------------------------------------------------------------------------------


class Setting(NamedTuple):
    """Parameters in the precision of the computation, by group, and their derivatives by free ones."""

    loadings: jax.Array
    slots: list[FamilySlots]
    prior: Prior
    shared: Located | None
    tables: list[Table | None] | None
    slot_jacobians: list[jax.Array]  # [group, item x slot, free]
    prior_jacobian: jax.Array  # [group, feature, free]


def setting(form: Form, problem: Problem, free: jax.Array, dtype: Any) -> Setting:
    """Everything a chunk needs, computed once."""
    params = problem.layout.unpack(free)
    cast = lambda tree: jax.tree.map(lambda a: a.astype(dtype), tree)  # noqa: E731
    by_group = [j.reshape(*j.shape[:1], -1, j.shape[-1]) for j in
                slot_jacobians(form.measurement, problem.slots, problem.layout, free)]  # fmt: skip
    prior_jacobian = jax.jacfwd(lambda f: prior_vector(problem.layout.unpack(f)))(free)
    loadings, slots, prior = cast(
        (params["loadings"], family_slots(form.measurement, problem.slots, params), prior_of(params))
    )
    shared = tables = None
    if not form.personal:
        shared = cast(shared_points(problem, params))
        n_groups = loadings.shape[0]
        every = [_tables(form, problem.slots, _group(loadings, slots, prior, g), shared.x[g]) for g in range(n_groups)]
        tables = [
            None
            if every[0][f] is None
            else jax.tree.map(lambda *a: jnp.stack(a), *(every[g][f] for g in range(n_groups)))
            for f in range(len(slots))
        ]
    return Setting(loadings, slots, prior, shared, tables, cast(by_group), cast(prior_jacobian))


def _group(loadings: jax.Array, slots: list[FamilySlots], prior: Prior, g: Any) -> Group:
    return Group(loadings[g], [slots_at(each, g) for each in slots], Prior(*(a[g] for a in prior)))


class Inputs(NamedTuple):
    """One chunk of the loop over persons: its data, group, modes and own points."""

    chunk: Chunk
    group: jax.Array
    modes: jax.Array
    z: jax.Array | None


def inputs_of(form: Form, problem: Problem, modes: jax.Array) -> Inputs:
    c = problem.chunks
    chunk = Chunk(*jax.tree.map(jnp.asarray, (c.y, c.seen, c.weight, c.design)))
    own = form.personal and problem.points.z.shape[0] > 1
    return Inputs(chunk, jnp.asarray(c.group), modes, jnp.asarray(problem.points.z) if own else None)


def located(
    form: Form, problem: Problem, here: Setting, each: Inputs, steps: Any
) -> tuple[Group, Chunk, list[Table | None], Located, jax.Array]:
    """One chunk with its group's parameters and its points."""
    dtype = here.loadings.dtype
    group = _group(here.loadings, here.slots, here.prior, each.group)
    y, seen = dense_chunk(each.chunk.y, each.chunk.seen, len(each.chunk.weight), here.loadings.shape[1], dtype)
    chunk = Chunk(y, seen, each.chunk.weight, each.chunk.design.astype(dtype))
    if not form.personal:
        tables = [None if t is None else Table(*(a[each.group] for a in t)) for t in here.tables]  # type: ignore[union-attr]
        at = Located(here.shared.x[each.group][None], here.shared.log_weight[each.group][None])  # type: ignore[union-attr]
        return group, chunk, tables, at, each.modes
    z = jnp.asarray(problem.points.z)[0] if each.z is None else each.z
    log_w = jnp.asarray(problem.points.log_weight, dtype)
    at, modes = personal_points(
        form, group, chunk.y, chunk.seen, chunk.design, each.modes, steps, z.astype(dtype), log_w
    )
    return group, chunk, [None] * len(here.slots), at, modes


def evaluate(form: Form, problem: Problem, free: jax.Array, modes: jax.Array, steps: Any = 2) -> Evaluation:
    """Log-likelihood, score and the sum over persons of S_i S_i' at a free vector.

    modes [chunk, person, D] are where each person's points were centred; steps: Newton steps towards the new modes.
    """
    here = setting(form, problem, free, modes.dtype)
    q = free.shape[0]

    def add(carry: tuple, each: Inputs) -> tuple[tuple, jax.Array]:
        group, chunk, tables, at, mode = located(form, problem, here, each, steps)
        found = posterior(form, problem.slots, group, tables, chunk, at)
        score = found.features @ here.prior_jacobian[each.group]
        for part, jacobian in zip(found.scores, here.slot_jacobians, strict=True):
            score = score + part.reshape(part.shape[0], -1) @ jacobian[each.group]
        weight = chunk.weight.astype(score.dtype)
        value = jnp.where(chunk.weight > 0, chunk.weight * found.log_marginal, 0).sum()
        score = jnp.where(weight[:, None] > 0, score, 0)
        weighted = score * weight[:, None]
        sums = (value, weighted.sum(0).astype(free.dtype), (weighted.T @ score).astype(free.dtype))
        return jax.tree.map(jnp.add, carry, sums), mode

    zero = (jnp.zeros((), free.dtype), jnp.zeros(q, free.dtype), jnp.zeros((q, q), free.dtype))
    (value, gradient, cross), modes = lax.scan(add, zero, inputs_of(form, problem, modes))
    return Evaluation(value, gradient, cross, modes)


def person_scores(
    form: Form, problem: Problem, free: jax.Array, modes: jax.Array, steps: Any = 2
) -> tuple[jax.Array, jax.Array]:
    """log p(y_i) [chunk, person] and S_i [chunk, person, free]."""
    here = setting(form, problem, free, modes.dtype)

    def one(each: Inputs) -> tuple[jax.Array, jax.Array]:
        group, chunk, tables, at, _ = located(form, problem, here, each, steps)
        found = posterior(form, problem.slots, group, tables, chunk, at)
        score = found.features @ here.prior_jacobian[each.group]
        for part, jacobian in zip(found.scores, here.slot_jacobians, strict=True):
            score = score + part.reshape(part.shape[0], -1) @ jacobian[each.group]
        return found.log_marginal, score

    return lax.map(one, inputs_of(form, problem, modes))


class PersonMoments(NamedTuple):
    """log p(y_i) [chunk, person], posterior mean [chunk, person, D], covariance [chunk, person, D, D], and modes."""

    log_marginal: jax.Array
    mean: jax.Array
    cov: jax.Array
    modes: jax.Array


def person_moments(form: Form, problem: Problem, free: jax.Array, modes: jax.Array, steps: Any = 10) -> PersonMoments:
    """The posterior distribution of x for every person: expected a posteriori scores."""
    here = setting(form, problem, free, modes.dtype)

    def one(each: Inputs) -> PersonMoments:
        group, chunk, tables, at, mode = located(form, problem, here, each, steps)
        found = posterior(form, problem.slots, group, tables, chunk, at)
        x = jnp.broadcast_to(at.x, (chunk.y.shape[0], *at.x.shape[1:]))
        mean = (found.weight[..., None] * x).sum(1)
        away = x - mean[:, None, :]
        cov = jnp.einsum("crd,cre->cde", found.weight[..., None] * away, away)
        return PersonMoments(found.log_marginal, mean, cov, mode)

    return lax.map(one, inputs_of(form, problem, modes))


def information(
    form: Form, problem: Problem, free: jax.Array, modes: jax.Array, steps: Any = 2
) -> tuple[jax.Array, jax.Array]:
    """Observed information by Louis' formula, and that of the complete data [free, free]."""
    here = setting(form, problem, free, modes.dtype)
    q = free.shape[0]
    families = [family for family, _ in form.measurement.groups]
    positions = family_positions(form.measurement)

    def add(carry: tuple, each: Inputs) -> tuple[tuple, None]:
        group, chunk, tables, at, _ = located(form, problem, here, each, steps)
        found = posterior(form, problem.slots, group, tables, chunk, at)
        g, persons, points = each.group, chunk.y.shape[0], at.x.shape[1]
        x = jnp.broadcast_to(at.x, (persons, *at.x.shape[1:]))
        xx = x[..., :, None] * x[..., None, :]
        every = features(xx, x, chunk.design[:, None, :]) @ here.prior_jacobian[g]
        mean = found.features @ here.prior_jacobian[g]
        weight = jnp.where(chunk.weight > 0, chunk.weight, 0).astype(mean.dtype)
        total_weight = weight[:, None] * found.weight
        blocks = []
        for f, family in enumerate(families):
            factor, used = (jnp.asarray(a)[positions[f]] for a in problem.slots)
            xs = gathered(at.x, factor) * used.astype(x.dtype)
            y, seen = chunk.y[:, None, positions[f]], chunk.seen[:, None, positions[f]]
            scores = jnp.where(seen[..., None], point_scores(family, xs, group.slots[f], y), 0)
            every = every + scores.reshape(persons, points, -1) @ here.slot_jacobians[f][g]
            part = found.scores[f]
            mean = mean + part.reshape(persons, -1) @ here.slot_jacobians[f][g]
            blocks.append(_slot_hessian(family, xs, group.slots[f], y, seen, total_weight).astype(free.dtype))
        flat, plain = every.reshape(-1, q), total_weight.reshape(-1, 1)
        missing = (flat * plain).T @ flat - (mean * weight[:, None]).T @ mean
        by_group = jax.nn.one_hot(g, here.loadings.shape[0], dtype=free.dtype)
        sums = (
            missing.astype(free.dtype),
            [by_group[:, None, None, None] * b for b in blocks],
            by_group[:, None] * (weight @ found.features).astype(free.dtype),
        )
        return jax.tree.map(jnp.add, carry, sums), None

    n_groups = here.loadings.shape[0]
    sizes = [(len(at), j.shape[1] // len(at)) for at, j in zip(positions, here.slot_jacobians, strict=True)]
    zero = (
        jnp.zeros((q, q), free.dtype),
        [jnp.zeros((n_groups, j, p, p), free.dtype) for j, p in sizes],
        jnp.zeros((n_groups, here.prior_jacobian.shape[1]), free.dtype),
    )
    (missing, blocks, feature_sums), _ = lax.scan(add, zero, inputs_of(form, problem, modes))

    def latent_part(f: jax.Array) -> jax.Array:
        return (feature_sums * prior_vector(problem.layout.unpack(f))).sum()

    complete = -jax.hessian(latent_part)(free)
    for block, jacobian, (j, p) in zip(blocks, here.slot_jacobians, sizes, strict=True):
        e = jacobian.reshape(n_groups, j, p, q).astype(free.dtype)
        complete = complete - jnp.einsum("gjpa,gjpb->ab", e, jnp.einsum("gjpr,gjrb->gjpb", block, e))
    return complete - missing, complete


def _slot_hessian(
    family: Any, xs: jax.Array, here: FamilySlots, y: jax.Array, seen: jax.Array, weight: jax.Array
) -> jax.Array:
    """Second derivatives of sum W log p(y | x) by an item's slots [item, slot, slot], a slot of all items at a time."""

    def total(values: FamilySlots) -> jax.Array:
        wide = jax.tree.map(lambda a: a[None, None], values)
        each = jnp.where(seen, log_prob_of(family, (xs * values.loadings).sum(-1), wide, y), 0)
        return (each * weight[..., None]).sum()

    directions = jax.tree.map(lambda *a: jnp.stack(a), *units(here))

    def column(direction: FamilySlots) -> jax.Array:
        return flat_slots(jax.jvp(jax.grad(total), (here,), (direction,))[1])

    return jnp.moveaxis(lax.map(column, directions), 0, -1)
