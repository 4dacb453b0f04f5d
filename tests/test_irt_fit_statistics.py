"""Fit statistics of item response models: against mirt's figures, against brute force, and what must hold anyway."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from item_response_cases import NODES, Case, load, load_groups

from jaxlatent.diagnostics.category_tables import CategoryTables, expected_scores
from jaxlatent.diagnostics.full_information import g2
from jaxlatent.diagnostics.irt_reliability import empirical_reliability, marginal_reliability
from jaxlatent.diagnostics.item_fit import free_parameters, merged, s_x2, score_tables
from jaxlatent.diagnostics.limited_information import GroupFit, c2, m2, m2_and_c2
from jaxlatent.diagnostics.local_dependence import ld_x2, mirt_matrix, q3
from jaxlatent.diagnostics.mean_squares import item_mean_squares, person_mean_squares
from jaxlatent.diagnostics.moment_covariance import (
    expected_moments,
    indicators_of,
    moment_covariance,
    moment_jacobian,
    observed_moments,
    scores_of,
)
from jaxlatent.diagnostics.person_fit import zh
from jaxlatent.diagnostics.sum_scores import eap_sum_scores, leave_one_out, lord_wingersky, sum_score_table

LSAT = [
    "m_lsat6_1pl", "m_lsat6_2pl", "m_lsat6_3pl_fixg", "m_lsat6_rasch", "m_lsat7_1pl", "m_lsat7_2pl", "m_lsat7_3pl_fixg",
    "m_lsat7_3pl_prior", "m_lsat7_ideal", "m_lsat7_rasch",
]  # fmt: skip
SCIENCE = [f"m_science_{kind}" for kind in ("gpcm", "gpcmirt", "graded", "grsm", "nominal", "rasch")]
COMPLETE = LSAT + SCIENCE
CASES = [*COMPLETE, "m_lsat7_missing"]
INDICES = {
    "statistic": "M2", "df": "df", "pvalue": "p", "rmsea": "RMSEA", "rmsea_ci_lower": "RMSEA_5",
    "rmsea_ci_upper": "RMSEA_95", "srmsr": "SRMSR", "tli": "TLI", "cfi": "CFI",
}  # fmt: skip


def tables_of(case: Case) -> CategoryTables:
    return CategoryTables(case.weights(), case.tables_at(NODES), case.n_categories)


def group_of(case: Case) -> GroupFit:
    jacobian = case.derivative(lambda free: case.tables_at(NODES, free))
    return GroupFit(case.y, tables_of(case), jacobian, case.derivative(case.weights))


def near(ours, theirs, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(ours, np.array(theirs, float), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", COMPLETE)
def test_limited_information_is_mirts(shared, name):
    case = load(shared, name)
    for label, test in (("M2", m2), ("C2", c2)):
        result, answer = test(group_of(case)), case.answer.get(label)
        assert (answer is None) == (result.df <= 0)
        if answer is None:
            assert np.isnan(result.statistic) and np.isnan(result.cfi)
            continue
        # mirt's C2 of its gpcm class differs from that of the same model as gpcmIRT (19.04), which is ours
        if name == "m_science_gpcm":
            answer = load(shared, "m_science_gpcmirt").answer["C2"]
        tolerance = 5e-3 if name in ("m_science_gpcm", "m_science_rasch") else 2e-4
        for ours, theirs in INDICES.items():
            near(getattr(result, ours), answer[theirs], tolerance)


@pytest.mark.parametrize("name", CASES)
def test_full_information_is_mirts(shared, name):
    case = load(shared, name)
    result, answer = g2(tables_of(case), case.y, len(case.free)), case.answer["fit"]
    assert result.df == answer["df"]
    expected = [np.nan if answer[k] is None else answer[k] for k in ("G2", "p", "RMSEA")]
    near([result.statistic, result.pvalue, result.rmsea], expected)


@pytest.mark.parametrize("name", ["m_mg_configural", "m_mg_scalar"])
def test_full_information_of_groups_is_mirts(shared, name):
    cases = load_groups(shared, name)
    answer = cases[0].answer["fit"]
    result = g2([tables_of(c) for c in cases], [c.y for c in cases], answer["nest"])
    assert result.df == answer["df"]
    near(result.statistic, answer["G2"])


@pytest.mark.parametrize("name", COMPLETE)
def test_item_fit_is_mirts(shared, name):
    case, group = load(shared, name), group_of(load(shared, name))
    answer = case.answer["itemfit"]
    result = s_x2(group.model, case.y, free_parameters(group.jacobian, group.weight_jacobian))
    near(result.statistic, answer["S_X2"])
    assert result.df.tolist() == answer["df.S_X2"]
    near(result.pvalue, answer["p.S_X2"])
    near(result.rmsea, answer["RMSEA.S_X2"])
    squares = item_mean_squares(case.tables_at(case.eap()[0]), case.y)
    for key in ("outfit", "z.outfit", "infit", "z.infit"):
        near(getattr(squares, key.replace(".", "_")), answer[key])


@pytest.mark.parametrize("name", CASES)
def test_person_fit_is_mirts(shared, name):
    case = load(shared, name)
    answer = case.answer["personfit"]
    seen = ~np.isnan(case.y).all(1)
    y, tables = case.y[seen], case.tables_at(case.eap()[0])[seen]
    if isinstance(answer, list):
        # missing responses: all persons, in columns; mirt's z do not count the observed items there
        answer = dict(zip(("outfit", "", "infit", "", "Zh"), answer[:5], strict=True))
    squares = person_mean_squares(tables, y)
    ours = {"Zh": zh(tables, y)} | {
        k: getattr(squares, k.replace(".", "_")) for k in ("outfit", "z.outfit", "infit", "z.infit")
    }
    for key in set(ours) & set(answer):
        near(ours[key][: len(answer[key])], answer[key])


@pytest.mark.parametrize("name", CASES)
def test_local_dependence_is_mirts(shared, name):
    case = load(shared, name)
    near(mirt_matrix(ld_x2(tables_of(case), case.y)), case.answer["residuals_LD"]["values"])
    near(q3(expected_scores(case.tables_at(case.eap()[0])), case.y), case.answer["residuals_Q3"]["values"])


@pytest.mark.parametrize("name", COMPLETE)
def test_sum_scores_are_mirts(shared, name):
    case = load(shared, name)
    table = sum_score_table(tables_of(case), NODES[:, None], case.y)
    _, eap, se, observed, expected, residual = case.answer["EAPsum_table"].values()
    for ours, theirs in zip(
        (table.eap[:, 0], table.se[:, 0], table.observed, table.expected, table.residual),
        (eap, se, observed, expected, residual),
        strict=True,
    ):
        near(ours, theirs)
    first = np.array(case.answer["fscores_EAPsum"]["values"], float)
    scores, errors = eap_sum_scores(table, case.y[: len(first)])
    near(np.column_stack([scores, errors]), first)


@pytest.mark.parametrize("name", CASES)
def test_reliability_is_mirts(shared, name):
    case = load(shared, name)
    mean, se = (x[~np.isnan(case.y).all(1), None] for x in case.eap())
    near(empirical_reliability(mean, se), [case.answer["empirical_rxx"]])
    # mirt integrates I / (I + variance) over N(0, 1), also where the variance is free
    density = np.exp(-0.5 * NODES**2)
    variance = case.values(case.free)["GROUP"]["COV_11"]
    ours = marginal_reliability(case.information(NODES), density / density.sum(), variance)
    near(ours, case.answer["marginal_rxx"])


# what must hold without any reference


def model_of(n_categories=(2, 4, 3, 2), nodes: int = 21, seed: int = 3) -> tuple[CategoryTables, np.ndarray]:
    """A partial credit model with items of different length, and derivatives by its 2 J parameters."""
    rng = np.random.default_rng(seed)
    x = np.linspace(-4, 4, nodes)
    weights = np.exp(-0.5 * x**2)
    sizes, items = np.array(n_categories), len(n_categories)
    free = np.concatenate([rng.uniform(0.6, 1.6, items), rng.normal(size=items) * 0.5])

    def tables(free: np.ndarray) -> np.ndarray:
        k = np.arange(sizes.max())
        eta = k * (free[:items, None] * x[:, None, None] + free[items:, None]) - 0.3 * k**2
        p = np.where(k < sizes[:, None], np.exp(eta), 0)
        return p / p.sum(-1, keepdims=True)

    steps = np.eye(2 * items) * 1e-30j
    jacobian = np.stack([tables(free + step).imag / 1e-30 for step in steps], -1)
    return CategoryTables(weights / weights.sum(), tables(free), sizes), jacobian


def patterns_of(model: CategoryTables) -> tuple[np.ndarray, np.ndarray]:
    """Every response pattern and its probability."""
    y = np.array(list(itertools.product(*[range(k) for k in model.n_categories])))
    chances = np.prod([model.tables[:, j, y[:, j]] for j in range(y.shape[1])], axis=0)
    return y.astype(float), model.weights @ chances


@pytest.mark.parametrize("functions", [scores_of, indicators_of])
def test_moments_are_those_of_all_patterns(functions):
    model, jacobian = model_of()
    y, p = patterns_of(model)
    f, code = functions(model.n_categories), y.astype(int)
    left, right = np.triu_indices(y.shape[1], 1)
    g = np.column_stack([f.value[np.arange(len(f.item)), code[:, f.item]], y[:, left] * y[:, right]])
    np.testing.assert_allclose(expected_moments(model, f), p @ g, atol=1e-13)
    np.testing.assert_allclose(observed_moments(code, p, f), p @ g, atol=1e-13)
    covariance = (g * p[:, None]).T @ g - np.outer(p @ g, p @ g)
    np.testing.assert_allclose(moment_covariance(model, f), covariance, atol=1e-12)
    weight_jacobian = np.random.default_rng(0).normal(size=(len(model.weights), jacobian.shape[-1]))
    ours = moment_jacobian(model, f, jacobian, weight_jacobian)
    for k in range(jacobian.shape[-1]):
        h = 1e-6
        moved = [
            CategoryTables(
                model.weights + s * h * weight_jacobian[:, k],
                model.tables + s * h * jacobian[..., k],
                model.n_categories,
            )
            for s in (1, -1)
        ]
        slope = (expected_moments(moved[0], f) - expected_moments(moved[1], f)) / (2 * h)
        np.testing.assert_allclose(ours[:, k], slope, atol=1e-7)


def test_nothing_is_found_where_the_data_are_as_expected():
    model, jacobian = model_of()
    y, p = patterns_of(model)
    n = 500 * p
    for test in (m2, c2):
        result = test(GroupFit(y, model, jacobian, None, n))
        assert result.df > 0
        assert result.statistic < 1e-12 and result.srmsr < 1e-12 and result.cfi == 1 and result.rmsea == 0
    assert abs(g2(model, y, 8, n).statistic) < 1e-9
    assert s_x2(model, y, np.full(4, 2), n).statistic.max() < 1e-12
    assert np.nanmax(ld_x2(model, y, n).x2) < 1e-12
    table = sum_score_table(model, np.zeros((21, 1)), y, n)
    assert table.residual.max() < 1e-10


def test_m2_and_c2_are_one_for_binary_items():
    for sizes, same in (((2,) * 6, True), ((2, 3, 3, 4, 3), False)):
        model, jacobian = model_of(sizes)
        group = GroupFit(sample_of(model, 200), model, jacobian)
        a, b = m2_and_c2(group)
        assert (a is b) == same and b.df == c2(group).df
        np.testing.assert_allclose((a.statistic, b.statistic), (m2(group).statistic, c2(group).statistic), rtol=1e-9)


def test_baseline_is_the_model_of_independent_items():
    model, _ = model_of()
    y = sample_of(model, 300)
    share = np.zeros((1, *model.tables.shape[1:]))
    for j, k in enumerate(model.n_categories):
        share[0, j, :k] = np.bincount(y[:, j].astype(int), minlength=k) / len(y)
    item = np.repeat(np.arange(4), model.n_categories - 1)
    category = np.concatenate([np.arange(1, k) for k in model.n_categories])
    jacobian = np.zeros((*share.shape, len(item)))
    jacobian[0, item, category, np.arange(len(item))] = 1
    jacobian[0, item, 0, np.arange(len(item))] = -1
    independent = GroupFit(y, CategoryTables(np.ones(1), share, model.n_categories), jacobian)
    result = c2(independent)
    assert result.df == result.baseline_df == 6
    np.testing.assert_allclose(result.statistic, result.baseline_statistic, rtol=1e-9)
    np.testing.assert_allclose(m2(independent).statistic, m2(independent).baseline_statistic, rtol=1e-9)


def sample_of(model: CategoryTables, n: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    node = rng.choice(len(model.weights), n, p=model.weights)
    above = rng.random((n, len(model.n_categories), 1)) > model.tables[node].cumsum(-1)
    return np.minimum(above.sum(-1), model.n_categories - 1).astype(float)


def test_sum_score_probabilities_sum_to_one_and_rest_scores_are_exact():
    model, _ = model_of((3, 2, 5, 4, 2, 3, 2))
    np.testing.assert_allclose(lord_wingersky(model.tables, model.n_categories).sum(1), 1, atol=1e-13)
    rests = dict(leave_one_out(model.tables, model.n_categories))
    assert sorted(rests) == list(range(7))
    for j, rest in rests.items():
        others = np.delete(np.arange(7), j)
        again = lord_wingersky(model.tables[:, others], model.n_categories[others])
        np.testing.assert_allclose(rest, again, atol=1e-14)


def test_merging_keeps_counts_and_leaves_no_sparse_cell():
    model, _ = model_of((4, 2, 3, 5, 4))
    y = sample_of(model, 150)
    for o, e, k in zip(*score_tables(model, y), model.n_categories, strict=True):
        rows = merged((o, e), int(k), 1.0)
        assert len(rows) > 1
        assert min(min(row[1]) for row in rows) >= 1
        np.testing.assert_allclose(sum(sum(row[0]) for row in rows), o[1:-1].sum())
        np.testing.assert_allclose(sum(sum(row[1]) for row in rows), e[1:-1].sum())
        np.testing.assert_allclose(o.sum(1), e.sum(1))


def test_merging_where_hardly_anything_is_there():
    model, _ = model_of((5, 5))
    y = sample_of(model, 4)
    result = s_x2(model, y, np.zeros(2))
    assert np.isfinite(result.statistic).all()
    assert np.isnan(result.pvalue[result.df <= 0]).all()


def test_the_order_of_items_does_not_matter():
    model, jacobian = model_of((2, 4, 3, 2, 3))
    y, turn = sample_of(model, 400), np.array([3, 0, 4, 2, 1])
    other = CategoryTables(model.weights, model.tables[:, turn], model.n_categories[turn])
    for test in (m2, c2):
        a, b = test(GroupFit(y, model, jacobian)), test(GroupFit(y[:, turn], other, jacobian[:, turn]))
        np.testing.assert_allclose((a.statistic, a.cfi, a.srmsr), (b.statistic, b.cfi, b.srmsr), rtol=1e-8)
    q = np.full(5, 2)
    np.testing.assert_allclose(s_x2(model, y, q).statistic[turn], s_x2(other, y[:, turn], q).statistic, rtol=1e-9)
    np.testing.assert_allclose(ld_x2(model, y).x2[np.ix_(turn, turn)], ld_x2(other, y[:, turn]).x2, rtol=1e-9)
    np.testing.assert_allclose(g2(model, y, 8).statistic, g2(other, y[:, turn], 8).statistic, rtol=1e-9)


def test_weights_count_as_persons():
    model, jacobian = model_of()
    y = sample_of(model, 200)
    rows, which, count = np.unique(y, axis=0, return_inverse=True, return_counts=True)
    which = which.reshape(-1)
    a, b = c2(GroupFit(y, model, jacobian)), c2(GroupFit(rows, model, jacobian, None, count.astype(float)))
    np.testing.assert_allclose((a.statistic, a.rmsea, a.tli), (b.statistic, b.rmsea, b.tli), rtol=1e-8)
    tables = model.tables[np.arange(len(rows)) % len(model.tables)]
    np.testing.assert_allclose(
        item_mean_squares(tables[which], y).z_infit, item_mean_squares(tables, rows, count).z_infit, rtol=1e-9
    )
    expected = expected_scores(tables)
    np.testing.assert_allclose(q3(expected[which], y), q3(expected, rows, count), rtol=1e-9)


def test_missing_responses():
    model, jacobian = model_of()
    y = sample_of(model, 300)
    holes = y.copy()
    holes[np.random.default_rng(5).random(y.shape) < 0.1] = np.nan
    kept = holes[~np.isnan(holes).any(1)]
    assert c2(GroupFit(holes, model, jacobian)) == c2(GroupFit(kept, model, jacobian))
    np.testing.assert_array_equal(
        s_x2(model, holes, np.full(4, 2)).statistic, s_x2(model, kept, np.full(4, 2)).statistic
    )
    assert np.isnan(g2(model, holes, 8).statistic)
    at = model.tables[np.random.default_rng(6).integers(0, 21, len(y))]
    alone = holes.copy()
    alone[:, 2:] = np.nan
    squares, few = person_mean_squares(at, alone), person_mean_squares(at[:, :2], alone[:, :2])
    np.testing.assert_allclose(squares.z_outfit, few.z_outfit)
    np.testing.assert_allclose(zh(at, alone), zh(at[:, :2], alone[:, :2]))
    nobody = np.isnan(alone).all(1)
    assert nobody.any() and np.isnan(squares.infit[nobody]).all() and np.isnan(zh(at, alone)[nobody]).all()
    both = ~np.isnan(holes[:, :2]).any(1)
    pair = CategoryTables(model.weights, model.tables[:, :2], model.n_categories[:2])
    np.testing.assert_allclose(ld_x2(model, holes).x2[0, 1], ld_x2(pair, holes[both, :2]).x2[0, 1])
    residual = (y - expected_scores(at))[both]
    np.testing.assert_allclose(q3(expected_scores(at), holes)[0, 1], np.corrcoef(residual[:, 0], residual[:, 1])[0, 1])


def test_groups_with_parameters_of_their_own_add_up_and_shared_ones_cost_less():
    model, jacobian = model_of()
    groups = [GroupFit(sample_of(model, n, seed=n), model, jacobian) for n in (300, 500)]
    none = np.zeros_like(jacobian)
    apart = [
        replace(groups[0], jacobian=np.concatenate([jacobian, none], -1)),
        replace(groups[1], jacobian=np.concatenate([none, jacobian], -1)),
    ]
    both, single = c2(apart), [c2(g) for g in groups]
    np.testing.assert_allclose(both.statistic, sum(r.statistic for r in single), rtol=1e-9)
    np.testing.assert_allclose(both.baseline_statistic, sum(r.baseline_statistic for r in single), rtol=1e-9)
    assert both.df == sum(r.df for r in single)
    shared = c2(groups)
    assert shared.df == both.df + jacobian.shape[-1] and shared.statistic > both.statistic


def test_a_category_nobody_chose_and_an_item_all_answered_alike():
    model, jacobian = model_of()
    y = sample_of(model, 200)
    y[:, 0] = 1
    y[y[:, 1] == 3, 1] = 2
    result = c2(GroupFit(y, model, jacobian))
    assert np.isfinite([result.statistic, result.cfi, result.srmsr]).all()


def test_free_parameters_are_counted_by_item():
    _, jacobian = model_of()
    assert free_parameters(jacobian).tolist() == [2, 2, 2, 2]
    weight_jacobian = np.zeros((21, 9))
    weight_jacobian[:, 8] = 1
    wider = np.concatenate([jacobian, np.zeros_like(jacobian[..., :1])], -1)
    assert free_parameters(wider, weight_jacobian).tolist() == [3, 3, 3, 3]


def test_shapes_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="Expected weights"):
        CategoryTables(np.ones(3) / 3, np.ones((2, 4, 2)), np.full(4, 2))
    with pytest.raises(ValueError, match="at most 2 categories"):
        CategoryTables(np.ones(1), np.ones((1, 1, 2)), np.array([3]))
