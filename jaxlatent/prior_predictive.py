"""What a model expects before it has seen the data: draws of parameters and of data from the priors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

from jaxlatent.inference.prior_predictive import draw_data, draw_parameters
from jaxlatent.inference.proper import parameter_names
from jaxlatent.inference.settings import check_key

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from jaxlatent.bound import BoundModel


@dataclass(frozen=True)
class PriorPredictive:
    """Draws of parameters from their priors, and of data under them in the rows and groups of the data at hand.

    free [draw, parameter]: natural cells, named by names. data [draw, person, item]: categories as 0, 1, ...; centred
    variables where the model has no mean structure. observed [person, item]: the data likewise, nan where missing.
    """

    free: np.ndarray
    names: tuple[str, ...]
    data: np.ndarray
    items: tuple[str, ...]
    observed: np.ndarray
    categorical: tuple[bool, ...]

    @property
    def parameters(self) -> pd.DataFrame:
        """Draws of the parameters, a column each."""
        import pandas as pd

        return pd.DataFrame(self.free, columns=list(self.names))

    def plot(self, path: str | Path | None = None) -> Axes:
        """Every item's distribution in the simulated data sets, and in the data; also writes path."""
        from jaxlatent.plots.prior_predictive import prior_predictive

        return prior_predictive(self.data, self.observed, self.items, self.categorical, path=path)


def prior_predictive(bound: BoundModel, n_draws: int = 200, key: int = 0) -> PriorPredictive:
    """Draws from the priors of a bound model (``model.bind(data)``), written and default, and data sets from them.

    Raises
    ------
    ValueError
        A number of draws below 1, a flat prior, differences between groups that are not normal, constraints between
        parameters or patterns of covariances that no bijection covers.
    """
    from jaxlatent.pair import check_constraints

    if isinstance(n_draws, bool) or not isinstance(n_draws, int | np.integer) or n_draws < 1:
        raise ValueError(f"Expected n_draws, the number of draws, as a positive whole number; got {n_draws!r}.")
    check_key(key)
    check_constraints(bound)
    first, second = jax.random.split(jax.random.key(int(key)))
    free = draw_parameters(bound, int(n_draws), first)
    data = draw_data(bound, free, second)
    observed = np.where(np.asarray(bound.arrays.observed), np.asarray(bound.arrays.y, float), np.nan)
    coded = {j for family, items in bound.model.measurement.groups if family.categorical for j in items}
    categorical = tuple(j in coded for j in range(observed.shape[1]))
    names = tuple(parameter_names(bound.table))
    return PriorPredictive(free, names, data, tuple(bound.table.observed), observed, categorical)
