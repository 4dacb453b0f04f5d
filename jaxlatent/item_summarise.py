"""The summary and the report of an item response fit, put together from its tables."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from jaxlatent.inference.estimate import MESSAGES
from jaxlatent.report.item_html import Picture, item_report_html
from jaxlatent.report.item_summary import build_item_summary
from jaxlatent.report.summary import Summary, SummaryInfo
from jaxlatent.results.communalities import communalities, loading_matrix

if TYPE_CHECKING:
    from jaxlatent.irt_fit import ItemResponseFit

SE = {
    "observed": "observed information",
    "expected": "expected information",
    "crossprod": "cross-products of scores",
    "sandwich": "sandwich (robust)",
    "none": "none",
}
NO_MATPLOTLIB = 'The curves are left out, because they need matplotlib: pip install "jaxlatent[plots]".'


def summary(fit: ItemResponseFit) -> Summary:
    """What was fitted, how well it fits, every item and the latent variables."""
    return build_item_summary(_info(fit), fit.parameters, fit.fit_measures(), h2=item_communalities(fit))


def item_communalities(fit: ItemResponseFit) -> dict[object, pd.Series]:
    """Communalities of the items by the label of the group."""
    table, frame, cov = fit._fitted.table, fit.parameters, fit.factor_cov
    several = table.n_groups > 1
    out: dict[object, pd.Series] = {}
    for label in table.groups if several else [1]:
        rows = frame[frame["group"] == label]
        standard = loading_matrix(rows, list(table.observed), list(table.factors))
        out[label] = communalities(standard, cov.loc[[label]] if several else cov)
    return out


def _info(fit: ItemResponseFit) -> SummaryInfo:
    f = fit._fitted
    table = f.table
    weighted = f.data.weight is not None
    counts: int | dict[str, int] = round(f.n_total) if weighted else f.data.n_persons
    if table.n_groups > 1:
        counts = {label: int((f.data.group == g).sum()) for g, label in enumerate(table.groups)}
    return SummaryInfo(
        title="jaxlatent: item response model",
        estimator=f.engine.name,
        n_iterations=fit.n_iterations,
        n_parameters=f.n_parameters,
        n_equality_constraints=table.linear.rank,
        n_observations=counts,
        missing=_missing(f.data.n_missing, f.data.shape),
        se=SE.get(f.engine.se, f.engine.se),
        converged=fit.converged,
        message=MESSAGES[int(f.estimate.code)],
        warnings=tuple(text for text in fit.warnings if fit.converged or "did not converge" not in text),
        latent=table.latent,
        observed=table.observed,
        notes=fit.notes,
        details=tuple(_details(fit)),
    )


def _missing(lost: int, shape: tuple[int, int]) -> str:
    return f"{lost} answers ({100 * lost / (shape[0] * shape[1]):.1f} %)" if lost else ""


def _details(fit: ItemResponseFit) -> list[tuple[str, str]]:
    f = fit._fitted
    types = Counter(item.type for item in f.table.items)
    named = ", ".join(types if len(types) == 1 else [f"{name} ({count})" for name, count in types.items()])
    out = [("Number of items", str(len(f.table.items))), ("Item type", named)]
    out.append(("Number of factors", str(len(f.table.factors))))
    if fit._rotation is not None:
        out.append(("Rotation", fit._rotation.settings.name))
    return [*out, ("Integration", str(f.rule))]


def write_report(fit: ItemResponseFit, path: Path) -> Path:
    """One self-contained HTML page."""
    from jaxlatent import __version__

    pictures, notes = _pictures(fit)
    page = item_report_html(
        title=path.stem.replace("_", " "),
        summary=fit.summary(),
        parameters=fit.parameters,
        measures=fit.fit_measures(),
        pictures=pictures,
        h2=item_communalities(fit),
        frames={"Item response parameters": _by_item(fit.irt_parameters())},
        notes=notes,
        version=__version__,
    )
    path.write_text(page, encoding="utf-8")
    return path


def _by_item(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.rename_axis(index=[str(name or "item") for name in frame.index.names])


def _pictures(fit: ItemResponseFit) -> tuple[list[Picture], list[str]]:
    """The diagram, and, where matplotlib is there, the curves along every factor and the map of persons and items."""
    plot, factors = fit.plot, fit._fitted.table.factors
    out = [
        Picture("Path diagram", "Slopes of the items and covariances of the factors. Dashed: fixed.",
                plot.path_diagram().svg)
    ]  # fmt: skip
    try:
        from jaxlatent.plots.inline_svg import inline_svg
        from jaxlatent.plots.matplotlib_figure import require_matplotlib

        require_matplotlib()
    except ImportError:
        return out, [NO_MATPLOTLIB]

    def add(title: str, hint: str, ax: Any, name: str) -> None:
        out.append(Picture(title, hint, inline_svg(ax, name, title)))

    for k, factor in enumerate(factors):
        others = "; the other factors are held at 0" if len(factors) > 1 else ""
        along = f" along {factor}" if len(factors) > 1 else ""
        add(f"Item curves{along}", f"Probability of answers by {factor}{others}.",
            plot.item_curves(factor=factor), f"curves{k}")  # fmt: skip
        add(f"Information{along}",
            "The test's information is the sum of the items'; the standard error of a maximum likelihood score is one"
            f" over its square root{others}.", plot.information(factor=factor), f"information{k}")  # fmt: skip
        try:
            chart = plot.wright_map(factor=factor)
        except ValueError:  # item types without difficulties
            continue
        add(f"Persons and items{along}", "Scores of persons (left) and difficulties of items (right) on one scale.",
            chart, f"map{k}")  # fmt: skip
    return out, []
