"""Path diagrams: everything is drawn, nothing collides; and the matplotlib plots."""

from __future__ import annotations

import builtins
import re
import xml.etree.ElementTree as ElementTree
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from jaxlatent.plots import path_diagram
from jaxlatent.plots.arrange import arrange, general_factors
from jaxlatent.plots.geometry import Rect
from jaxlatent.plots.graph import build_graph
from jaxlatent.plots.names import OBSERVED_MAX, box_size, fit_name
from jaxlatent.plots.path_diagram import Panel, _Options, build_panel
from jaxlatent.plots.style import number, text_width

SVG = "{http://www.w3.org/2000/svg}"


def every_pair(names: list[str]) -> str:
    return "\n".join(f"{a} ~~ {b}" for a, b in combinations(names, 2))


MODELS = {
    "three factors": "visual =~ x1+x2+x3\ntextual =~ x4+x5+x6\nspeed =~ x7+x8+x9\n"
    + every_pair(["visual", "textual", "speed"]),
    "political democracy": "ind60 =~ x1+x2+x3\ndem60 =~ y1+y2+y3+y4\ndem65 =~ y5+y6+y7+y8\ndem60 ~ ind60\n"
    "dem65 ~ ind60+dem60\ny1 ~~ y5\ny2 ~~ y4+y6\ny3 ~~ y7\ny4 ~~ y8\ny6 ~~ y8",
    "second order": "visual =~ x1+x2+x3\ntextual =~ x4+x5+x6\nspeed =~ x7+x8+x9\ng =~ visual+textual+speed",
    "bifactor": "g =~ x1+x2+x3+x4+x5+x6+x7+x8+x9\nvis =~ x1+x2+x3\ntxt =~ x4+x5+x6\nspd =~ x7+x8+x9",
    "mimic": "visual =~ x1+x2+x3\ntextual =~ x4+x5+x6\nspeed =~ x7+x8+x9\nvisual ~ sex+age+school\n"
    "textual ~ sex+age+school\nspeed ~ sex+age+school\n" + every_pair(["visual", "textual", "speed"]),
    "mediation": "x9 ~ x1+x4+x7\nx4 ~ x1\nx7 ~ x1\nx4 ~~ x7",
    "growth": "i =~ t1+t2+t3+t4\ns =~ t2+t3+t4\ni ~~ s\ni ~ x1+x2\ns ~ x1+x2\nt1 ~ c1\nt2 ~ c2\nt3 ~ c3\nt4 ~ c4",
    "six factors": "\n".join(f"F{i} =~ " + "+".join(f"item{i}_{j}" for j in range(1, 6)) for i in range(1, 7))
    + "\n"
    + every_pair([f"F{i}" for i in range(1, 7)]),
    "planned behaviour": "Attitude =~ a1+a2+a3\nNorms =~ n1+n2+n3\nControl =~ c1+c2\nIntention =~ i1+i2+i3\n"
    "Behaviour =~ b1+b2\nIntention ~ Attitude+Norms+Control\nBehaviour ~ Intention+Control\n"
    + every_pair(["Attitude", "Norms", "Control"]),
    "one factor": "f =~ a+b+c+d+e",
    "cycle": "y1 ~ y2+x1\ny2 ~ y1+x2\nx1 ~~ x2",
}


def rows_of(text: str) -> list[tuple[str, str, str, int]]:
    """lhs, op, rhs and whether free; the first loading of a factor is fixed."""
    rows = []
    for line in text.splitlines():
        match = re.match(r"([^~=\s]+)\s*(=~|~~|~)\s*(.*)", line)
        assert match is not None
        left, op, right = match.groups()
        rows += [(left, op, name.strip(), int(op != "=~" or k > 0)) for k, name in enumerate(right.split("+"))]
    names = dict.fromkeys(name for left, _, right, _ in rows for name in (left, right))
    return rows + [(name, "~~", name, 1) for name in names]


def table(text: str, seed: int = 0) -> tuple[pd.DataFrame, list[str], list[str]]:
    """A parameter table with made-up estimates, its latent and its observed variables."""
    rows = rows_of(text)
    frame = pd.DataFrame(rows, columns=["lhs", "op", "rhs", "free"])
    rng = np.random.default_rng(seed)
    frame["est"] = rng.uniform(0.2, 0.9, len(frame)) * np.where(rng.random(len(frame)) < 0.2, -1, 1)
    frame["std_all"] = frame["est"]
    frame["se"] = np.where(frame["free"] > 0, 0.1, 0.0)
    frame["pvalue"] = np.where(frame["free"] > 0, 0.004, np.nan)
    frame["group"] = 1
    latent = list(dict.fromkeys(frame.loc[frame["op"] == "=~", "lhs"]))
    names = dict.fromkeys([*frame["lhs"], *frame["rhs"]])
    return frame, latent, [name for name in names if name not in latent]


def panel_of(text: str) -> Panel:
    frame, latent, observed = table(text)
    return build_panel(frame, latent, observed, _Options("std_all", False, False, 2, None))


def crossings(rects: list[Rect]) -> list[tuple[Rect, Rect]]:
    return [(a, b) for a, b in combinations(rects, 2) if a.overlap(b) > 0]


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_is_drawn_once_and_the_xml_is_valid(name: str) -> None:
    frame, latent, observed = table(MODELS[name])
    root = ElementTree.fromstring(path_diagram(frame, latent=latent, observed=observed).svg)
    drawn = [element.get("data-parameter") for element in root.iter(f"{SVG}g") if element.get("class") == "parameter"]
    assert sorted(drawn) == sorted(f"{row.lhs} {row.op} {row.rhs}" for row in frame.itertuples())
    boxes = [g.get("data-name") for g in root.iter(f"{SVG}g") if g.get("class") in ("latent", "observed")]
    assert sorted(boxes) == sorted([*latent, *observed])
    values = [text.text for text in root.iter(f"{SVG}text") if text.get("class") == "value"]
    assert sorted(values) == sorted(number(v, leading_zero=False) for v in frame["std_all"])


@pytest.mark.parametrize("name", MODELS)
def test_boxes_and_numbers_do_not_overlap(name: str) -> None:
    panel = panel_of(MODELS[name])
    boxes = list(panel.layout.boxes.values())
    numbers = [*panel.labels, *(mark.label for mark in panel.marks)]
    assert crossings(boxes) == []
    assert crossings(numbers) == []
    assert [(box, label) for box in boxes for label in numbers if box.overlap(label) > 0] == []


@pytest.mark.parametrize("name", MODELS)
def test_lines_do_not_pass_through_other_boxes(name: str) -> None:
    panel = panel_of(MODELS[name])
    through = [
        (route.edge.parameter.name, box)
        for route in panel.routes
        for box, rect in panel.layout.boxes.items()
        if box not in (route.edge.source, route.edge.target) and rect.count_inside(route.curve.sample(80)) > 0
    ]
    assert through == []


@pytest.mark.parametrize("name", MODELS)
def test_arrows_end_on_the_boxes_they_join(name: str) -> None:
    panel = panel_of(MODELS[name])
    for route in panel.routes:
        for point, box in ((route.curve.start, route.edge.source), (route.curve.end, route.edge.target)):
            rect = panel.layout.boxes[box]
            assert rect.grown(0.5).count_inside(np.array([point])) == 1
            assert rect.grown(-rect.height / 4).count_inside(np.array([point])) == 0


def test_residual_arcs_of_political_democracy_stay_outside_the_indicators() -> None:
    panel = panel_of(MODELS["political democracy"])
    outside = max(panel.layout.boxes[f"y{i}"].right for i in range(1, 9)) - 0.01
    arcs = [route for route in panel.routes if route.double]
    assert len(arcs) == 6
    assert all((route.curve.sample()[:, 0] >= outside).all() for route in arcs)


def test_predictors_stand_before_outcomes_and_bifactor_specifics_behind_the_indicators() -> None:
    layout = panel_of(MODELS["mimic"]).layout
    assert layout.boxes["sex"].right < layout.boxes["visual"].left < layout.boxes["x1"].left
    layout = panel_of(MODELS["bifactor"]).layout
    assert layout.boxes["g"].right < layout.boxes["x5"].left and layout.boxes["x5"].right < layout.boxes["txt"].left
    layout = panel_of(MODELS["second order"]).layout
    assert layout.boxes["g"].bottom < layout.boxes["visual"].top < layout.boxes["x1"].top


def test_general_factors_and_cycles_are_recognised() -> None:
    frame, latent, observed = table(MODELS["bifactor"])
    assert general_factors(build_graph(frame, latent, observed, "est")) == ("g",)
    frame, latent, observed = table("a ~ b\nb ~ c\nc ~ a\na ~ a")
    assert set(arrange(build_graph(frame, latent, observed, "est")).ranks) == {"a", "b", "c"}
    assert "<svg" in path_diagram(frame, latent=latent, observed=observed).svg


def test_zero_paths_are_left_out_and_fixed_ones_are_dashed() -> None:
    frame, latent, observed = table("f =~ a+b+c")
    frame.loc[frame["rhs"] == "b", ["est", "std_all", "se", "free"]] = 0.0
    svg = path_diagram(frame, latent=latent, observed=observed).svg
    assert 'data-parameter="f =~ b"' not in svg
    marker = re.search(r'data-parameter="f =~ a">.*?</g>', svg)
    free = re.search(r'data-parameter="f =~ c">.*?</g>', svg)
    assert marker and "stroke-dasharray" in marker.group()
    assert free and "stroke-dasharray" not in free.group()


def test_names_are_escaped_fitted_and_kept_whole_in_the_tooltip() -> None:
    long_name = "averyveryverylongnamewithoutanyseparator"
    frame, latent, observed = table(f"f =~ <b>&x+{long_name}+ordinary_but_rather_long_name")
    diagram = path_diagram(frame, latent=latent, observed=observed, title="<i>title</i>")
    assert "<b>" not in diagram.svg and "<i>" not in diagram.svg and "&lt;b&gt;&amp;x" in diagram.svg
    titles = [title.text for title in ElementTree.fromstring(diagram.svg).iter(f"{SVG}title")]
    assert long_name in titles
    fitted = fit_name(long_name, OBSERVED_MAX)
    assert fitted.width <= OBSERVED_MAX + 1e-9 and "…" in fitted.lines[0]
    assert fit_name("x1", OBSERVED_MAX).lines == ("x1",)
    assert len(fit_name("ordinary_but_rather_long_name", OBSERVED_MAX).lines) == 2
    assert box_size("x1", False, False)[0] < box_size("household_income", False, False)[0]
    assert text_width("mmmm", 10) > text_width("iiii", 10)


def test_groups_are_panels_or_one_is_chosen() -> None:
    frame, latent, observed = table(MODELS["one factor"])
    both = pd.concat([frame.assign(group="girls"), frame.assign(group="boys")], ignore_index=True)
    total = pd.DataFrame([{"lhs": "d", "op": ":=", "rhs": "a-b", "group": "", "est": 1.0, "std_all": 1.0, "se": 0.1}])
    both = pd.concat([both, total], ignore_index=True)
    root = ElementTree.fromstring(path_diagram(both, latent=latent, observed=observed).svg)
    assert sum(g.get("class") == "panel" for g in root.iter(f"{SVG}g")) == 2
    assert {"girls", "boys"} <= {text.text for text in root.iter(f"{SVG}text")}
    single = path_diagram(both, latent=latent, observed=observed, group="boys").svg
    assert single.count('class="panel"') == 1
    with pytest.raises(ValueError, match="girls"):
        path_diagram(both, latent=latent, observed=observed, group="cats")


def test_levels_are_panels() -> None:
    frame, latent, observed = table(MODELS["one factor"])
    both = pd.concat([frame.assign(level="within"), frame.assign(level="between")], ignore_index=True)
    svg = path_diagram(both, latent=latent, observed=observed).svg
    assert svg.count('class="panel"') == 2 and "level within" in svg and "level between" in svg


def test_intercepts_stars_columns_and_saving(tmp_path) -> None:
    frame, latent, observed = table("f =~ a+b+c")
    mean = frame.iloc[[1]].assign(lhs="a", op="~1", rhs="", est=4.94, std_all=2.5)
    frame = pd.concat([frame, mean], ignore_index=True)
    file = tmp_path / "model.svg"
    diagram = path_diagram(
        frame, latent=latent, observed=observed, intercepts=True, stars=True, column="est", path=file
    )
    assert file.read_text(encoding="utf-8") == diagram.svg == diagram._repr_svg_()
    assert "μ 4.94**" in diagram.svg and 'data-parameter="a ~1"' in diagram.svg
    assert "4.94" not in path_diagram(frame, latent=latent, observed=observed, column="est").svg
    with pytest.raises(ValueError, match="nothing_like_it"):
        path_diagram(frame, latent=latent, observed=observed, column="nothing_like_it")


def test_sample_moments_of_many_exogenous_variables_are_left_out() -> None:
    predictors = [f"x{i}" for i in range(1, 7)]
    frame, latent, observed = table("y ~ " + "+".join(predictors) + "\n" + every_pair(predictors))
    frame.loc[(frame["op"] == "~~") & (frame["lhs"] != "y"), ["free", "se"]] = 0
    assert "x1 ~~ x2" not in path_diagram(frame, latent=latent, observed=observed).svg
    assert "x1 ~~ x2" in path_diagram(frame, latent=latent, observed=observed, exogenous=True).svg


def test_residual_heat_map() -> None:
    pytest.importorskip("matplotlib")
    from jaxlatent.plots.residual_plots import residuals

    matrix = pd.DataFrame([[0.0, 0.2], [0.2, 0.0]], index=["a", "b"], columns=["a", "b"])
    ax = residuals(matrix)
    assert sorted(text.get_text() for text in ax.texts) == [".00", ".00", ".20"]
    image = ax.images[0]
    assert image.norm.vmin == -image.norm.vmax == -0.2
    with pytest.raises(ValueError, match="square"):
        residuals(matrix.iloc[:1])


def test_forest_plot_scores_and_modification_indices(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    from jaxlatent.plots.parameter_plots import factor_scores, modification_indices, parameters

    frame, _, _ = table(MODELS["three factors"])
    frame["ci_lower"], frame["ci_upper"] = frame["est"] - 0.2, frame["est"] + 0.2
    ax = parameters(frame, op="=~", path=tmp_path / "forest.png")
    assert [label.get_text() for label in ax.get_yticklabels()][:2] == ["visual =~ x2", "visual =~ x3"]
    assert len(ax.get_yticklabels()) == 6 and (tmp_path / "forest.png").stat().st_size > 1000
    with pytest.raises(ValueError, match=":="):
        parameters(frame, op=":=")
    scores = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 2)), columns=["f", "g"]).assign(f_se=0.3)
    figure = factor_scores(scores).get_figure()
    assert figure is not None and len(figure.axes) == 4
    indices = pd.DataFrame(
        {"lhs": ["a", "f"], "op": ["~~", "=~"], "rhs": ["b", "c"], "mi": [3.0, 12.0], "epc": [-1, 1]}
    )
    bars = modification_indices(indices)
    assert [label.get_text() for label in bars.get_yticklabels()] == ["f =~ c", "a ~~ b"]


def test_missing_matplotlib_gives_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from jaxlatent.plots.residual_plots import residuals

    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r'pip install "jaxlatent\[plots\]"'):
        residuals(pd.DataFrame([[0.0]], index=["a"], columns=["a"]))
    frame, latent, observed = table(MODELS["one factor"])
    assert "<svg" in path_diagram(frame, latent=latent, observed=observed).svg
