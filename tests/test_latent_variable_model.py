"""The model, its parts and the closed form: against NumPyro, against loops over rows, against quadrature."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from jaxlatent.data.arrays import Arrays
from jaxlatent.integration.closed_form import ClosedForm
from jaxlatent.integration.gauss_hermite import GaussHermite, grid
from jaxlatent.measurement.measurement import Measurement, linear_predictor
from jaxlatent.measurement.normal import Normal, factorises
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.models.simulation import simulate
from jaxlatent.numerics.normal_density import dense_log_prob, factor_log_prob, inverse_and_log_det, psd_root
from jaxlatent.spec.layout import SYMMETRIC, Layout

P, N = 6, 40


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def matrices(seed=0, *, groups=1, m=2, p=P, covary=False):
    rng = np.random.default_rng(seed)
    theta = np.stack([np.diag(rng.uniform(0.4, 1.2, p)) for _ in range(groups)])
    if covary:
        theta[:, 0, 3] = theta[:, 3, 0] = 0.25
    b = np.tril(rng.uniform(0.2, 0.5, (groups, m, m)), -1)
    return {
        "loadings": rng.uniform(0.3, 1.1, (groups, p, m)),
        "intercepts": rng.standard_normal((groups, p)),
        "residual_cov": theta,
        "factor_cov": np.stack([np.eye(m) * rng.uniform(0.8, 1.2) + 0.2 for _ in range(groups)]),
        "regressions": b,
        "factor_means": rng.standard_normal((groups, m)),
    }


def layout_of(values):
    """Every cell that is not zero is free, symmetric ones by pairs."""
    index, n, start = {}, 0, []
    for name, value in values.items():
        index[name] = np.full(value.shape, -1, np.int32)
        for at in zip(*np.nonzero(value), strict=True):
            if name in SYMMETRIC and at[2] > at[1]:
                continue
            index[name][at] = n
            if name in SYMMETRIC:
                index[name][at[0], at[2], at[1]] = n
            start.append(value[at])
            n += 1
    fixed = {name: np.where(index[name] >= 0, 0.0, value) for name, value in values.items()}
    return Layout(index, fixed, np.array(start))


def problem(seed=0, *, groups=1, missing=False, covary=False, m=2, n=N):
    values = matrices(seed, groups=groups, m=m, covary=covary)
    layout = layout_of(values)
    rng = np.random.default_rng(seed + 100)
    y = rng.standard_normal((n, P)) * 1.5
    if missing:
        y[rng.uniform(size=y.shape) < 0.3] = np.nan
        y[3] = np.nan
    group = rng.integers(0, groups, n)
    return LatentVariableModel.normal(layout), jax.tree.map(jnp.asarray, values), Arrays.of(y, group), y, group


def reference(values, y, group):
    """Row by row: NumPyro's density of the observed block."""
    out = []
    for row, g in zip(y, group, strict=True):
        v = {name: np.asarray(each[g]) for name, each in values.items()}
        total = v["loadings"] @ np.linalg.inv(np.eye(v["regressions"].shape[0]) - v["regressions"])
        mean = v["intercepts"] + total @ v["factor_means"]
        cov = total @ v["factor_cov"] @ total.T + v["residual_cov"]
        o = ~np.isnan(row)
        normal = dist.MultivariateNormal(mean[o], cov[np.ix_(o, o)]) if o.any() else None
        out.append(normal.log_prob(row[o]) if normal else 0.0)
    return np.array(out)


ROWS = [(groups, missing) for groups in (1, 3) for missing in (False, True)]


@pytest.mark.parametrize(("groups", "missing"), ROWS)
@pytest.mark.parametrize(("by_factors", "covary"), [(False, False), (False, True), (True, False)])
def test_closed_form_is_the_density_of_the_observed_block(groups, missing, by_factors, covary):
    model, params, data, y, group = problem(1, groups=groups, missing=missing, covary=covary)
    found = ClosedForm(by_factors).log_marginal(model, params, data)
    np.testing.assert_allclose(found, reference(params, y, group), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize(("groups", "missing"), ROWS)
def test_quadrature_equals_closed_form(m, groups, missing):
    model, params, data, *_ = problem(2, groups=groups, missing=missing, m=m)
    exact = ClosedForm().log_marginal(model, params, data)
    n = 80 if m == 1 else 60
    np.testing.assert_allclose(GaussHermite(n).log_marginal(model, params, data), exact, rtol=1e-5, atol=1e-5)


def test_of_chooses_by_the_layout():
    assert ClosedForm.of(problem()[0].layout) == ClosedForm(by_factors=True)
    assert ClosedForm.of(problem(covary=True)[0].layout) == ClosedForm(by_factors=False)
    values = matrices()
    values["residual_cov"][:, 2, 2] = 0.0
    assert not factorises(layout_of(values))


RULES = [(ClosedForm(False), True), (ClosedForm(True), False), (GaussHermite(7), False)]


@pytest.mark.parametrize(("rule", "covary"), RULES)
def test_jit_is_eager_and_vmap_is_a_loop(rule, covary):
    model, _, data, *_ = problem(3, groups=2, missing=True, covary=covary, n=12)
    frees = jnp.asarray(model.layout.start * (1 + 0.02 * np.arange(3)[:, None]))

    def objective(model, free, data):
        return rule.log_marginal(model, model.layout.unpack(free), data)

    def person(row):
        return objective(model, frees[0], jax.tree.map(lambda a: a[None], row))[0]

    compiled = jax.jit(objective)
    loop = np.stack([compiled(model, free, data) for free in frees])
    np.testing.assert_allclose(objective(model, frees[0], data), loop[0], rtol=1e-11)
    np.testing.assert_allclose(jax.jit(jax.vmap(objective, (None, 0, None)))(model, frees, data), loop, rtol=1e-11)
    np.testing.assert_allclose(jax.jit(jax.vmap(person))(data), loop[0], rtol=1e-11)


@pytest.mark.parametrize(
    ("rule", "covary", "groups", "missing"), [(*RULES[0], 1, False), *[(*r, 2, True) for r in RULES]]
)
def test_gradient_and_hessian_are_finite_differences(rule, covary, groups, missing):
    model, _, data, *_ = problem(4, groups=groups, missing=missing, covary=covary, n=12)
    free, h = jnp.asarray(model.layout.start), 1e-5
    along = jnp.asarray(np.random.default_rng(0).standard_normal(len(free)))

    @jax.jit
    def derivatives(free):
        slope = jax.value_and_grad(lambda f: rule.log_marginal(model, model.layout.unpack(f), data).sum())
        (value, gradient), (_, curve) = jax.jvp(slope, (free,), (along,))
        return value, gradient, curve

    (_, gradient, curve), ahead, behind = (derivatives(free + k * h * along) for k in (0, 1, -1))
    np.testing.assert_allclose(gradient @ along, (ahead[0] - behind[0]) / (2 * h), rtol=1e-6)
    np.testing.assert_allclose(curve, (ahead[1] - behind[1]) / (2 * h), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("n", "missing"), [(1, True), (300, False), (600, True)])
def test_woodbury_is_dense(n, missing):
    rng = np.random.default_rng(5)
    p, m = 9, 3
    loadings, diag = rng.standard_normal((p, m)), rng.uniform(0.2, 1, p)
    phi = np.cov(rng.standard_normal((m, 20)))
    y, observed = rng.standard_normal((n, p)), (rng.uniform(size=(n, p)) > 0.3) | (not missing)
    weight = rng.uniform(size=n)

    def factors(mean, loadings, diag, phi):
        rows = factor_log_prob(y, observed, mean, loadings, diag, phi)
        return weight @ rows, rows

    def dense(mean, loadings, diag, phi):
        rows = dense_log_prob(y, observed, mean, loadings @ phi @ loadings.T + jnp.diag(diag))
        return weight @ rows, rows

    at = tuple(map(jnp.asarray, (rng.standard_normal(p), loadings, diag, phi)))
    one, other = (jax.jit(jax.value_and_grad(f, (0, 1, 2, 3), has_aux=True))(*at) for f in (factors, dense))
    np.testing.assert_allclose(one[0][1], other[0][1], rtol=1e-11)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9), one[1], other[1])


def test_a_singular_factor_covariance_has_a_density_and_the_right_gradient():
    rng = np.random.default_rng(6)
    y, loadings, diag = rng.standard_normal((8, 5)), rng.standard_normal((5, 3)), rng.uniform(0.2, 1, 5)
    phi = jnp.diag(jnp.array([1.0, 0.0, 0.5]))
    observed = rng.uniform(size=y.shape) > 0.2

    def factors(phi):
        return factor_log_prob(y, observed, jnp.zeros(5), loadings, diag, phi).sum()

    def dense(phi):
        return dense_log_prob(y, observed, jnp.zeros(5), loadings @ phi @ loadings.T + jnp.diag(diag)).sum()

    one, other = (jax.jit(jax.value_and_grad(f))(phi) for f in (factors, dense))
    np.testing.assert_allclose(one[0], other[0], rtol=1e-11)
    np.testing.assert_allclose(one[1], other[1], rtol=1e-9, atol=1e-9)


def test_parameters_that_are_not_allowed_give_nan():
    model, params, data, *_ = problem(7)
    negative = params | {"residual_cov": params["residual_cov"].at[0, 1, 1].set(-30.0)}
    indefinite = params | {"factor_cov": jnp.array([[[1.0, 3.0], [3.0, 1.0]]])}
    for rule in (ClosedForm(False), ClosedForm(True)):
        assert jnp.isnan(rule.log_marginal(model, negative, data)).all()
    assert jnp.isnan(ClosedForm(True).log_marginal(model, indefinite, data)).all()


def test_an_indefinite_latent_covariance_is_served_by_the_dense_form():
    model, params, data, y, group = problem(8)
    params = params | {"factor_cov": jnp.array([[[1.0, 1.05], [1.05, 1.0]]])}
    found = ClosedForm().log_marginal(model, params, data)
    np.testing.assert_allclose(found, reference(params, y, group), rtol=1e-10)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("lead", [(), (4,), (2, 3)])
def test_linear_predictor(groups, lead):
    rng = np.random.default_rng(9)
    loadings, group = rng.standard_normal((groups, P, 2)), rng.integers(0, groups, N)
    for persons in (1, N):
        x = rng.standard_normal((*lead, persons, 2))
        full = np.broadcast_to(x, (*lead, N, 2))
        expected = np.einsum("nid,...nd->...ni", loadings[group], full)
        found = np.broadcast_to(linear_predictor(jnp.asarray(loadings), x, jnp.asarray(group)), expected.shape)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("groups", [1, 2])
def test_two_blocks_of_one_family_are_one_family(groups):
    model, params, data, *_ = problem(10, groups=groups, missing=True)
    split = Measurement(((Normal(), (0, 4, 2)), (Normal(), (1, 3, 5))))
    x = jax.random.normal(jax.random.key(0), (5, N, 2))
    np.testing.assert_allclose(
        split.log_prob(params, x, data), model.measurement.log_prob(params, x, data), rtol=1e-12, atol=1e-12
    )
    np.testing.assert_allclose(
        split.expected(params, x, data.group), model.measurement.expected(params, x, data.group), rtol=1e-12
    )


def test_a_measurement_must_share_out_all_items():
    with pytest.raises(ValueError, match="every item"):
        Measurement(((Normal(), range(3)), (Normal(), (4,))))


def test_information_of_a_normal_item_is_its_precision():
    _, params, *_ = problem(11)
    family = Normal()
    own = family.item_params(params)
    eta, y = jnp.zeros((N, P)), jnp.ones((N, P))
    second = jax.jvp(jax.grad(lambda e: family.log_prob(e, own, y).sum()), (eta,), (jnp.ones_like(eta),))[1]
    np.testing.assert_allclose(family.information(eta, own), -second, rtol=1e-12)


@pytest.mark.parametrize("groups", [1, 3])
def test_latent_density_is_the_normal_density(groups):
    model, params, data, _, group = problem(12, groups=groups)
    q = model.latent_distribution(params, data)
    x = jax.random.normal(jax.random.key(1), (4, N, 2))
    expected = np.stack(
        [dist.MultivariateNormal(q.mean[g], q.cov[g]).log_prob(x[:, i]) for i, g in enumerate(group)], axis=1
    )
    np.testing.assert_allclose(q.log_prob(x), expected, rtol=1e-11)
    np.testing.assert_allclose(
        q.log_prob(x[:, :1]),
        np.stack([dist.MultivariateNormal(q.mean[g], q.cov[g]).log_prob(x[:, 0]) for g in group], axis=1)[
            :, : 1 if groups == 1 else None
        ],
        rtol=1e-11,
    )


def test_latent_and_items_drawn_have_the_implied_moments():
    model, params, data, *_ = problem(13, groups=2, n=2)
    data = Arrays.of(np.zeros((2, P)), [0, 1])
    key_x, key_y = jax.random.split(jax.random.key(2))
    x = model.latent_distribution(params, data).sample(key_x, (40_000, 2))
    y = model.measurement.sample(key_y, params, x, data.group)
    mean, cov = model.implied(params)
    for g in range(2):
        np.testing.assert_allclose(y[:, g].mean(0), mean[g], atol=0.05)
        np.testing.assert_allclose(np.cov(y[:, g].T), cov[g], atol=0.15)


def test_simulated_moments_with_residual_covariances_and_zero_variances():
    values = {name: jnp.asarray(each[0]) for name, each in matrices(14, covary=True).items()}
    values["residual_cov"] = values["residual_cov"].at[5, 5].set(0.0)
    values["factor_cov"] = jnp.array([[1.0, 0.0], [0.0, 0.0]])
    y, x = jax.jit(simulate, static_argnums=1)(values, 60_000, jax.random.key(3))
    a = np.linalg.inv(np.eye(2) - values["regressions"])
    total = values["loadings"] @ a
    cov = total @ values["factor_cov"] @ total.T + values["residual_cov"]
    np.testing.assert_allclose(y.mean(0), values["intercepts"] + total @ values["factor_means"], atol=0.04)
    np.testing.assert_allclose(np.cov(y.T), cov, atol=0.06)
    np.testing.assert_allclose(np.cov(x.T), a @ values["factor_cov"] @ a.T, atol=0.03)
    np.testing.assert_allclose(y[:, 5], values["intercepts"][5] + x @ values["loadings"][5], rtol=1e-10)


def test_psd_root():
    rng = np.random.default_rng(15)
    half = rng.standard_normal((7, 5, 3))
    a = half @ half.mT  # rank 3 of 5
    a[:, :, 1] = a[:, 1, :] = 0.0
    np.testing.assert_allclose(psd_root(jnp.asarray(a)) @ psd_root(jnp.asarray(a)).mT, a, atol=1e-7)
    spd = a[0] + np.eye(5)
    np.testing.assert_allclose(psd_root(jnp.asarray(spd)), np.linalg.cholesky(spd), atol=1e-12)
    for bad in ([[1.0, 2.0], [2.0, 1.0]], [[0.0, 0.5], [0.5, 1.0]], [[1.0, 0.0], [0.0, -0.1]]):
        assert jnp.isnan(psd_root(jnp.array(bad))).any()


def test_psd_root_of_singular_matrices():
    """Of 2000 of rank 3 all but one in a hundred have a root, though the first three pivots may be small."""
    half = np.random.default_rng(1).standard_normal((2000, 5, 3))
    root = np.asarray(psd_root(jnp.asarray(half @ half.mT)))
    fine = ~np.isnan(root).any((1, 2))
    assert fine.mean() > 0.99
    np.testing.assert_allclose((root @ root.mT)[fine], (half @ half.mT)[fine], atol=1e-7)


def test_inverse_has_derivatives_of_every_order_alone_and_in_batches():
    rng = np.random.default_rng(16)
    a = np.cov(rng.standard_normal((4, 30)))
    d = np.diag(a) ** -0.5
    batch = jnp.asarray(np.stack([a * d[:, None] * d, np.eye(4)]))
    for matrix in (jnp.asarray(a), batch):
        found = inverse_and_log_det(matrix)
        np.testing.assert_allclose(found[0], np.linalg.inv(matrix), rtol=1e-10)
        np.testing.assert_allclose(found[1], np.linalg.slogdet(matrix)[1], atol=1e-12)
    second = jax.hessian(lambda s: inverse_and_log_det(s * a)[1])(2.0)
    np.testing.assert_allclose(second, -4 / 2.0**2, rtol=1e-12)
    lanes = jax.vmap(jax.hessian(lambda s: inverse_and_log_det(s * a)[1]))(jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(lanes, [-4.0, -1.0], rtol=1e-12)


def test_pytree_round_trips():
    model, _, data, *_ = problem(17, groups=2, missing=True)
    for tree in (model, data, ClosedForm(True), GaussHermite(5)):
        leaves, structure = jax.tree.flatten(tree)
        again = jax.tree.unflatten(structure, leaves)
        assert type(again) is type(tree) and jax.tree.structure(again) == structure
        jax.tree.map(np.testing.assert_array_equal, tree, again)
    assert hash(jax.tree.structure(model)) == hash(jax.tree.structure(problem(18, groups=2)[0]))


def test_another_pattern_of_free_cells_is_not_another_program():
    traces = []

    @jax.jit
    def objective(model, free, data):
        traces.append(1)
        return ClosedForm(True).log_marginal(model, model.layout.unpack(free), data).sum()

    model, _, data, *_ = problem(19)
    objective(model, model.layout.start, data)
    index = {name: each.copy() for name, each in model.layout.index.items()}
    free = index["loadings"][0, 0, 0], index["loadings"][0, 1, 1]
    index["loadings"][0, 0, 0], index["loadings"][0, 1, 1] = free[::-1]
    other = LatentVariableModel.normal(Layout(index, model.layout.fixed, model.layout.start))
    objective(other, model.layout.start, data)
    assert len(traces) == 1


@pytest.mark.parametrize("rule", [ClosedForm(False), ClosedForm(True), GaussHermite(9)])
def test_float32_stays_float32_and_is_close(rule):
    model, params, data, *_ = problem(20, groups=2, missing=True)
    exact = rule.log_marginal(model, params, data)
    single = lambda tree: jax.tree.map(lambda a: a.astype("float32") if a.dtype == "float64" else a, tree)  # noqa: E731
    found = jax.jit(rule.log_marginal)(model, single(params), single(data))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, exact, rtol=2e-5, atol=2e-4)
    text = jax.jit(rule.log_marginal).lower(model, single(params), single(data)).as_text()
    assert f"tensor<{N}x{P}xf64>" not in text and f"tensor<{N}x{P}xf32>" in text


def test_grid_integrates_polynomials():
    z, log_weight = grid(4, 2)
    w = np.exp(log_weight)
    assert z.shape == (16, 2)
    np.testing.assert_allclose([w.sum(), w @ z[:, 0] ** 2, w @ (z[:, 0] ** 2 * z[:, 1] ** 4)], [1, 1, 3], rtol=1e-12)
    with pytest.raises(ValueError, match="at least 1"):
        GaussHermite(0)


BAD = [
    (dict(y=np.ones(3)), "2 dimension"),
    (dict(y=np.full((2, 2), np.inf)), "infinite"),
    (dict(y=np.ones((2, 2)), group=[0, 1, 1]), "2 rows in group"),
    (dict(y=np.ones((2, 2)), group=["a", "b"]), "integers"),
    (dict(y=np.ones((2, 2)), weight=[1.0, -1.0]), "weights"),
    (dict(y=np.ones((2, 2)), covariates=[[1.0], [np.nan]]), "covariates"),
]


@pytest.mark.parametrize(("arguments", "sentence"), BAD)
def test_arrays_refuse(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        Arrays.of(**arguments)


def test_arrays_of_integers_and_precision():
    arrays = Arrays.of(np.array([[1, 2], [3, 4]]))
    assert arrays.y.dtype == jnp.float64 and arrays.observed.all() and arrays.n_persons == 2
    assert Arrays.of(np.ones((2, 2), np.float32)).y.dtype == jnp.float32
