"""Item response models meet responses that are no table in memory: triples, and files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxlatent.data.coding import Coding, coding_from
from jaxlatent.data.frames import require
from jaxlatent.data.long_arrays import LongResponses
from jaxlatent.data.scanned import ScannedResponses
from jaxlatent.inference.item_checks import check_counts, check_covariates, check_rows
from jaxlatent.inference.item_data import ItemData, LongItemData
from jaxlatent.inference.item_preparation import ItemSpec, Prepared, assemble, cell_priors, type_of
from jaxlatent.spec.item_factors import Factors, factors_of
from jaxlatent.spec.item_start import anchor_items

SAMPLED = 20_000  # persons whose answers choose the anchors of an exploratory model


def prepare_source(
    spec: ItemSpec, data: LongResponses | ScannedResponses, group: str | None, weights: str | None, listwise: bool
) -> Prepared:
    """What IRT does with a frame, from margins and a sample: categories, table, starting values.

    Of a scanned source the Prepared holds the sample; its engine reads batches with the coding.
    """
    if group is not None or weights is not None:
        raise ValueError("Responses hold their groups and weights already: leave group and weights out.")
    if listwise:
        raise ValueError("missing='listwise' needs a table of answers: use missing=None, which takes all answers.")
    factors = spec.syntax or factors_of(spec.factors, data.names, spec.covariates)
    require(list(data.names), factors.items, "item")
    require(list(data.covariate_names), factors.covariates, "covariate")
    if isinstance(data, LongResponses):
        return _long(spec, factors, data.select(factors.items))
    return _scanned(spec, factors, data)


def _kinds(spec: ItemSpec, names: Sequence[str]) -> tuple[list[bool], list[bool]]:
    """Whether items are categorical, and whether they are counts."""
    types = [type_of(spec, name) for name in names]
    counts = [name in ("poisson", "negative_binomial") for name, _ in types]
    return [given.family_for(3).categorical for _, given in types], counts


def _check(spec: ItemSpec, factors: Factors, n: int, coding: Coding, low: Sequence[float]) -> None:
    check_rows(n, len(factors.items))
    if len(factors.factors) >= max(len(factors.items), 2):
        raise ValueError(
            f"Expected fewer factors than items; got {len(factors.factors)} factors and {len(factors.items)} items."
        )
    for name, lowest in zip(coding.names, low, strict=True):
        if type_of(spec, name)[0] == "lognormal" and lowest <= 0:
            raise ValueError(f"The item {name!r} is not positive in a row ({lowest:g}): 'lognormal' needs times.")


def _long(spec: ItemSpec, factors: Factors, data: LongResponses) -> Prepared:
    coding = coding_from(data.facts(), data.names, *_kinds(spec, data.names))
    places = data.arrays.by_item()
    _check(spec, factors, data.n_persons, coding, [float(data.arrays.y[at].min()) for at in places])
    answers = data.arrays.encode(coding)
    margins = []
    for at, k in zip(places, coding.n_categories, strict=True):
        y = answers.y[at]
        margins.append(np.bincount(y.astype(int), minlength=k) / len(y) if k else np.array([y.mean(), y.var()]))
    anchors: list[int] = []
    if factors.exploratory:
        rows = np.arange(0, data.n_persons, max(data.n_persons // SAMPLED, 1))
        anchors = anchor_items(data.arrays.take(rows).dense(), len(factors.factors))
    table, measurement = assemble(spec, coding, data.group_labels, anchors, margins)
    if not spec.priors:
        check_counts(table, coding)
    rows_ = LongItemData(answers, np.zeros(data.n_persons, np.int32), None, None)
    notes = (*data.notes, *coding.notes)
    return Prepared(table, measurement, coding, rows_, data, cell_priors(spec.priors, table), notes, tuple(anchors))


def _scanned(spec: ItemSpec, factors: Factors, data: ScannedResponses) -> Prepared:
    if factors.items != data.names or factors.covariates != data.covariate_names:
        raise ValueError(
            "Expected the scanned columns to be the items and covariates of the model, in its order: pass"
            f" Responses.scan(path, variables={list(factors.items)}, covariates={list(factors.covariates)}, ...)."
        )
    coding = data.coding(*_kinds(spec, data.names))
    check_covariates(data.sample, spec.group_equal)
    _check(spec, factors, data.n_persons, coding, data.margins.low.min(0).tolist())
    _check_categories(data, coding, spec.group_equal)
    anchors = anchor_items(data.sample.y, len(factors.factors)) if factors.exploratory else []
    table, measurement = assemble(spec, coding, data.group_labels, anchors, _pooled(data, coding))
    if not spec.priors:
        check_counts(table, coding)
    s = data.sample
    rows = ItemData(coding.encode(s.y), s.group, s.weight, s.covariates)
    notes = (*data.notes, *coding.notes)
    return Prepared(table, measurement, coding, rows, s, cell_priors(spec.priors, table), notes, tuple(anchors))


def _pooled(data: ScannedResponses, coding: Coding) -> list[np.ndarray]:
    """Shares of categories, or mean and variance, over all groups."""
    m, out = data.margins, []
    for j, k in enumerate(coding.n_categories):
        if k:
            out.append(m.counts[j].sum(0) / m.counts[j].sum())
            continue
        share = m.n[:, j] / m.n[:, j].sum()
        mean = float(share @ m.mean[:, j])
        out.append(np.array([mean, share @ (m.variance[:, j] + (m.mean[:, j] - mean) ** 2)]))
    return out


def _check_categories(data: ScannedResponses, coding: Coding, equal: Sequence[str]) -> None:
    if data.n_groups == 1 or "intercepts" in equal:
        return
    for g, label in enumerate(data.group_labels):
        for name, values, counts in zip(coding.names, coding.values, data.margins.counts, strict=True):
            unused: Any = [] if values is None else [v for v, n in zip(values, counts[g], strict=True) if not n]
            if unused:
                raise ValueError(
                    f"Nobody in group {label!r} gave the answer {unused[0]:g} to the item {name!r}: join categories, or"
                    " make intercepts equal over groups."
                )
