"""The summary of posterior draws: what was sampled, how the chains look, how well the model fits, every parameter."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from jaxlatent.report.blocks import Block, Heading, Paragraph, Row, Table
from jaxlatent.report.numbers import fixed
from jaxlatent.report.summary import Summary, SummaryInfo, header_rows
from jaxlatent.report.tables import parameter_blocks

NAMES = {"est": "est", "se": "post_sd", "ci_lower": "lower", "ci_upper": "upper", "rhat": "rhat", "ess_bulk": "ess"}
ITEM_OPS = {
    "~1": "Intercepts of Items",
    "guessing": "Lower Asymptotes (Guessing)",
    "upper": "Upper Asymptotes",
    "scoring": "Scoring of Categories",
    "dispersion": "Dispersions",
    "spacing": "Spacing of Categories",
    "shift": "Shifts",
}


def build_posterior_summary(
    info: SummaryInfo,
    parameters: pd.DataFrame,
    chains: Sequence[tuple[str, str]],
    measures: Sequence[tuple[str, float]] = (),
    r_squared: pd.DataFrame | None = None,
) -> Summary:
    """Gather a summary.

    parameters: the table of a posterior fit; chains: how they look, in words; measures: fit, a name and a number each.
    """
    blocks: list[Block] = [Heading(info.title, 1)]
    blocks += [Paragraph(text, "warning") for text in info.warnings]
    blocks.append(Table((), tuple(header_rows(info))))
    blocks += [Paragraph(note) for note in info.notes]
    blocks.append(Table((), tuple(Row(name, (text,), 1) for name, text in chains), "Chains"))
    if measures:
        blocks.append(Table((), tuple(Row(name, (fixed(v),), 1) for name, v in measures), "Model Fit"))
    sizes = dict(info.n_observations) if isinstance(info.n_observations, dict) else None
    columns = ["lhs", "op", "rhs", "group", "label", "free"]
    shown = parameters[columns].assign(**{new: parameters[old] for old, new in NAMES.items()})
    own = shown["lhs"].isin(info.observed) & shown["op"].isin(list(ITEM_OPS)) & (shown["rhs"] != "")
    own |= shown["op"].isin([op for op in ITEM_OPS if op != "~1"])
    items = shown[own].assign(lhs=(shown["lhs"] + " " + shown["rhs"].astype(str)).str.strip(), rhs="", op="~1")
    ops = shown.loc[own, "op"]
    blocks += parameter_blocks(shown[~own], sizes, r_squared)
    for op, title in ((op, title) for op, title in ITEM_OPS.items() if (ops == op).any()):
        for block in parameter_blocks(items[ops == op]):
            blocks.append(Table(block.columns, block.rows, title, block.kind) if isinstance(block, Table) else block)
    return Summary(info, tuple(blocks))
