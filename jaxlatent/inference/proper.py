"""Flat priors: where they leave a posterior that has no integral, as far as that can be told beforehand."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.inference.moment_model import MomentModel
from jaxlatent.inference.priors import Priors
from jaxlatent.measurement.normal import Normal
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.models.prior_distributions import is_flat

SINGULAR = 1e-9


class Bound(Protocol):
    """A specification bound to data."""

    @property
    def table(self) -> Any: ...
    @property
    def model(self) -> LatentVariableModel: ...
    @property
    def arrays(self) -> Arrays: ...
    @property
    def priors(self) -> Priors: ...


def flat_positions(priors: Priors) -> tuple[int, ...]:
    """Free parameters whose prior is flat."""
    return tuple(sorted({p for each in priors.cells if is_flat(each.distribution) for p in each.positions or ()}))


def check_proper(bound: Bound) -> None:
    """Refuse flat priors under which the posterior is improper.

    Normal models: the expected information at the starting values, plus 1 for each standardised parameter with a proper
    prior, is singular. Categorical items: the likelihood of a slope does not vanish where the slope goes to infinity
    (the item then splits persons at a point), so that a flat slope has no posterior.

    Raises
    ------
    ValueError
        The sentence names the parameters.
    """
    flat = flat_positions(bound.priors)
    if not flat:
        return
    model, layout = bound.model, bound.model.layout
    names = parameter_names(bound.table)
    if not all(isinstance(family, Normal) for family, _ in model.measurement.groups):
        coded = [j for family, items in model.measurement.groups if family.categorical for j in items]
        index = np.asarray(layout.index["loadings"])[:, coded]
        slopes = [p for p in flat if (index == p).any()]
        if slopes:
            raise ValueError(
                f"Under a flat prior the slope {names[slopes[0]]!r} has no proper posterior: its likelihood does not"
                " vanish at infinity. Use a proper prior of loadings, such as 'lognormal(0, 1)' or 'normal(0, 3)'."
            )
        return
    n = np.bincount(np.asarray(bound.arrays.group), minlength=layout.n_groups).astype(float)
    at = MomentModel(layout, np.asarray(layout.start, float), n / n.sum(), bool(bound.table.mean_structure))
    information = sum(w * at.expected_information(g) for g, w in enumerate(at.weight))
    size = np.sqrt(np.maximum(np.diag(information), 1e-300))
    standard = information / np.outer(size, size)
    proper = np.ones(layout.n_free)
    proper[list(flat)] = 0
    values, vectors = np.linalg.eigh(standard + np.diag(proper))
    lost = vectors[:, values < SINGULAR]
    if lost.size:
        share = np.abs(lost / size[:, None])
        named = [names[p] for p in flat if (share[p] > 0.05 * share.max(axis=0)).any()]
        raise ValueError(
            f"Under flat priors the data do not determine {', '.join(named[:8])}, so that the posterior is improper:"
            " fix a parameter, or give these a proper prior."
        )


def parameter_names(table: Any) -> list[str]:
    """A name for every free parameter: its first row, and its group where there are several."""
    names = [""] * table.n_free
    for row in table.rows:
        if row.free and not names[row.free - 1]:
            where = f" ({table.groups[row.group - 1]})" if table.n_groups > 1 else ""
            names[row.free - 1] = f"{row.lhs} {row.op} {row.rhs}".strip() + where
    return names
