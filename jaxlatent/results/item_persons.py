"""Persons of a fit, or new ones: what engines take of them, and tables by person, or person and occasion."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.data.occasions import LongRows
from jaxlatent.data.responses import Responses
from jaxlatent.inference.item_data import ItemData, ItemRows
from jaxlatent.inference.item_occasions import read_occasions
from jaxlatent.inference.marginal_fit import ItemFitted
from jaxlatent.spec.occasions import Occasions

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Persons:
    """Coded answers, labels of persons, and the user's rows where a person has several (one for each occasion)."""

    data: ItemRows
    index: Any
    factors: tuple[str, ...]
    long: LongRows | None = None

    def apart(self, factors: tuple[str, ...]) -> Persons:
        """The same with a row a person and the factors of all occasions in columns."""
        return replace(self, factors=factors, long=None)

    def frame(self, values: np.ndarray) -> pd.DataFrame:
        """Numbers of factors [person, D] as a row a person; with occasions as the user's rows, the factors of each."""
        import pandas as pd

        return pd.DataFrame(
            self._rows(values), self.index if self.long is None else self.long.index, list(self.factors)
        )

    def draws_frame(self, values: np.ndarray) -> pd.DataFrame:
        """Draws [person, draw, D] as rows of person (or the user's row) and draw (1, ..., n)."""
        import pandas as pd

        n = values.shape[1]
        rows = np.stack([self._rows(values[:, k]) for k in range(n)], 1)
        labels = pd.Index(self.index if self.long is None else self.long.index)
        levels = [labels.get_level_values(k).repeat(n) for k in range(labels.nlevels)]
        role = "person" if self.long is None else "row"
        names = [role if self.long is None or name is None else name for name in labels.names]
        index = pd.MultiIndex.from_arrays([*levels, np.tile(np.arange(1, n + 1), len(rows))], names=[*names, "draw"])
        return pd.DataFrame(rows.reshape(-1, rows.shape[-1]), index, list(self.factors))

    def _rows(self, values: np.ndarray) -> np.ndarray:
        return values if self.long is None else self.long.of_each(values, len(self.factors))


def persons_of(fitted: ItemFitted, data: Any = None) -> Persons:
    """The persons of these data, or those of the fit.

    Raises ValueError where there are none, or what reading a frame raises.
    """
    table, occasions = fitted.table, fitted.table.occasions
    factors = table.factors if occasions is None else occasions.factors
    if data is None:
        if fitted.responses is None:
            raise ValueError("This fit holds no rows (it was saved without its data): pass data.")
        return Persons(fitted.data, fitted.responses.index, factors, getattr(fitted.responses, "long", None))
    if occasions is not None:
        rows, long, index = read_occasions(table, fitted.coding, fitted.group_name, data)
        return Persons(rows, index, factors, long)
    source = Responses.for_scoring(
        data, table.observed, group=fitted.group_name, labels=table.groups, covariates=table.covariates
    )
    codes = fitted.coding.encode(source.y)
    return Persons(ItemData(codes, source.group, None, source.covariates), source.index, factors)


def labelled(rows: LongRows, persons: np.ndarray, occasions: Occasions) -> Any:
    """Person and occasion of every row, as a pandas index."""
    import pandas as pd

    when = np.array(occasions.labels, object)[rows.occasion]
    names = [occasions.person or "person", occasions.occasion]
    return pd.MultiIndex.from_arrays([np.asarray(persons)[rows.person], when], names=names)
