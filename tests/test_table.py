"""The parameter table: the same rows as lavaan's, equality across groups, constraints, and the settings."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import shared_folder

from jaxlatent.spec.expressions import affine, evaluate
from jaxlatent.spec.syntax import parse
from jaxlatent.spec.table import ParameterTable, Row, build_table

SCHOOLS = ("Pasteur", "Grant-White")
EXPRESSIONS = (":=", "==", "<", ">")
THREE = "visual =~ x1 + x2 + x3\ntextual =~ x4 + x5 + x6\nspeed =~ x7 + x8 + x9"


# ---------------------------------------------------------------- lavaan's tables


def references() -> list[Any]:
    """Every stored answer with a model and a table of one level or more, rotated ones left out."""
    shared = shared_folder()
    if shared is None:
        return [pytest.param(None, marks=pytest.mark.skip(reason="no shared folder with reference answers"))]
    paths = [path for letter in "abcdefghi" for path in sorted((shared / "reference").glob(f"{letter}*.json"))]
    found = [(path, json.loads(path.read_text())) for path in paths]
    return [pytest.param(path, id=path.stem) for path, answer in found if answer.get("model") and "partable" in answer]


@pytest.fixture
def reference(request: pytest.FixtureRequest) -> dict[str, Any]:
    path: Path = request.param
    return json.loads(path.read_text())


def columns(answer: dict[str, Any], *names: str) -> list[tuple[Any, ...]]:
    """These columns of lavaan's table, row by row, without definitions and constraints."""
    table = answer["partable"]
    n = len(table["lhs"])
    read = [table[name] if isinstance(table.get(name), list) else [table.get(name, 1)] * n for name in names]
    rows = zip(*read, strict=True)
    return [row for row, op in zip(rows, table["op"], strict=True) if op not in EXPRESSIONS]


def options(answer: dict[str, Any]) -> dict[str, Any]:
    """The settings of the stored R call."""
    call, note = " ".join(answer["call"].split()), answer["note"] or ""
    found: dict[str, Any] = {"growth": call.startswith("growth")}
    for ours, theirs in {"std_lv": "std.lv", "orthogonal": "orthogonal", "effect_coding": "effect.coding"}.items():
        found[ours] = f"{theirs} = TRUE" in call
    equal = re.search(r'group\.equal = "(\w+)"', call)
    if 'group = "school"' in call:
        found["groups"] = SCHOOLS
        found["group_equal"] = [equal[1]] if equal else re.findall(r"\w+", note.split("group.equal =")[1])
    # the text of a call does not always say so: FIML, robust estimators and clusters bring a mean structure
    found["mean_structure"] = any(op == "~1" for (op,) in columns(answer, "op"))
    thresholds = [lhs for lhs, op, group in columns(answer, "lhs", "op", "group") if op == "|" and group == 1]
    found["ordered"] = {name: thresholds.count(name) + 1 for name in thresholds}
    return found


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def number(row: Row) -> float | None:
    """lavaan's ustart: the value of a fixed row, the start of a free one."""
    value = row.start if row.free else row.fixed
    return None if math.isnan(value) else value


@pytest.mark.parametrize("reference", references(), indirect=True)
def test_rows_are_lavaans(reference: dict[str, Any]) -> None:
    table = build_table(reference["model"], **options(reference))
    assert [(row.lhs, row.op, row.rhs, row.group, row.level) for row in table.rows] == columns(
        reference, "lhs", "op", "rhs", "group", "level"
    )
    assert [int(row.free > 0) for row in table.rows] == [int(free > 0) for (free,) in columns(reference, "free")]
    assert [(row.user, number(row), row.exo) for row in table.rows] == columns(reference, "user", "ustart", "exo")
    assert [(row.label, row.plabel) for row in table.rows] == columns(reference, "label", "plabel")
    assert list(table.observed) == as_list(reference["ov_names"])
    assert list(table.latent) == as_list(reference["lv_names"])


@pytest.mark.parametrize("reference", references(), indirect=True)
def test_number_of_parameters_is_lavaans(reference: dict[str, Any]) -> None:
    assert n_parameters(build_table(reference["model"], **options(reference))) == reference["npar"]


@pytest.mark.parametrize("reference", references(), indirect=True)
def test_definitions_are_lavaans(reference: dict[str, Any]) -> None:
    table, theirs = build_table(reference["model"], **options(reference)), reference["partable"]
    rows = zip(theirs["lhs"], theirs["op"], theirs["rhs"], strict=True)
    assert [(d.name, d.text) for d in table.definitions] == [(lhs, rhs) for lhs, op, rhs in rows if op == ":="]


def n_parameters(table: ParameterTable) -> int:
    """Free parameters less the rank of the equalities, from complex steps at a random point."""
    point = dict(
        zip(table.free_labels, np.random.default_rng(0).normal(size=table.n_free)[_places(table)], strict=True)
    )
    equalities = [constraint for constraint in table.constraints if constraint.op == "=="]
    jacobian = np.zeros((len(equalities), table.n_free))
    for row, constraint in zip(jacobian, equalities, strict=True):
        for free in range(1, table.n_free + 1):
            step = {name: point[name] + 1e-20j * (at == free) for name, at in table.free_labels.items()}
            row[free - 1] = np.imag(evaluate(constraint.lhs, step) - evaluate(constraint.rhs, step)) / 1e-20
    return table.n_free - (int(np.linalg.matrix_rank(jacobian)) if equalities else 0)


def _places(table: ParameterTable) -> np.ndarray:
    return np.array([free - 1 for free in table.free_labels.values()])


# ---------------------------------------------------------------- rows


def row_of(table: ParameterTable, text: str, group: int = 1) -> Row:
    term = parse(text).terms[0]
    return next(r for r in table.rows if (r.lhs, r.op, r.rhs, r.group) == (term.lhs, term.op, term.rhs, group))


def is_free(table: ParameterTable, text: str, group: int = 1) -> bool:
    return row_of(table, text, group).free > 0


def test_bare_table_has_only_what_is_written() -> None:
    table = build_table("f =~ x1 + x2\nf ~ w", auto=False)
    assert [(row.lhs, row.op, row.rhs, row.exo) for row in table.rows] == [
        ("f", "=~", "x1", 0),
        ("f", "=~", "x2", 0),
        ("f", "~", "w", 0),
        ("w", "~~", "w", 1),
    ]
    assert is_free(table, "f =~ x1")


def test_random_predictors() -> None:
    table = build_table("y ~ x + z", fixed_x=False, mean_structure=True)
    assert table.exogenous == ()
    assert is_free(table, "x ~~ z") and is_free(table, "x ~ 1") and row_of(table, "x ~~ x").exo == 0
    assert build_table("y ~ x + z").exogenous == ("x", "z")


def test_a_predictor_with_a_written_variance_is_random() -> None:
    table = build_table("y ~ x + z\nx ~~ x")
    assert table.exogenous == ("z",)
    assert is_free(table, "x ~~ x") and not is_free(table, "z ~~ z")


def test_single_indicator_has_no_error() -> None:
    assert row_of(build_table("f =~ x"), "x ~~ x").fixed == 0.0
    assert is_free(build_table("f =~ x\nx ~~ x"), "x ~~ x")


def test_last_outcomes_are_correlated() -> None:
    table = build_table("f =~ x1 + x2\ng =~ x3 + x4\nf + g ~ w\ny ~ w\nz ~ y")
    pairs = [(row.lhs, row.rhs) for row in table.rows if row.op == "~~" and row.lhs != row.rhs]
    assert pairs == [("f", "g"), ("f", "z"), ("g", "z")]
    assert not is_free(build_table("f =~ x1 + x2\ng =~ x3 + x4\nf + g ~ w", orthogonal=True), "f ~~ g")


@pytest.mark.parametrize(
    ("text", "settings", "cell", "value"),
    [
        ("f =~ x1 + x2", {}, "f =~ x1", 1.0),
        ("f =~ NA*x1 + x2", {}, "f =~ x1", None),
        ("f =~ start(0.5)*x1 + x2", {}, "f =~ x1", 1.0),
        ("f =~ x1 + x2", {"std_lv": True}, "f =~ x1", None),
        ("f =~ x1 + x2", {"std_lv": True}, "f ~~ f", 1.0),
        ("f =~ x1 + x2\nf ~~ NA*f", {"std_lv": True}, "f ~~ f", None),
        ("f =~ x1 + x2", {"effect_coding": True, "mean_structure": True}, "f ~ 1", None),
        ("f =~ x1 + x2", {"mean_structure": True}, "f ~ 1", 0.0),
        ("f =~ x1 + x2", {"mean_structure": True}, "x1 ~ 1", None),
        ("f =~ x1 + x2", {"growth": True}, "f ~ 1", None),
        ("f =~ x1 + x2", {"growth": True}, "x1 ~ 1", 0.0),
        ("f =~ x1 + x2\nx1 ~ 1", {"growth": True}, "x1 ~ 1", None),
        ("f =~ x1 + x2\nf ~ 0", {"growth": True}, "f ~ 1", 0.0),
        ("f =~ x1 + x2\nf ~ 3*1", {}, "f ~ 1", 3.0),
        ("f =~ x1 + x2", {"ordered": ["x1"]}, "x1 ~~ x1", 1.0),
        ("f =~ x1 + x2", {"ordered": ["x1"]}, "x1 ~*~ x1", 1.0),
        ("f =~ x1 + x2", {"ordered": {"x1": 3}}, "x1 | t2", None),
    ],
)
def test_fixed_or_free(text: str, settings: dict[str, Any], cell: str, value: float | None) -> None:
    row = row_of(build_table(text, **settings), cell)
    assert (None if row.free else row.fixed) == value


def test_start_prior_and_bounds() -> None:
    table = build_table('f =~ x1 + start(0.7)*x2 + prior("normal(0,1)")*x3 + lower(0)*upper(2)*x4')
    assert row_of(table, "f =~ x2").start == 0.7
    assert row_of(table, "f =~ x3").prior == "normal(0,1)" and row_of(table, "f =~ x2").prior is None
    assert [constraint.text for constraint in table.constraints] == [".p4. > 0", ".p4. < 2"]


def test_equal_labels_share_a_number() -> None:
    table = build_table("f =~ x1 + a*x2 + a*x3\ng =~ y1 + a*y2 + equal('f =~ x4')*y3\nf =~ x4")
    numbers = [row_of(table, text).free for text in ("f =~ x2", "f =~ x3", "g =~ y2", "f =~ x4", "g =~ y3")]
    assert numbers == [1, 1, 1, 2, 2]
    assert table.free_labels["a"] == table.free_labels[".p2."] == 1


def test_equal_takes_a_label_too() -> None:
    table = build_table("f =~ x1 + a*x2 + equal('a')*x3 + equal('f=~x3')*x4")
    assert {row_of(table, f"f =~ {name}").free for name in ("x2", "x3", "x4")} == {1}
    assert {row_of(table, f"f =~ {name}").label for name in ("x2", "x3", "x4")} == {"a"}


def test_a_label_spreads_a_fixed_value() -> None:
    table = build_table("f =~ a*x1 + a*x2\nx1 ~~ b*x1\nd := a*b")
    assert row_of(table, "f =~ x2").fixed == 1.0
    assert "a" not in table.free_labels
    assert evaluate(table.definitions[0].expression, {"b": 3.0}) == 3.0


def test_frame() -> None:
    frame = build_table("f =~ x1 + a*x2\nd := 2*a\na > 0").to_frame()
    assert list(frame["op"]) == ["=~", "=~", "~~", "~~", "~~", ":=", ">"]
    assert list(frame["id"]) == [1, 2, 3, 4, 5, 6, 7]
    assert frame.loc[5, ["lhs", "rhs", "label"]].tolist() == ["d", "2*a", "d"]


def test_tables_can_be_hashed() -> None:
    assert hash(build_table(THREE)) != hash(build_table(THREE, orthogonal=True))


# ---------------------------------------------------------------- groups


@pytest.mark.parametrize("scale", [{}, {"std_lv": True}, {"effect_coding": True}])
@pytest.mark.parametrize(
    ("equal", "npar"),
    [
        ((), 60),
        (("loadings",), 54),
        (("loadings", "intercepts"), 48),
        (("loadings", "intercepts", "residuals"), 39),
        (("loadings", "intercepts", "residuals", "means"), 36),
        (("loadings", "lv.variances", "lv_covariances"), 48),
    ],
)
def test_scale_does_not_change_the_number_of_parameters(
    scale: dict[str, bool], equal: tuple[str, ...], npar: int
) -> None:
    table = build_table(THREE, groups=SCHOOLS, group_equal=equal, mean_structure=True, **scale)
    assert n_parameters(table) == npar


def test_group_partial_releases() -> None:
    equal = ("loadings", "intercepts")
    table = build_table(THREE, groups=SCHOOLS, group_equal=equal, group_partial=["visual=~x2", "x7~1"])
    assert table.n_free == 50
    assert row_of(table, "visual =~ x2").free != row_of(table, "visual =~ x2", 2).free
    assert row_of(table, "visual =~ x3").free == row_of(table, "visual =~ x3", 2).free
    assert is_free(table, "speed ~ 1", 2) and not is_free(table, "speed ~ 1", 1)


def test_group_partial_takes_covariances_in_either_order() -> None:
    table = build_table(THREE, groups=SCHOOLS, group_equal=["lv_covariances"], group_partial="textual ~~ visual")
    assert row_of(table, "visual ~~ textual").free != row_of(table, "visual ~~ textual", 2).free
    assert row_of(table, "visual ~~ speed").free == row_of(table, "visual ~~ speed", 2).free


def test_equal_regressions_and_residual_covariances() -> None:
    table = build_table("y + z ~ x", groups=SCHOOLS, group_equal=["regressions", "residual.covariances"])
    for text in ("y ~ x", "z ~ x", "y ~~ z"):
        assert row_of(table, text).free == row_of(table, text, 2).free
    assert row_of(table, "y ~~ y").free != row_of(table, "y ~~ y", 2).free


def test_modifiers_for_each_group() -> None:
    table = build_table("f =~ x1 + c(a, b)*x2 + c(NA, 0.5)*x3 + c(w, w)*x4 + v*x5", groups=SCHOOLS)
    assert row_of(table, "f =~ x2").label == "a" and row_of(table, "f =~ x2", 2).label == "b"
    assert is_free(table, "f =~ x3") and row_of(table, "f =~ x3", 2).fixed == 0.5
    for text in ("f =~ x4", "f =~ x5"):
        assert row_of(table, text).free == row_of(table, text, 2).free


def test_group_blocks_by_number_and_label() -> None:
    table = build_table("group: 2\nf =~ x1 + 2*x2\ngroup: Pasteur\nf =~ x1 + a*x2 + x3", groups=SCHOOLS)
    assert [row.group for row in table.rows if row.user] == [1, 1, 1, 2, 2]
    assert row_of(table, "f =~ x2", 2).fixed == 2.0 and row_of(table, "f =~ x2").label == "a"
    assert table.groups == SCHOOLS and table.n_groups == 2


def test_group_equal_says_nothing_about_one_group() -> None:
    assert build_table(THREE, group_equal=["intercepts"]) == build_table(THREE)


def test_equal_thresholds_free_later_scales_and_means() -> None:
    ordered = {"x1": 3, "x2": 3, "x3": 3}
    table = build_table("f =~ x1 + x2 + x3", groups=SCHOOLS, ordered=ordered, group_equal=["loadings", "thresholds"])
    assert row_of(table, "x1 | t1").free == row_of(table, "x1 | t1", 2).free
    assert is_free(table, "x1 ~*~ x1", 2) and not is_free(table, "x1 ~*~ x1") and is_free(table, "f ~ 1", 2)


# ---------------------------------------------------------------- constraints


def test_effect_coding_constraints() -> None:
    table = build_table("f =~ x1 + x2 + x3", effect_coding=True, mean_structure=True)
    assert [c.text for c in table.constraints] == [".p1. == 3-.p2.-.p3.", ".p8. == 0-.p9.-.p10."]
    assert affine(table.constraints[0].rhs) == ({".p2.": -1.0, ".p3.": -1.0}, 3.0)


def test_effect_coding_leaves_a_factor_whose_loadings_are_set() -> None:
    assert build_table("f =~ 1*x1 + x2 + x3", effect_coding=True).constraints == ()


def test_constraints_see_through_definitions_and_fixed_values() -> None:
    table = build_table("y ~ a*x + b*z + 2*c*w\nd := a + c\ne := 2*d\ne == 3*b")
    assert affine(table.constraints[0].lhs) == ({"a": 2.0}, 4.0)
    assert affine(table.constraints[0].rhs) == ({"b": 3.0}, 0.0)
    assert [d.text for d in table.definitions] == ["a+c", "2*d"]


def test_constraints_may_use_plabels() -> None:
    table = build_table("f =~ x1 + x2 + x3\n.p2. == .p3.")
    assert n_parameters(table) == 5


def test_true_constants_are_dropped() -> None:
    assert build_table("y ~ a*x\n2 == 1 + 1\n2 > 1").constraints == ()
