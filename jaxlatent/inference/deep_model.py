"""The one model type with a decoder: families of columns, what is learned beside networks, and where it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxlatent.inference.deep_columns import Columns
from jaxlatent.latent.latent import Latent
from jaxlatent.latent.structural import StructuralNormal
from jaxlatent.measurement.family import Family, ItemParameter
from jaxlatent.measurement.measurement import Measurement
from jaxlatent.measurement.neural_normal import JointNormal
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.numerics.log_probability import NEVER
from jaxlatent.numerics.networks import MLP, Given, Network
from jaxlatent.spec.layout import Layout, blocks_of

SLOPE = 1.7  # of the logistic curve closest to a normal one


@dataclass(frozen=True)
class DecoderForm:
    """What decodes x: "linear", "network" (an MLP with these hidden layers), or a user's object."""

    kind: str
    hidden: tuple[int, ...] = ()
    given: Any = None


def deep_model(
    columns: Columns, codes: np.ndarray, sizes: tuple[int, ...], form: DecoderForm, latent: Latent | None
) -> LatentVariableModel:
    """Measurement, latent distribution and layout. sizes: of the layers of latent variables, the lowest first.

    Raises ValueError where a user's decoder has an output of another size than the columns take.
    """
    groups = groups_of(columns)
    draft = Measurement(groups)
    decoder = decoder_of(form, sizes[0], draft.n_outputs, len(columns.names))
    layout = deep_layout(columns, codes, sum(sizes), linear=decoder is None)
    return LatentVariableModel(Measurement(groups, decoder), StructuralNormal() if latent is None else latent, layout)


def groups_of(columns: Columns) -> tuple[tuple[Family, Any], ...]:
    """Columns of one family together, as a range where they follow one another."""
    members: dict[Family, list[int]] = {}
    for j, family in enumerate(columns.families):
        members.setdefault(family, []).append(j)
    return tuple(
        (family, range(at[0], at[-1] + 1) if at == list(range(at[0], at[-1] + 1)) else tuple(at))
        for family, at in members.items()
    )


def decoder_of(form: DecoderForm, d: int, n_outputs: int, n_columns: int) -> Network | None:
    """The network, or None for loadings; raises ValueError where a user's has another number of outputs."""
    if form.kind == "linear":
        return None
    if form.kind == "network":
        return MLP(d, form.hidden, n_outputs, scale=1.0, bias=False)
    decoder = Given(form.given, d)
    try:
        shape = decoder.output_shape()
    except Exception as error:
        raise ValueError(
            f"The decoder can't take rows of {d} latent variables, x [row, {d}]: {str(error).splitlines()[0]}"
        ) from None
    if int(np.prod(shape)) != n_outputs:
        each = n_outputs // n_columns if n_outputs % n_columns == 0 else None
        why = f"{n_columns} columns" + (f" with {each} numbers each" if each is not None and each > 1 else "")
        raise ValueError(
            f"Expected a decoder whose output has {n_outputs} numbers for each row ({why}); got shape {shape}, that is"
            f" {int(np.prod(shape))}."
        )
    return decoder


def deep_layout(columns: Columns, codes: np.ndarray, d: int, *, linear: bool) -> Layout:
    """One group; x standard normal; parameters of the families free, loadings [column, D] too where linear."""
    p, margins = len(columns.names), columns.margins(codes)
    rows = [f.item_parameters(max(k, 2)) for f, k in zip(columns.families, columns.n_categories, strict=True)]
    width: dict[str, int] = {}
    for each in rows:
        for row in each:
            width[row.matrix] = max(width.get(row.matrix, 0), len(row.cells))
    shapes = {"loadings": (1, p, d)} if linear else {}
    shapes |= {name: (1, p, w) for name, w in width.items()}
    index = {name: np.full(shape, -1, np.int32) for name, shape in shapes.items()}
    fixed = {name: np.full(shape, NEVER if name == "intercepts" else 0.0) for name, shape in shapes.items()}
    start: list[float] = []

    def free(name: str, j: int, c: int, value: float) -> None:
        index[name][0, j, c] = len(start)
        start.append(value)

    if linear:
        for j, own in enumerate(starting_loadings(columns, codes, d)):
            for c, value in enumerate(own):
                free("loadings", j, c, float(value))
    shared: dict[tuple[Family, str], int] = {}
    rank = max((getattr(family, "rank", None) or 0 for family in columns.families), default=0)
    further = starting_loadings(columns, codes, d + rank)[:, d:]
    for j, (family, each) in enumerate(zip(columns.families, rows, strict=True)):
        starts = family.start(max(columns.n_categories[j], 2), margins[j])
        position = [k for k, other in enumerate(columns.families) if other == family].index(j)
        for row in each:
            values = np.ravel(starts.get(row.matrix, np.zeros(len(row.cells))))
            if row.matrix == "residual_factors" and getattr(family, "rank", None) is not None:
                values = further[j]  # at 0 they would stay there
            if row.shared and (family, row.matrix) in shared:
                index[row.matrix][0, j] = index[row.matrix][0, shared[family, row.matrix]]
                continue
            shared[family, row.matrix] = j
            for c, cell in enumerate(row.cells):
                held = _held(family, row, cell, c, position)
                if held is None:
                    free(row.matrix, j, c, float(values[c]))
                else:
                    fixed[row.matrix][0, j, c] = held
    index |= {"factor_means": np.full((1, d), -1, np.int32), "factor_cov": np.full((1, d, d), -1, np.int32),
              "regressions": np.full((1, d, d), -1, np.int32)}  # fmt: skip
    fixed |= {"factor_means": np.zeros((1, d)), "factor_cov": np.eye(d)[None], "regressions": np.zeros((1, d, d))}
    return Layout(index, fixed, np.array(start), blocks_of(index))


def _held(family: Family, row: ItemParameter, cell: float | None, c: int, position: int) -> float | None:
    """The value at which a cell is fixed, None where it is free."""
    if row.matrix == "residual_factors" and isinstance(family, JointNormal) and family.rank is None:
        return None if c < position else 0.0
    return row.first if row.first is not None and position == 0 else cell


def starting_loadings(columns: Columns, codes: np.ndarray, d: int) -> np.ndarray:
    """Loadings [column, D] of the first principal components of the standardised codes, less what noise would give."""
    seen = ~np.isnan(codes)
    mean, sd = np.nanmean(codes, 0), np.nanstd(codes, 0)
    z = np.where(seen, (codes - mean) / np.where(sd > 0, sd, 1), 0)
    _, size, axes = np.linalg.svd(z, full_matrices=False)
    values = np.zeros(d)
    k = min(d, len(size))
    values[:k] = size[:k] ** 2 / len(z)
    loadings = np.zeros((codes.shape[1], d))
    loadings[:, :k] = axes[:k].T * np.sqrt(np.maximum(values[:k] - 0.7 * min(1.0, values[:k].min()), 0.1))
    loadings *= np.where(loadings.sum(0) < 0, -1, 1)
    common = np.minimum((loadings**2).sum(1), 0.9)
    numeric = np.array([k == 0 for k in columns.n_categories])
    link = np.where(numeric, np.minimum(sd, 1), SLOPE / np.sqrt(1 - common))
    return loadings * link[:, None]
