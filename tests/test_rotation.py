"""Rotations against GPArotation's and lavaan's, and what must hold whatever they say."""

from __future__ import annotations

import itertools
import json

import jax
import numpy as np
import pytest

from jaxlatent import SEM
from jaxlatent.data.datasets import load
from jaxlatent.numerics.rotation import rotate, rotation_jacobian
from jaxlatent.numerics.rotation_criteria import METHODS, find_method

CLUSTERS = np.kron(np.eye(3), np.ones((3, 1)))
ZEROS = np.where(CLUSTERS > 0, np.nan, 0.0)
RARE = {"bentlerT", "bentlerQ", "entropy", "infomaxQ", "infomaxT", "mccammon"}  # compiled for one test each

# entry of j_hs_gparotation -> method and options; left out are simplimax and oblimax, which have tests of their own
GPAROTATION = {
    "varimax_kaiser": ("varimax", {}),
    "varimax_raw": ("varimax", {"normalize": False}),
    "Varimax": ("Varimax", {"normalize": False}),
    "promax4_of_varimax_kaiser": ("promax", {}),
    "quartimax": ("quartimax", {}),
    "oblimin": ("oblimin", {}),
    "quartimin": ("quartimin", {}),
    "geominQ_.01": ("geominQ", {"epsilon": 0.01}),
    "geominQ_.001": ("geomin", {}),
    "geominT_.01": ("geominT", {"epsilon": 0.01}),
    "bentlerT": ("bentlerT", {}),
    "bentlerQ": ("bentlerQ", {}),
    "cfQ_0": ("cfQ", {"kappa": 0}),
    "cfQ_1/p": ("cf_varimax", {}),
    "cfT_m/2p": ("equamax", {}),
    "entropy": ("entropy", {}),
    "infomaxQ": ("infomaxQ", {}),
    "infomaxT": ("infomaxT", {}),
    "mccammon": ("mccammon", {}),
    "bifactorT": ("bifactor", {}),
    "targetQ": ("target", {"target": ZEROS}),
    "targetT": ("targetT", {"target": ZEROS}),
}

# lavaan's efa() -> method, options and the accuracy of its own optimum
LAVAAN = {
    "hs_efa3_varimax": ("varimax", {}, 1e-5),
    "hs_efa3_varimax_kaiser": ("varimax", {"normalize": True}, 1e-5),
    "hs_efa3_promax": ("promax", {}, 1e-4),
    "hs_efa3_oblimin": ("oblimin", {}, 1e-5),
    "hs_efa3_oblimin_kaiser": ("oblimin", {"normalize": True}, 1e-5),
    "hs_efa3_quartimin": ("quartimin", {}, 1e-5),
    "hs_efa3_geomin": ("geomin", {}, 1e-5),
    "hs_efa3_geomin_default": ("geomin", {}, 1e-5),
    "hs_efa3_geomin_orth": ("geomin", {"orthogonal": True}, 1e-5),
    "hs_efa3_cf_quartimax": ("cf-quartimax", {}, 1e-5),
    "hs_efa3_cf_varimax": ("cf-varimax", {}, 1e-4),
    "hs_efa3_target": ("target", {"target": ZEROS}, 1e-5),
    "hs_efa3_pst": ("pst", {"target": CLUSTERS, "weights": 1 - CLUSTERS}, 1e-5),
    "hs_efa3_bigeomin": ("bigeomin", {}, 2e-4),
    "hs_efa3_biquartimin": ("biquartimin", {}, 1e-2),  # lavaan stopped early: its criterion is 1.2e-7 above ours
    "bfi_efa5_oblimin": ("oblimin", {}, 1e-4),
    "bfi_efa5_geomin": ("geomin", {}, 1e-4),
}


def matrix(table):
    return np.array(table["values"], float)


def read(shared, name):
    return json.loads((shared / "reference" / f"{name}.json").read_text())


def aligned(result, loadings):
    """Λ and Φ with factors in the order and with the signs of reference loadings."""
    m = loadings.shape[1]
    orders = itertools.permutations(range(m))
    order = list(min(orders, key=lambda o: np.abs(np.abs(result.loadings[:, o]) - np.abs(loadings)).max()))
    signs = np.sign((result.loadings[:, order] * loadings).sum(0))
    return result.loadings[:, order] * signs, result.factor_cov[np.ix_(order, order)] * np.outer(signs, signs)


@pytest.fixture(scope="module")
def hs(shared):
    return matrix(read(shared, "j_hs_gparotation")["unrotated"])


@pytest.fixture(scope="module")
def simple():
    """Three clusters of three items, turned away: of the shape of the references, to save compiling."""
    rng = np.random.default_rng(3)
    a = CLUSTERS * rng.uniform(0.5, 0.9, (9, 1)) + 0.1 * rng.standard_normal((9, 3))
    return a @ np.linalg.qr(rng.standard_normal((3, 3)))[0]


@pytest.mark.parametrize("entry", [pytest.param(e, marks=pytest.mark.study) if e in RARE else e for e in GPAROTATION])
def test_gparotation(shared, hs, entry):
    expected = read(shared, "j_hs_gparotation")["rotations"][entry]
    method, options = GPAROTATION[entry]
    result = rotate(hs, method, **options)
    loadings, factor_cov = aligned(result, matrix(expected["loadings"]))
    np.testing.assert_allclose(loadings, matrix(expected["loadings"]), atol=1e-4)
    if expected["phi"]:
        np.testing.assert_allclose(factor_cov, matrix(expected["phi"]), atol=1e-4)
    if expected["criterion"] is not None:
        np.testing.assert_allclose(result.value, expected["criterion"], atol=1e-8)
    assert result.converged


@pytest.mark.parametrize("entry", LAVAAN)
def test_lavaan(shared, entry):
    method, options, atol = LAVAAN[entry]
    unrotated = matrix(read(shared, f"j_{entry[: entry.index('_', 4)]}_none")["loadings_std"])
    expected = read(shared, f"j_{entry}")
    result = rotate(unrotated, method, **options)
    loadings, factor_cov = aligned(result, matrix(expected["loadings_std"]))
    np.testing.assert_allclose(loadings, matrix(expected["loadings_std"]), atol=atol)
    np.testing.assert_allclose(factor_cov, matrix(expected["phi"]), atol=atol)
    if not result.settings.normalize:
        with jax.enable_x64(True):
            criterion, options = result.settings.method.criterion, result.settings.options
            theirs = float(criterion(matrix(expected["loadings_std"]), *options))
        assert result.value <= theirs + 1e-6  # the unrotated solutions differ by lavaan's tolerance


@pytest.mark.parametrize("method", ["varimax", "geomin_orth"])
def test_standard_errors_of_lavaan(shared, method):
    """The chain (Λ, Θ) -> standardized -> rotated -> unstandardized gives lavaan's standard errors."""
    fit = SEM("\n".join(f"f{k} =~ " + " + ".join(f"x{i}" for i in range(k, 10)) for k in (1, 2, 3)),
              std_lv=True, orthogonal=True).fit(load("holzinger_swineford"))  # fmt: skip
    cells = [(i, k) for k in range(3) for i in range(k, 9)]
    names = [f"f{k + 1}=~x{i + 1}" for i, k in cells] + [f"x{i}~~x{i}" for i in range(1, 10)]
    estimates = np.r_[[fit.loadings.to_numpy()[c] for c in cells], np.diagonal(fit.residual_cov)]

    def standard(q):
        a = np.zeros((9, 3))
        a[tuple(np.transpose(cells))] = q[:24]
        deviations = np.sqrt((a**2).sum(1) + q[24:])
        return np.c_[a / deviations[:, None], deviations]

    at = standard(estimates)
    inner = np.stack([(standard(estimates + h) - standard(estimates - h)) / 2e-6 for h in 1e-6 * np.eye(33)], -1)
    result = rotate(at[:, :3], method.removesuffix("_orth"), orthogonal=True)
    rotated = (rotation_jacobian(at[:, :3], result) @ inner[:, :3].reshape(27, 33))[:27].reshape(9, 3, 33)
    jacobian = rotated * at[:, 3, None, None] + result.loadings[:, :, None] * inner[:, None, 3]
    se = np.sqrt(np.einsum("ijk,kl,ijl->ij", jacobian, fit.vcov().loc[names, names].to_numpy(), jacobian))
    expected = read(shared, f"j_hs_efa3_{method}")
    theirs = np.abs(matrix(expected["loadings_unstd"]))
    size = np.abs(result.loadings * at[:, 3:])
    order = list(min(itertools.permutations(range(3)), key=lambda o: np.abs(size[:, o] - theirs).max()))
    np.testing.assert_allclose(se[:, order], matrix(expected["se"]), rtol=1e-4)


def test_simplimax_is_at_least_as_good_as_the_reference(shared, hs):
    expected = read(shared, "j_hs_gparotation")["rotations"]["simplimax"]
    result = rotate(hs, "simplimax")  # many local minima: GPArotation's best of 11 starts is not the best
    assert result.converged and result.value < expected["criterion"]


def test_oblimax_has_no_oblique_minimum(hs):
    assert not rotate(hs, "oblimax").converged  # GPArotation and lavaan stop at loadings of 1e7
    orthogonal, quartimax = rotate(hs, "oblimaxT"), rotate(hs, "quartimax")
    np.testing.assert_allclose(orthogonal.loadings, quartimax.loadings, atol=1e-7)


@pytest.mark.parametrize("method, options", [("oblimin", {}), ("geominT", {}), ("varimax", {}), ("promax", {})])
def test_invariants(simple, method, options):
    result = rotate(simple, method, **options)
    a, t, phi = result.loadings, result.rotation, result.factor_cov
    np.testing.assert_allclose(a @ phi @ a.T, simple @ simple.T, atol=1e-12)
    np.testing.assert_allclose(a @ t.T, simple, atol=1e-12)
    np.testing.assert_allclose(np.diagonal(phi), 1, atol=1e-12)
    np.testing.assert_allclose(phi, t.T @ t, atol=1e-12)
    assert (a.sum(0) > 0).all() and (np.diff((a**2).sum(0)) <= 0).all()
    assert result.converged and 1 <= result.reached <= 30


def test_stationarity(simple):
    """Oblique: Λ'(df/dΛ)Φ^-1 is diagonal; orthogonal: Λ'(df/dΛ) is symmetric (Jennrich 1973, 1974)."""
    for method in ("oblimin", "geomin", "geominT"):
        result = rotate(simple, method)
        with jax.enable_x64(True):
            gradient = np.asarray(jax.grad(result.settings.method.criterion)(result.loadings, *result.settings.options))
        condition = result.loadings.T @ gradient
        if result.settings.oblique:
            condition = condition @ np.linalg.inv(result.factor_cov)
            np.testing.assert_allclose(condition, np.diag(np.diagonal(condition)), atol=1e-9)
        else:
            np.testing.assert_allclose(condition, condition.T, atol=1e-9)


def test_kaiser_rotates_rows_of_length_one(simple):
    length = np.sqrt((simple**2).sum(1, keepdims=True))
    with_rows, of_rows = rotate(simple, "oblimin", normalize=True), rotate(simple / length, "oblimin")
    np.testing.assert_allclose(aligned(of_rows, with_rows.loadings)[0] * length, with_rows.loadings, atol=1e-9)


def test_an_item_without_loadings(simple):
    a = np.vstack([simple[:-1], np.zeros(3)])
    result = rotate(a, "oblimin", normalize=True)
    assert result.converged and np.isfinite(rotation_jacobian(a, result)).all()


def test_order_signs_and_start_of_the_input_do_not_matter(simple):
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    first, second = rotate(simple, "geomin"), rotate(simple @ turn, "geomin", key=1)
    np.testing.assert_allclose(first.loadings, second.loadings, atol=1e-9)
    np.testing.assert_array_equal(first.loadings, rotate(simple, "geomin").loadings)


def test_scale_does_not_matter(simple):
    small, large = rotate(simple, "oblimin"), rotate(1e4 * simple, "oblimin")
    np.testing.assert_allclose(1e4 * small.loadings, large.loadings, rtol=1e-7, atol=1e-5)


@pytest.mark.parametrize(
    "method, options",
    [
        ("oblimin", {}),
        ("oblimin", {"normalize": True}),
        ("geominT", {}),
        ("geomin", {}),
        ("varimax", {}),
        ("promax", {}),
        ("target", {"target": CLUSTERS}),
        ("bifactor", {}),
        ("none", {}),
    ],
)
def test_jacobian_is_that_of_rotating_again(simple, method, options):
    def parameters(a):
        result = rotate(a, method, **options)
        return np.r_[result.loadings.ravel(), result.factor_cov.ravel()]

    steps = 1e-5 * np.random.default_rng(1).standard_normal((4, *simple.shape))
    numeric = [(parameters(simple + h) - parameters(simple - h)) / 2 for h in steps]
    jacobian = rotation_jacobian(simple, rotate(simple, method, **options))
    assert jacobian.shape == (simple.size + 9, simple.size)
    np.testing.assert_allclose(steps.reshape(4, -1) @ jacobian.T, numeric, atol=1e-10)


def test_targets_keep_their_columns(simple):
    aim = CLUSTERS[:, [2, 0, 1]] * [1, -1, 1]
    assert (np.corrcoef(rotate(simple, "target", target=aim).loadings.T, aim.T)[:3, 3:].diagonal() > 0.9).all()


def test_general_factor_stays_first():
    groups = np.kron(np.eye(3), np.ones((4, 1)))
    bifactor = np.c_[np.full(12, 0.4), groups * [0.5, 0.7, 0.6]]
    turned = bifactor @ np.linalg.qr(np.random.default_rng(5).standard_normal((4, 4)))[0]
    np.testing.assert_allclose(rotate(turned, "bifactor").loadings, bifactor[:, [0, 2, 3, 1]], atol=1e-6)


def test_one_factor_and_none(simple):
    one = rotate(-np.abs(simple[:, :1]), "geomin")
    assert (one.loadings > 0).all() and one.factor_cov == 1 and one.converged
    np.testing.assert_array_equal(rotate(simple, "none").loadings, simple)
    np.testing.assert_allclose(rotation_jacobian(one.loadings, one)[:9], -np.eye(9))


def test_one_program_serves_all_options_and_keys(simple, compiled):
    rotate(simple, "cf")
    with compiled() as names:
        for key, kappa in enumerate([0.01, 0.05, 0.1]):
            assert rotate(simple + 0.01 * key, "crawford-ferguson", kappa=kappa, key=key).converged
    assert "search" not in names


def test_global_precision_is_left_alone(simple):
    result = rotate(simple.astype(np.float32), "oblimin")
    assert not jax.config.jax_enable_x64
    assert result.loadings.dtype == np.float64 and isinstance(result.rotation, np.ndarray)


@pytest.mark.parametrize("name", ["CF-Varimax", "cf_varimax", "cfvarimax", "cf varimax"])
def test_names_in_any_dress(name):
    assert find_method(name)[0] == "cf-varimax"


@pytest.mark.parametrize(
    "arguments, options, message",
    [
        (("oblimn",), {}, r"did you mean 'oblimin'"),
        (("",), {}, "Expected a rotation out of varimax"),
        (("oblimin",), {"epsilon": 0.1}, r"options of oblimin out of \['gamma'\]; got \['epsilon'\]"),
        (("target",), {}, r"target \(and weights\) of shape \(9, 3\); got \(\)"),
        (("target",), {"target": np.full((9, 3), np.nan)}, "not free everywhere"),
        (("promax",), {"orthogonal": True}, "oblique factors for promax"),
        (("geomin",), {"epsilon": [0.1, 0.2]}, "one number for epsilon"),
        (("oblimin",), {"starts": 0}, "at least one start"),
    ],
)
def test_bad_arguments(simple, arguments, options, message):
    with pytest.raises(ValueError, match=message):
        rotate(simple, *arguments, **options)


def test_bad_loadings(simple):
    with pytest.raises(ValueError, match="finite loadings"):
        rotate(simple[0], "oblimin")
    with pytest.raises(ValueError, match="finite loadings"):
        rotate(simple * np.nan, "oblimin")
    with pytest.raises(ValueError, match="at least three factors"):
        rotate(simple[:, :2], "bifactor")
    with pytest.raises(ValueError, match="isolated minimum"):
        rotation_jacobian(0 * simple, rotate(0 * simple, "varimax"))


def test_every_name_is_found():
    assert set(METHODS) >= {"varimax", "promax", "oblimin", "geomin", "target", "bifactor", "none"}
    assert all(find_method(name)[0] == name for name in METHODS)
