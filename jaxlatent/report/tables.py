"""Parameter tables of a summary: one section for each kind of parameter, in each group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pandas as pd

from jaxlatent.report.blocks import Block, Heading, Row, Table
from jaxlatent.report.numbers import fixed

COLUMNS = {
    "est": "Estimate",
    "se": "Std.Err",
    "post_sd": "Post.SD",
    "lower": "2.5%",
    "upper": "97.5%",
    "z": "z-value",
    "pvalue": "P(>|z|)",
    "std_lv": "Std.lv",
    "std_all": "Std.all",
    "rhat": "R-hat",
    "ess": "ESS",
}
TEST_COLUMNS = ("se", "z", "pvalue", "post_sd", "lower", "upper", "rhat", "ess")
COMPARISONS = ("==", "<", ">")


def group_labels(parameters: pd.DataFrame) -> list[object]:
    """The groups in order of appearance; rows that belong to no group (:= and constraints) are left out."""
    if "group" not in parameters:
        return [1]
    own = parameters.loc[~parameters["op"].isin([":=", *COMPARISONS]), "group"]
    labels = [label for label in pd.unique(own) if not _no_group(label)]
    return labels or [1]


def _no_group(label: object) -> bool:
    return label is None or label == "" or label != label


def parameter_blocks(
    parameters: pd.DataFrame, sizes: dict[str, int] | None = None, r_squared: pd.DataFrame | None = None
) -> list[Block]:
    """All parameter sections: those of each group, then R-square, then defined parameters."""
    blocks: list[Block] = []
    labels = group_labels(parameters)
    for label in labels:
        rows = _of_group(parameters, label)
        if len(labels) > 1:
            blocks.append(Heading(_group_title(label, sizes), 2))
        blocks.extend(_levels(rows))
        blocks.extend(_r_squared_blocks(r_squared, label if len(labels) > 1 else None))
    blocks.extend(_defined(parameters))
    return blocks


def _group_title(label: object, sizes: dict[str, int] | None) -> str:
    size = (sizes or {}).get(str(label))
    return f"Group: {label}" if size is None else f"Group: {label} (n = {size})"


def _of_group(parameters: pd.DataFrame, label: object) -> pd.DataFrame:
    own = parameters[~parameters["op"].isin([":=", *COMPARISONS])]
    return own[own["group"] == label] if "group" in own else own


def _levels(rows: pd.DataFrame) -> Iterator[Block]:
    """The sections, under a heading for each level of a two-level model."""
    levels = list(pd.unique(rows["level"])) if "level" in rows else []
    if len(levels) < 2:
        yield from _sections(rows)
        return
    for level in levels:
        yield Heading(f"Level: {level}", 2)
        yield from _sections(rows[rows["level"] == level])


def _sections(rows: pd.DataFrame) -> Iterator[Table]:
    residual = residual_names(rows)
    same = rows["lhs"] == rows["rhs"]
    covariance = rows["op"] == "~~"
    yield from _nested("Latent Variables", rows[rows["op"] == "=~"], " =~", set())
    yield from _nested("Composites", rows[rows["op"] == "<~"], " <~", set())
    yield from _nested("Regressions", rows[rows["op"] == "~"], " ~", set())
    yield from _nested("Covariances", rows[covariance & ~same], " ~~", residual)
    yield from _flat("Intercepts", rows[rows["op"] == "~1"], residual)
    yield from _thresholds(rows[rows["op"] == "|"])
    yield from _flat("Variances", rows[covariance & same], residual)
    yield from _flat("Scales y*", rows[rows["op"] == "~*~"], set())


def residual_names(rows: pd.DataFrame) -> set[str]:
    """Variables that something else explains: their (co)variances are residual, and get a dot."""
    measured = rows.loc[rows["op"] == "=~", "rhs"]
    predicted = rows.loc[rows["op"].isin(["~", "<~"]), "lhs"]
    return set(measured) | set(predicted)


def _columns(rows: pd.DataFrame) -> list[str]:
    return [name for name in COLUMNS if name in rows]


def _cells(row: pd.Series, columns: Iterable[str]) -> tuple[str, ...]:
    blank = is_fixed(row)
    shown = {name: fixed(row[name], 0 if name == "ess" else 3) for name in columns}
    return tuple("" if blank and name in TEST_COLUMNS else shown[name] for name in columns)


def is_fixed(row: pd.Series) -> bool:
    """A row without a standard error of its own: se 0, or free 0 and se missing."""
    error = row.get("se", row.get("post_sd"))
    if error is None or error != error:
        return True
    return float(error) == 0.0


def _tag(row: pd.Series) -> str:
    label = row.get("label", "")
    named = isinstance(label, str) and label != "" and label != row["lhs"]
    return f"({label})" if named else ""


def _dotted(name: str, residual: set[str]) -> str:
    return f".{name}" if name in residual else name


def _nested(title: str, rows: pd.DataFrame, sign: str, residual: set[str]) -> Iterator[Table]:
    """Rows under the name on their left: "visual =~" and then its indicators."""
    if rows.empty:
        return
    columns = _columns(rows)
    lines: list[Row] = []
    for left in pd.unique(rows["lhs"]):
        lines.append(Row(_dotted(left, residual) + sign, indent=1))
        for _, row in rows[rows["lhs"] == left].iterrows():
            lines.append(Row(_dotted(row["rhs"], residual), _cells(row, columns), 2, _tag(row)))
    yield Table(tuple(COLUMNS[name] for name in columns), tuple(lines), title, "parameters")


def _flat(title: str, rows: pd.DataFrame, residual: set[str]) -> Iterator[Table]:
    if rows.empty:
        return
    columns = _columns(rows)
    lines = [Row(_dotted(row["lhs"], residual), _cells(row, columns), 2, _tag(row)) for _, row in rows.iterrows()]
    yield Table(tuple(COLUMNS[name] for name in columns), tuple(lines), title, "parameters")


def _thresholds(rows: pd.DataFrame) -> Iterator[Table]:
    named = rows.assign(lhs=rows["lhs"].astype(str) + "|" + rows["rhs"].astype(str))
    return _flat("Thresholds", named, set())


def _defined(parameters: pd.DataFrame) -> Iterator[Table]:
    yield from _flat("Defined Parameters", parameters[parameters["op"] == ":="], set())
    constraints = parameters[parameters["op"].isin(COMPARISONS)]
    if not constraints.empty:
        text = constraints["lhs"].astype(str) + " " + constraints["op"] + " " + constraints["rhs"].astype(str)
        rows = tuple(Row(line, (), 2) for line in text)
        yield Table((), rows, "Constraints", "parameters")


def _r_squared_blocks(r_squared: pd.DataFrame | None, label: object | None) -> list[Block]:
    if r_squared is None or r_squared.empty:
        return []
    frame = r_squared_frame(r_squared)
    if label is not None and "group" in frame:
        frame = frame[frame["group"] == label]
    rows = tuple(Row(str(name), (fixed(value),), 2) for name, value in zip(frame["variable"], frame["r2"], strict=True))
    return [Table(("Estimate",), rows, "R-Square", "parameters")] if rows else []


def r_squared_frame(r_squared: pd.DataFrame) -> pd.DataFrame:
    """Columns variable, r2 and perhaps group, wherever the names were: in columns or in the index."""
    frame = r_squared
    if "variable" not in frame:
        names = [str(name) if name is not None else f"level_{i}" for i, name in enumerate(frame.index.names)]
        frame = frame.rename_axis(index=names).reset_index()
        if "variable" not in frame:
            frame = frame.rename(columns={names[-1]: "variable"})
    return frame
