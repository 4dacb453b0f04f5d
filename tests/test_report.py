"""The printed summary, its HTML, and the report page."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest

from jaxlatent.plots import path_diagram
from jaxlatent.report import Summary, SummaryInfo, build_summary, report_html
from jaxlatent.report.svg import forest, heat_map
from jaxlatent.report.verdict import checks, headline

COLUMNS = ["lhs", "op", "rhs", "label", "est", "se", "z", "pvalue", "ci_lower", "ci_upper", "std_lv", "std_all"]
NAN = np.nan


def parameters(group: object = 1) -> pd.DataFrame:
    rows = [
        ("f", "=~", "x1", "", 1.0, 0.0, NAN, NAN, 1.0, 1.0, 0.9, 0.772),
        ("f", "=~", "x2", "a", 0.554, 0.1, 5.554, 0.0, 0.36, 0.75, 0.5, 0.424),
        ("f", "=~", "<b>", "", 0.729, 0.109, 6.685, 0.0, 0.5, 0.9, 0.656, -0.581),
        ("f", "~", "z", "", 0.25, 0.08, 3.1, 0.0021, 0.1, 0.4, 0.2, 0.222),
        ("x1", "~~", "x2", "", 0.11, 0.05, 2.2, 0.028, 0.01, 0.2, 0.11, 0.131),
        ("x1", "~1", "", "", 4.936, 0.067, 73.5, 0.0, 4.8, 5.1, 4.936, 4.235),
        ("x1", "~~", "x1", "", 0.549, 0.114, 4.833, 0.0, 0.3, 0.8, 0.549, 0.404),
        ("f", "~~", "f", "", 0.809, 0.145, 5.564, 0.0, 0.5, 1.1, 1.0, 0.95),
        ("z", "~~", "z", "", 1.234, 0.0, NAN, NAN, 1.234, 1.234, 1.234, 1.0),
    ]
    return pd.DataFrame(rows, columns=COLUMNS).assign(group=group, free=lambda frame: (frame["se"] > 0).astype(int))


def with_defined(frame: pd.DataFrame) -> pd.DataFrame:
    row = dict(zip(COLUMNS, ("ab", ":=", "a*b", "ab", 0.777, 0.2, 3.9, 0.0001, 0.4, 1.2, 0.7, 0.7), strict=True))
    return pd.concat([frame, pd.DataFrame([{**row, "group": "", "free": 0}])], ignore_index=True)


MEASURES = pd.Series(
    {
        "npar": 21, "chisq": 85.306, "df": 24, "pvalue": 8.5e-9, "baseline_chisq": 918.852, "baseline_df": 36,
        "baseline_pvalue": 0.0, "cfi": 0.9306, "tli": 0.896, "logl": -3737.745, "unrestricted_logl": -3695.092,
        "aic": 7517.49, "bic": 7595.339, "bic2": 7528.739, "rmsea": 0.0921, "rmsea_ci_lower": 0.0714,
        "rmsea_ci_upper": 0.1137, "rmsea_pvalue": 0.00066, "srmr": 0.0652,
    }
)  # fmt: skip
SCALED = {
    "chisq_scaled": 87.132, "df_scaled": 24, "pvalue_scaled": 0.0, "chisq_scaling_factor": 0.979,
    "cfi_scaled": 0.925, "cfi_robust": 0.9298, "tli_robust": 0.8947, "rmsea_scaled": 0.0934, "rmsea_robust": 0.0919,
    "rmsea_ci_lower_robust": 0.0724, "rmsea_ci_upper_robust": 0.1143,
}  # fmt: skip
INFO = SummaryInfo(
    title="A <model>", estimator="ML", optimizer="Newton", n_iterations=9, n_observations=301, se="standard"
)


def line(text: str, start: str) -> list[str]:
    """The cells of the first line that starts so."""
    for row in text.splitlines():
        if row.strip().startswith(start):
            return row.strip().removeprefix(start).split()
    raise AssertionError(f"no line starts with {start!r}")


def test_text_contains_the_numbers_in_their_columns() -> None:
    text = str(build_summary(INFO, parameters(), MEASURES))
    assert text == repr(build_summary(INFO, parameters(), MEASURES))
    assert line(text, "Test statistic") == ["85.306"]
    assert line(text, "Degrees of freedom") == ["24"]
    assert line(text, "Comparative Fit Index (CFI)") == ["0.931"]
    assert line(text, "Akaike (AIC)") == ["7517.490"]
    assert line(text, "SRMR") == ["0.065"]
    assert line(text, "x2") == ["(a)", "0.554", "0.100", "5.554", "0.000", "0.500", "0.424"]
    assert line(text, "x1") == ["1.000", "0.900", "0.772"]
    assert line(text, "z  ") == ["0.250", "0.080", "3.100", "0.002", "0.200", "0.222"]


def test_residual_names_have_dots_and_sections_come_in_order() -> None:
    text = str(build_summary(INFO, with_defined(parameters()), MEASURES))
    titles = ["Latent Variables:", "Regressions:", "Covariances:", "Intercepts:", "Variances:", "Defined Parameters:"]
    places = [text.index(title) for title in titles]
    assert places == sorted(places)
    variances = text[places[4] : places[5]]
    assert ".x1 " in variances and ".f " in variances and ".z " not in variances
    assert ".x1 ~~" in text[places[2] : places[3]]
    assert line(text, "ab")[0] == "0.777"


def test_columns_are_aligned() -> None:
    text = str(build_summary(INFO, parameters(), MEASURES))
    block = text[text.index("Latent Variables:") : text.index("Regressions:")].splitlines()
    ends = {row.rindex("0.") + 5 for row in block if re.search(r"\d\.\d{3}$", row)}
    assert ends == {block[1].rindex("Std.all") + 7}


def test_scaled_measures_stand_beside_the_standard_ones() -> None:
    text = str(build_summary(INFO, parameters(), pd.concat([MEASURES, pd.Series(SCALED)])))
    assert line(text, "Test statistic") == ["85.306", "87.132"]
    assert line(text, "Scaling correction factor") == ["0.979"]
    assert line(text, "Robust Comparative Fit Index (CFI)") == ["0.930"]
    plain = str(build_summary(INFO, parameters(), MEASURES))
    assert "Scaled" not in plain and "Robust" not in plain


def test_missing_measures_leave_their_lines_out() -> None:
    text = str(build_summary(INFO, parameters(), MEASURES.drop(["logl", "aic", "bic", "bic2", "unrestricted_logl"])))
    assert "Loglikelihood" not in text and "nan" not in text.lower()


def test_warnings_come_first_and_say_when_there_is_no_solution() -> None:
    info = SummaryInfo(title="T", converged=False, message="too many steps", warnings=("a negative variance",))
    text = str(build_summary(info, parameters(), MEASURES))
    assert text.count("WARNING:") == 2
    text = " ".join(text.split())
    assert (
        text.index("did not converge (too many steps)") < text.index("a negative variance") < text.index("Model Test")
    )
    assert 'role="alert"' in build_summary(info, parameters(), MEASURES)._repr_html_()


def test_groups_have_their_own_parts_with_their_sizes_and_r_square() -> None:
    frame = with_defined(pd.concat([parameters("girls"), parameters("boys")], ignore_index=True))
    r_squared = pd.DataFrame({"r2": [0.61, 0.62], "group": ["girls", "boys"]}, index=["x1", "x1"])
    info = SummaryInfo(n_observations={"girls": 156, "boys": 145})
    text = str(build_summary(info, frame, MEASURES, r_squared))
    girls, boys = text.index("Group: girls (n = 156)"), text.index("Group: boys (n = 145)")
    assert girls < text.index("0.610") < boys < text.index("0.620") < text.index("Defined Parameters")
    assert text.count("Defined Parameters") == 1 and line(text, "girls") == ["156"]


def test_levels_of_a_two_level_model_are_kept_apart() -> None:
    frame = pd.concat([parameters().assign(level="within"), parameters().assign(level="between")], ignore_index=True)
    text = str(build_summary(INFO, frame, MEASURES))
    assert text.index("Level: within") < text.index("Latent Variables") < text.index("Level: between")
    assert text.count("Latent Variables:") == 2 and "Level:" not in str(build_summary(INFO, parameters(), MEASURES))


@pytest.mark.parametrize("index", [["x1", "x2"], None])
def test_r_square_by_index_or_by_column(index: list[str] | None) -> None:
    frame = pd.DataFrame({"r2": [0.6, 0.18]}, index=index)
    frame = frame if index else frame.assign(variable=["x1", "x2"])
    text = str(build_summary(INFO, parameters(), MEASURES, frame))
    assert "R-Square" in text and "0.180" in text


def test_html_escapes_and_is_well_formed() -> None:
    summary = build_summary(INFO, parameters(), MEASURES)
    html = summary._repr_html_()
    assert "<b>" not in html and "&lt;b&gt;" in html and "A &lt;model&gt;" in html
    ElementTree.fromstring(f"<root>{html}</root>")
    with pytest.raises(AttributeError):
        summary.info = INFO  # type: ignore[misc]


def page(**changes: object) -> str:
    frame = parameters()
    names = ["x1", "x2", "<b>"]
    matrix = pd.DataFrame([[0, 0.1, NAN], [0.1, 0, -0.2], [NAN, -0.2, 0]], index=names, columns=names)
    indices = pd.DataFrame({"lhs": ["x1"], "op": ["~~"], "rhs": ["<b>"], "mi": [12.345], "epc": [-0.4]})
    settings: dict[str, object] = {
        "title": "A <title>",
        "summary": build_summary(SummaryInfo(title="SEM", warnings=("<script>alert(1)</script>",)), frame, MEASURES),
        "diagram": path_diagram(frame, latent=["f"], observed=[*names, "z"]),
        "parameters": frame,
        "measures": MEASURES,
        "residuals": matrix,
        "modification_indices": indices,
        "reliability": pd.DataFrame({"omega": [0.812]}, index=pd.Index(["<f>"], name="factor")),
        "version": "1.2.3",
        "notes": ("listwise deletion",),
    }
    return report_html(**{**settings, **changes})  # type: ignore[arg-type]


def test_report_is_self_contained_escaped_and_well_formed() -> None:
    html = page()
    assert html.startswith("<!DOCTYPE html>")
    root = ElementTree.fromstring(html.removeprefix("<!DOCTYPE html>"))
    tags = {element.tag.split("}")[-1] for element in root.iter()}
    assert not tags & {"script", "link", "img", "iframe", "b"}
    addresses = set(re.findall(r"https?://[^\"'\s<]+", html))
    assert addresses == {"http://www.w3.org/2000/svg"}
    assert "@import" not in html and "url(" not in html
    assert "&lt;script&gt;" in html and "A &lt;title&gt;" in html


def test_report_has_all_parts_and_warnings_first() -> None:
    html = page()
    for text in ("12.345", "0.812", "listwise deletion", "jaxlatent==1.2.3", "Hu and Bentler (1999)", "7517.490"):
        assert text in html
    assert html.count("<svg") == 3
    assert html.index("Read this first") < html.index("conventional criteria") < html.index("Path diagram")


def test_report_leaves_out_what_is_not_there() -> None:
    html = page(modification_indices=None, reliability=None, residuals={})
    assert "Modification indices" not in html and "Reliability" not in html and "Residual correlations" not in html
    frames = {"girls": pd.DataFrame([[0.0]], index=["a"], columns=["a"])} | {
        "boys": pd.DataFrame([[0.0]], columns=["a"])
    }
    assert page(residuals=frames).count("<h3>") == 2


def test_verdict_compares_with_the_stated_conventions() -> None:
    found = {check.name: check for check in checks(MEASURES)}
    assert [check.met for check in found.values()] == [False, False, False, True]
    assert found["RMSEA"].detail == "90% CI [0.071, 0.114]" and found["Chi-square"].value == "χ²(24) = 85.31"
    assert headline(list(found.values())) == "1 of 4 conventional criteria are met."
    robust = {check.name for check in checks(pd.concat([MEASURES, pd.Series(SCALED)]))}
    assert robust == {"Chi-square (scaled)", "CFI (robust)", "RMSEA (robust)", "SRMR"}
    saturated = checks(pd.Series({"chisq": 0.0, "df": 0, "pvalue": NAN}))
    assert saturated[0].met is None and headline(saturated).startswith("No measure")
    assert headline(checks(pd.Series(dtype=float))).startswith("No measure")


def test_svg_pictures_show_their_numbers() -> None:
    names = [f"v{i}" for i in range(4)]
    matrix = pd.DataFrame(np.full((4, 4), -0.125), index=names, columns=names)
    root = ElementTree.fromstring(heat_map(matrix))
    assert sum(text.text == "−.12" for text in root.iter("{http://www.w3.org/2000/svg}text")) == 10
    root = ElementTree.fromstring(forest(["<a>", "b"], [0.5, -0.25], [0.4, NAN], [0.6, NAN]))
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "<a>" in texts and "0.50  [0.40, 0.60]" in texts and "−0.25" in texts


def test_summary_is_immutable_and_prints_nothing_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    summary = build_summary(INFO, parameters(), MEASURES)
    assert isinstance(summary, Summary) and capsys.readouterr().out == ""
