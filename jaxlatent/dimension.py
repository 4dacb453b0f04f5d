"""How many factors: models of several sizes compared by the log-likelihood of people they were not fitted to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.data.frames import column_names, is_named, raw_column, table_shape
from jaxlatent.inference.settings import MarginalML
from jaxlatent.irt import IRT
from jaxlatent.plots.scree_plot import scree

if TYPE_CHECKING:
    import pandas as pd

SHUFFLES = 50
CATEGORIES = 50  # a column with more different values holds numbers


def choose_dimension(
    model: Any,
    data: Any,
    dims: Sequence[int] = (1, 2, 3),
    *,
    folds: int = 5,
    engine: Any = None,
    group: str | None = None,
    key: int = 0,
    path: str | Path | None = None,
) -> pd.DataFrame:
    """Held-out log-likelihood, AIC and BIC of models with D factors: a row each D, the index.

    held_out = sum over folds of log p(y_i | estimates without the fold of i)

    model: an item type (exploratory models of D factors), or a function from D to a model. data: a frame, a mapping of
    columns or an array, persons in rows. engine: MarginalML() by default. Columns: held_out_log_likelihood and its
    standard error (of a sum over persons), gain (over the row above) with the standard error of that difference,
    log_likelihood, npar, aic, bic of all persons, and converged (all fits of the row). path: also draws the scree plot.

    Raises ValueError where dims or folds make no sense, or a category is too rare to be in every training set.
    """
    import pandas as pd

    maker = model if callable(model) and not isinstance(model, type) else lambda d: IRT(model, d)
    sizes = _sizes(dims)
    n = _rows(data)
    if isinstance(folds, bool) or not isinstance(folds, int | np.integer) or not 2 <= folds <= n // 10:
        raise ValueError(f"Expected folds, a whole number from 2 to {max(n // 10, 2)} for {n} persons; got {folds!r}.")
    engine = _plain(engine)
    rows, persons = [], []
    fold = _folds(data, _items(maker(sizes[0]), data, group), n, int(folds), key)
    for d in sizes:
        whole = maker(d).fit(data, engine, group=group, key=key)
        held, fine = np.zeros(n), whole.converged
        for f in range(int(folds)):
            fit = maker(d).fit(_take(data, fold != f), engine, group=group, key=key)
            held[fold == f] = fit.log_likelihoods(_take(data, fold == f)).to_numpy()
            fine = fine and fit.converged
        measures = whole.fit_measures() if not isinstance(engine, MarginalML) else _criteria(whole)
        rows.append({"log_likelihood": whole.log_likelihood, **{k: measures[k] for k in ("npar", "aic", "bic")}})
        rows[-1] |= {"converged": fine}
        persons.append(held)
    out = pd.DataFrame(rows, pd.Index(sizes, name="factors"))
    gains = [np.full(n, np.nan), *(b - a for a, b in pairwise(persons))]
    for at, (name, values) in enumerate((("held_out_log_likelihood", persons), ("gain", gains))):
        out.insert(2 * at, name, [v.sum() for v in values])
        out.insert(2 * at + 1, f"{name}_se", [np.sqrt(n) * v.std(ddof=1) for v in values])
    if path is not None:
        scree(out, path=path)
    return out


def _plain(engine: Any) -> Any:
    """The engine without standard errors, which nobody sees."""
    engine = MarginalML() if engine is None else engine
    return replace(engine, se="none") if isinstance(engine, MarginalML) else engine


def _criteria(fit: Any) -> dict[str, float]:
    """npar, aic and bic of an item response fit, without the tests of fit that fit_measures computes with them."""
    f = fit._fitted
    q, value = f.n_parameters, f.log_likelihood
    return {"npar": float(q), "aic": 2 * q - 2 * value, "bic": float(np.log(f.n_total)) * q - 2 * value}


def _items(model: Any, data: Any, group: str | None) -> list[str]:
    """The variables that measure factors."""
    table = model.parameter_table(data, group=group) if group else model.parameter_table(data)
    loadings = table[table["op"] == "=~"]
    return [name for name in dict.fromkeys(loadings["rhs"]) if name not in set(loadings["lhs"])]


def _sizes(dims: Sequence[int]) -> list[int]:
    given = [dims] if isinstance(dims, int | np.integer) else list(dims)
    whole = all(isinstance(d, int | np.integer) and not isinstance(d, bool) and d >= 1 for d in given)
    if not given or not whole or len(set(given)) < len(given):
        raise ValueError(f"Expected dims as different numbers of factors from 1, such as (1, 2, 3); got {dims!r}.")
    return sorted(int(d) for d in given)


def _rows(data: Any) -> int:
    if not is_named(data):
        return table_shape(data)[0]
    names = column_names(data, ())
    if not names:
        raise ValueError("The data have no columns.")
    return len(raw_column(data, names[0], names))


def _take(data: Any, keep: np.ndarray) -> Any:
    """Rows of a frame, a mapping or an array."""
    if isinstance(data, Mapping):
        return {name: np.asarray(column)[keep] for name, column in data.items()}
    if hasattr(data, "iloc"):
        return data.iloc[np.flatnonzero(keep)]
    return data.filter(keep) if is_named(data) else np.asarray(data)[keep]


def _folds(data: Any, items: list[str], n: int, folds: int, key: int) -> np.ndarray:
    """The fold of every person, all of one size but for one, such that no category is in one fold only."""
    named = is_named(data)
    names = column_names(data, items)
    columns = {name: np.asarray(raw_column(data, name, names), float) for name in (items if named else names)}
    rng = np.random.default_rng(key)
    alone: tuple[str, float] | None = None
    for _ in range(SHUFFLES):
        fold = rng.permutation(n) % folds
        alone = _alone(columns, fold)
        if alone is None:
            return fold
    name, value = alone  # type: ignore[misc]
    raise ValueError(
        f"The answer {value:g} to {name!r} is too rare: all who gave it are in one fold, so that the others say nothing"
        " about it. Join it with a neighbouring category."
    )


def _alone(columns: Mapping[str, np.ndarray], fold: np.ndarray) -> tuple[str, float] | None:
    """An item and an answer to it that only people of one fold gave."""
    for name, column in columns.items():
        values = np.unique(column[~np.isnan(column)])
        if len(values) > CATEGORIES:
            continue
        for value in values:
            if len(np.unique(fold[column == value])) < 2:
                return name, float(value)
    return None
