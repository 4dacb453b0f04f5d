"""Plots, summary and report of item response fits: what is drawn and printed are the model's numbers.

Only one model is estimated; the others are put together at given parameters, so that nothing has to be compiled twice.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from functools import cache

import numpy as np
import pandas as pd
import pytest

import jaxlatent as jl
from jaxlatent.inference.estimate import Estimate
from jaxlatent.inference.marginal_fit import ItemFitted, choose_rule, item_layout
from jaxlatent.inference.settings import MarginalML
from jaxlatent.irt_fit import ItemResponseFit

pytest.importorskip("matplotlib")

LSAT = [f"Item.{j}" for j in range(1, 6)]


@cache
def estimated() -> ItemResponseFit:
    return jl.IRT("2pl").fit(jl.datasets.load("lsat7"))


def given(model: jl.IRT, data: pd.DataFrame, group: str | None = None) -> ItemResponseFit:
    """The model at made-up parameters: slopes around 1, decreasing intercepts, standard errors of 0.1."""
    p = model._prepare(data, group, None)
    layout = item_layout(p.table)
    rng = np.random.default_rng(0)
    values = np.zeros(p.table.n_free)
    for row in p.table.rows:
        if row.free:
            k = {"intercepts": 1.5 - row.cell[-1], "spacing": 1.5 - row.cell[-1], "dispersion": 0.8, "guessing": 0.2}
            by_matrix = {**k, "factor_cov": 0.8 if row.lhs == row.rhs else 0.4, "scoring": row.cell[-1], "shift": 0.2}
            values[row.free - 1] = by_matrix.get(row.matrix, 1.0) + 0.1 * rng.uniform()
    size = p.table.n_parameters
    estimate = Estimate(
        free=values, log_likelihood=np.float64(-1234.567), code=np.int32(1), steps=np.int32(7), vcov=None,
        statistics={"information": np.eye(size) * 100, "cross": np.eye(size) * 100}, draws=None,
    )  # fmt: skip
    engine = MarginalML()
    rule, why = choose_rule(engine, len(p.table.factors))
    fitted = ItemFitted(
        p.table, layout, p.measurement, p.coding, p.data, p.responses, engine, rule, why, p.priors, estimate, -1234.567,
        p.notes,
    )  # fmt: skip
    return ItemResponseFit(model, fitted, 0.0)


@cache
def bfi() -> pd.DataFrame:
    return jl.datasets.load("bfi").dropna().iloc[:300]


@cache
def two_factors() -> ItemResponseFit:
    names = {f: " + ".join(f"{f}{j}" for j in range(1, 6)) for f in "NE"}
    return given(jl.IRT("graded", f"N =~ {names['N']}\nE =~ {names['E']} + N1"), bfi().drop(columns=["gender", "age"]))


@cache
def wide() -> ItemResponseFit:
    return given(jl.IRT("graded"), bfi().iloc[:, :25])


@cache
def groups() -> ItemResponseFit:
    frame = bfi()[["A1", "A2", "A3", "gender"]].copy()
    return given(jl.IRT("graded", group_equal=("loadings", "intercepts")), frame, "gender")


@cache
def mixed() -> ItemResponseFit:
    types = {"N1": "normal", "N2": "graded", "N3": "nominal", "N4": "gpcm", "N5": "poisson"}
    return given(jl.IRT(types), bfi()[[f"N{j}" for j in range(1, 6)]])


def scored(fit: ItemResponseFit, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Made-up scores, so that none are computed."""
    names = fit._fitted.table.factors
    rng = np.random.default_rng(1)
    n = len(fit._fitted.data.codes)
    frame = pd.DataFrame({f: rng.normal(size=n) for f in names})
    errors = frame.add_suffix("_se") * 0 + 0.4

    def scores(self, data=None, method=None, return_se=False):
        return pd.concat([frame, errors], axis=1) if return_se else frame

    monkeypatch.setattr(ItemResponseFit, "scores", scores)
    return frame


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def axes_of(ax) -> list:
    return ax.get_figure().axes


def written(path) -> bool:
    return path.stat().st_size > 3000


def test_item_curves_of_binary_items_are_the_model(tmp_path) -> None:
    fit = estimated()
    path = tmp_path / "curves.png"
    panels = axes_of(fit.plot.item_curves(path=path))
    assert written(path) and [ax.get_title() for ax in panels] == LSAT
    for ax, name in zip(panels, LSAT, strict=True):
        (line,) = ax.get_lines()
        x, y = line.get_data()
        expected = sigmoid(fit.loadings.loc[name, "F1"] * x + fit.intercepts.loc[name, "intercept"])
        np.testing.assert_allclose(y, expected, atol=1e-12)
    both = fit.plot.category_curves("Item.2")
    zero, one = (line.get_ydata() for line in both.get_lines())
    np.testing.assert_allclose(zero + one, 1)
    assert [text.get_text() for text in both.get_figure().legends[0].get_texts()] == ["0", "1"]


def test_information_and_standard_error_are_the_model(tmp_path) -> None:
    fit = estimated()
    ax = fit.plot.information(tmp_path / "information.png")
    assert written(tmp_path / "information.png")
    lines = {line.get_label(): line for line in ax.get_lines()}
    x = lines["test"].get_xdata()
    each = {}
    for name in LSAT:
        a = fit.loadings.loc[name, "F1"]
        p = sigmoid(a * x + fit.intercepts.loc[name, "intercept"])
        each[name] = a**2 * p * (1 - p)
        np.testing.assert_allclose(lines[name].get_ydata(), each[name], rtol=1e-9)
    total = sum(each.values())
    np.testing.assert_allclose(lines["test"].get_ydata(), total, rtol=1e-9)
    error = axes_of(ax)[-1].get_lines()[0]
    np.testing.assert_allclose(error.get_ydata(), 1 / np.sqrt(total), rtol=1e-9)
    one = fit.plot.information(items=["Item.3"])
    np.testing.assert_allclose(one.get_lines()[0].get_ydata(), each["Item.3"], rtol=1e-9)
    assert one.get_figure().legends[0].get_texts()[0].get_text() == "Item.3"
    ax = fit.plot.standard_error(tmp_path / "error.png")
    ml, eap = (line.get_ydata() for line in ax.get_lines())
    np.testing.assert_allclose(ml, 1 / np.sqrt(total), rtol=1e-9)
    np.testing.assert_allclose(eap, 1 / np.sqrt(total + 1), rtol=1e-9)


def test_curves_of_ordered_categories_carry_raw_labels(tmp_path) -> None:
    fit = wide()
    path = tmp_path / "wide.png"
    first = fit.plot.item_curves(path=path)
    assert written(path) and len(axes_of(first)) == 25
    legend = first.get_figure().legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["1", "2", "3", "4", "5", "6"]
    x = first.get_lines()[0].get_xdata()
    above = sigmoid(fit.loadings.loc["A1", "F1"] * x[:, None] + fit.intercepts.loc["A1"].to_numpy())
    edges = np.concatenate([np.ones((len(x), 1)), above, np.zeros((len(x), 1))], 1)
    drawn = np.stack([line.get_ydata() for line in first.get_lines()], -1)
    np.testing.assert_allclose(drawn, edges[:, :-1] - edges[:, 1:], atol=1e-12)
    expected = fit.plot.item_curves("A1", kind="expected")
    np.testing.assert_allclose(expected.get_lines()[0].get_ydata(), drawn @ np.arange(1, 7), rtol=1e-9)
    grey = fit.plot.information()
    assert [text.get_text() for text in grey.get_figure().legends[0].get_texts()][-1] == "25 items"


def test_several_factors_are_drawn_one_at_a_time(tmp_path) -> None:
    fit = two_factors()
    ax = fit.plot.item_curves(factor="E")
    assert [each.get_title() for each in axes_of(ax)] == ["N1", "E1", "E2", "E3", "E4", "E5"]
    assert ax.get_figure()._supxlabel.get_text() == "E"
    information = fit.plot.information(factor="E")
    x = information.get_lines()[0].get_xdata()
    above = sigmoid(fit.loadings.loc["E2", "E"] * x[:, None] + fit.intercepts.loc["E2"].to_numpy())
    edges = np.concatenate([np.ones((len(x), 1)), above, np.zeros((len(x), 1))], 1)
    p, slope = edges[:, :-1] - edges[:, 1:], edges * (1 - edges)
    wanted = fit.loadings.loc["E2", "E"] ** 2 * ((slope[:, :-1] - slope[:, 1:]) ** 2 / p).sum(1)
    line = next(line for line in information.get_lines() if line.get_label() == "E2")
    np.testing.assert_allclose(line.get_ydata(), wanted, rtol=1e-8)
    flat = fit.plot.item_curves("N3", factor="E")
    assert all(np.ptp(line.get_ydata()) < 1e-12 for line in flat.get_lines())


def test_wright_map_shows_persons_and_difficulties(tmp_path, monkeypatch) -> None:
    fit = two_factors()
    frame = scored(fit, monkeypatch)
    ax = fit.plot.wright_map(tmp_path / "map.png", "E")
    assert written(tmp_path / "map.png")
    names = [label.get_text() for label in ax.get_xticklabels()]
    assert names == ["N1", "E1", "E2", "E3", "E4", "E5"]
    by_label = {line.get_label(): line for line in ax.get_lines()}
    wanted = -fit.intercepts.loc[names, "intercept2"] / fit.loadings.loc[names, "E"]
    np.testing.assert_allclose(by_label["2|3"].get_ydata(), wanted, rtol=1e-9)
    persons = axes_of(ax)[0]
    assert sum(bar.get_width() for bar in persons.patches) == len(frame)
    with pytest.raises(ValueError, match="difficulty"):
        given(jl.IRT("poisson"), bfi()[["N1", "N2", "N3"]]).plot.wright_map()


def test_groups_have_curves_maps_and_densities(monkeypatch, tmp_path) -> None:
    fit = groups()
    frame = scored(fit, monkeypatch)
    labels = fit._fitted.table.groups
    ax = fit.plot.latent(tmp_path / "latent.png")
    lines = {line.get_label(): line for line in ax.get_lines()}
    assert set(lines) == set(labels) and written(tmp_path / "latent.png")
    mean = fit.factor_means.loc[labels[1], "mean"].item()
    sd = np.sqrt(fit.factor_cov.loc[labels[1]].to_numpy().item())
    x, y = lines[labels[1]].get_data()
    np.testing.assert_allclose(y, np.exp(-(((x - mean) / sd) ** 2) / 2) / (sd * np.sqrt(2 * np.pi)), rtol=1e-9)
    persons = axes_of(fit.plot.wright_map(group=labels[1]))[0]
    assert sum(bar.get_width() for bar in persons.patches) == (fit._fitted.data.group == 1).sum() < len(frame)
    assert fit.plot.path_diagram().svg.count('class="panel"') == 2


def test_item_types_without_categories_and_without_order(tmp_path, monkeypatch) -> None:
    fit = mixed()
    panels = {ax.get_title(): ax for ax in axes_of(fit.plot.item_curves(path=tmp_path / "mixed.png"))}
    assert written(tmp_path / "mixed.png")
    assert [len(ax.get_lines()) for ax in panels.values()] == [1, 6, 6, 6, 1]
    x, y = panels["N5"].get_lines()[0].get_data()
    np.testing.assert_allclose(y, np.exp(fit.loadings.loc["N5", "F1"] * x + fit.intercepts.loc["N5", "intercept1"]))
    nominal = np.stack([line.get_ydata() for line in panels["N3"].get_lines()], -1)
    np.testing.assert_allclose(nominal.sum(1), 1)
    scored(fit, monkeypatch)
    assert [label.get_text() for label in fit.plot.wright_map().get_xticklabels()] == ["N2", "N4"]
    text = str(fit.summary())
    assert "Scoring of Categories" in text and "Dispersions" in text and "normal (1), graded (1)" in text


def test_the_other_plots_write_files(tmp_path, monkeypatch) -> None:
    fit = two_factors()
    scored(fit, monkeypatch)
    square = pd.DataFrame(np.eye(10) * 0.2, fit.loadings.index, fit.loadings.index)
    fit.plot.residuals(square, tmp_path / "q3.png", label="Q3")
    fit.plot.scores(tmp_path / "scores.png")
    fit.plot.parameters(tmp_path / "forest.png", op="=~")
    fit.plot.scree(pd.Series([4.0, 1.5, 0.4], [1, 2, 3], name="eigenvalue"), tmp_path / "scree.png")
    held_out = pd.DataFrame({"log_likelihood": [-9.0, -5.0, -6.0], "log_likelihood_se": 0.1}, index=[1, 2, 3])
    marked = fit.plot.scree(held_out, tmp_path / "heldout.png").get_lines()[-1]
    assert (marked.get_xdata().item(), marked.get_ydata().item()) == (2, -5)
    for name in ("q3", "scores", "forest", "scree", "heldout"):
        assert written(tmp_path / f"{name}.png"), name
    svg = fit.plot.path_diagram(tmp_path / "model.svg").svg
    drawn = [g.get("data-parameter") for g in ElementTree.fromstring(svg).iter() if g.get("class") == "parameter"]
    assert "E =~ N1" in drawn and "N ~~ E" in drawn and len(drawn) == 11 + 1 + 2
    with pytest.raises(ValueError, match="empty"):
        fit.plot.scree(pd.DataFrame())


def test_long_names_stay_apart() -> None:
    long = bfi()[["A1", "A2", "A3"]].rename(columns=lambda name: f"How much do you agree: {name} describes me well")
    titles = [ax.get_title() for ax in axes_of(given(jl.IRT("graded"), long).plot.item_curves())]
    assert [title[:4] for title in titles] == ["1. H", "2. H", "3. H"] and max(map(len, titles)) <= 28


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda plot: plot.item_curves("Item.9"), r"no item 'Item.9'; the items of this model are Item.1, Item.2"),
        (lambda plot: plot.information(items=["Item.1", "x"]), "no item 'x'"),
        (lambda plot: plot.item_curves([]), "at least one item"),
        (lambda plot: plot.item_curves(factor="G"), "no factor 'G'; the factors of this model are F1"),
        (lambda plot: plot.wright_map(factor="G"), "no factor 'G'"),
        (lambda plot: plot.standard_error(group="girls"), "no group 'girls'"),
        (lambda plot: plot.item_curves(kind="all"), "'category'"),
        (lambda plot: plot.path_diagram(column="nothing"), "nothing"),
    ],
)
def test_bad_input_is_named(call, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        call(estimated().plot)


def test_summary_has_the_numbers() -> None:
    fit = estimated()
    text = str(fit.summary())
    assert "-2658.805" in text and "GaussHermite(n=61)" in text and "because there are 1" in text
    rows = fit.parameters
    for _, row in rows[rows["op"] == "=~"].iterrows():
        line = next(line for line in text.split("Slopes:")[1].splitlines() if line.split()[:1] == [row["rhs"]])
        wanted = [f"{row[c]:.3f}" for c in ("est", "se", "z")]
        assert line.split()[1:4] == wanted and line.split()[-2] == f"{row['std_all']:.3f}"
        assert line.split()[-1] == f"{row['std_all'] ** 2:.3f}"
    html = fit.summary()._repr_html_()
    assert "-2658.805" in html and "<caption>Slopes</caption>" in html


def test_summary_of_several_factors_and_many_categories() -> None:
    fit = two_factors()
    text = str(fit.summary())
    assert "Intercepts (standard errors in parentheses)" in text and "(0.100)" in text
    assert "Covariances of Factors" in text and f"{fit.factor_cov.iloc[0, 1]:.3f}" in text
    loadings = text.split("Standardized Loadings and Communalities:")[1].split("Intercepts")[0]
    n1 = next(line.split() for line in loadings.splitlines() if line.split()[:1] == ["N1"])
    std = fit.parameters.query("op == '=~' and rhs == 'N1'")["std_all"].to_numpy()
    phi = fit.factor_cov.to_numpy()
    assert n1[1:] == [f"{v:.3f}" for v in (*std, std @ phi @ std)]
    n2 = next(line.split() for line in loadings.splitlines() if line.split()[:1] == ["N2"])
    assert len(n2) == 3  # no loading on E
    several = str(groups().summary())
    assert several.count("Group:") == 2 and "Means of Factors" in several


def test_tests_of_fit_are_printed_where_they_are(monkeypatch) -> None:
    fit = estimated()
    basic = dict(fit.fit_measures()[["npar", "logl", "aic", "bic", "sabic"]])
    tests = {
        "m2": 11.94,
        "m2_df": 5,
        "m2_pvalue": 0.0356,
        "m2_rmsea": 0.037,
        "g2": 31.7,
        "g2_df": 21,
        "g2_pvalue": 0.063,
    }
    more = pd.Series(basic | tests | {"srmsr": 0.032})
    monkeypatch.setattr(ItemResponseFit, "fit_measures", lambda self: more)
    text = str(fit.summary())
    assert re.search(r"M2\s+11\.940\s+5\s+0\.036\s+0\.037", text)
    assert re.search(r"G2\s+31\.700\s+21\s+0\.063\n", text) and "C2" not in text and "SRMSR" in text


def test_report_is_one_page_that_needs_nothing_else(tmp_path, monkeypatch) -> None:
    fit = two_factors()
    scored(fit, monkeypatch)
    path = fit.report(tmp_path / "two_factors.html")
    page = path.read_text(encoding="utf-8")
    assert page.count("<svg") == 1 + 2 * 3
    for words in ("Item curves along N", "Information along E", "Persons and items along E", "-1234.567", "Slopes"):
        assert words in page, words
    links = set(re.findall(r"https?://[^\s\"'<]+", page))
    assert links <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}, links
    assert "<script" not in page and "<metadata" not in page and page.count("<style") == 1
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', page))
    assert used <= set(ids)


def test_report_without_matplotlib_says_so(tmp_path, monkeypatch) -> None:
    def missing() -> None:
        raise ImportError("matplotlib")

    monkeypatch.setattr("jaxlatent.plots.matplotlib_figure.require_matplotlib", missing)
    page = estimated().report(tmp_path / "bare.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 1 and "they need matplotlib" in page
