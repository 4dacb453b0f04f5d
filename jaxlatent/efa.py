"""Exploratory factor analysis: the face users import."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.data.frames import column_names, is_named, require, table_shape
from jaxlatent.data.moments import Moments
from jaxlatent.data.responses import Responses
from jaxlatent.efa_fit import ExploratoryFit
from jaxlatent.inference.exploratory import turned
from jaxlatent.inference.exploratory_fit import anchored_table, check_count, extract_factors
from jaxlatent.inference.exploratory_settings import EM
from jaxlatent.inference.settings import ML, check_key, estimator
from jaxlatent.numerics.factor_extraction import METHODS
from jaxlatent.numerics.rotation_criteria import find_method
from jaxlatent.sem import ModelWarning
from jaxlatent.spec.efa_table import exploratory_table

if TYPE_CHECKING:
    import pandas as pd

    from jaxlatent.bound import BoundModel


class EFA:
    """Exploratory factor analysis: every variable on every factor, then a rotation.

    y = ν + Λ x + e,   x ~ N(0, Φ),   e ~ N(0, Θ) with Θ diagonal,   Σ = ΛΦΛ' + Θ

    n_factors: how many. rotation: a name ("oblimin", "varimax", "promax", "geomin", "quartimin", "bifactor", "target",
    "none", ...) or a mapping with it and its options, such as {"method": "target", "target": matrix}. extraction:
    "ml" (maximum likelihood), "minres" (least squares of the correlations) or "pa" (principal axes).

    Raises ValueError naming the option where a value is not possible. Lawley and Maxwell (1971), Factor Analysis as a
    Statistical Method.
    """

    def __init__(
        self, n_factors: int, *, rotation: str | Mapping[str, Any] = "oblimin", extraction: str = "ml"
    ) -> None:
        if isinstance(n_factors, bool) or not isinstance(n_factors, int | np.integer) or n_factors < 1:
            raise ValueError(f"Expected n_factors to be a whole number from 1; got {n_factors!r}.")
        self.n_factors = int(n_factors)
        self.rotation = rotation
        self._rotation = _rotation(rotation)
        if extraction not in METHODS:
            raise ValueError(f"Expected extraction to be one of {', '.join(METHODS)}; got {extraction!r}.")
        self.extraction = extraction

    def __repr__(self) -> str:
        return f"EFA({self.n_factors}, rotation={self._rotation[0]!r}, extraction={self.extraction!r})"

    @property
    def factors(self) -> tuple[str, ...]:
        """Names of the factors."""
        return tuple(f"F{k + 1}" for k in range(self.n_factors))

    def parameter_table(self, data: Any) -> pd.DataFrame:
        """What is free before any fitting: all loadings, variances, and correlations of oblique factors."""
        names = read_items(data).names
        check_count(self.n_factors, len(names))
        oblique = find_method(self._rotation[0])[1].oblique and self.n_factors > 1
        return exploratory_table(names, self.factors, oblique=oblique).to_frame()

    def fit(
        self,
        data: Any,
        engine: Any = None,
        *,
        group: str | None = None,
        missing: str | None = None,
        weights: str | None = None,
        cluster: str | None = None,
        key: int = 0,
        progress: bool | None = None,
        checkpoint: Any = None,
    ) -> Any:
        """Extract and rotate factors of all columns of the data.

        data: a pandas or polars frame, a mapping of columns, an array, or Moments. engine: ML(...) (default), EM(...)
        or VariationalBayes(...), or a name that estimator() knows. missing: None ("fiml" where cells are missing),
        "fiml", "listwise", "two_stage" or "robust_two_stage"; least squares extractions of incomplete rows take the
        maximum likelihood covariances ("two_stage"). weights, cluster: columns. key: random starts of the rotation.

        Raises ValueError in one sentence where data and model don't go together; warns (ModelWarning) about solutions
        that should not be trusted as they are.
        """
        began = time.perf_counter()
        if group is not None:
            raise ValueError("EFA takes one group: fit the rows of each group, or use SEM with group=.")
        if checkpoint is not None:
            raise ValueError("Checkpoints are for engines that run for minutes; those of EFA take none.")
        check_key(key)
        engine = self._engine(engine)
        source = read_items(data, weights=weights, cluster=cluster)
        if not isinstance(engine, ML | EM):
            from jaxlatent.efa_variational import fit_variational

            return fit_variational(self, source, engine, missing, began, key=int(key))
        plain = extract_factors(source, self.factors, engine, missing, self.extraction)
        fitted, rotation = turned(plain, self._rotation[0], int(key), **self._rotation[1])
        fit = ExploratoryFit(self, plain, fitted, rotation, time.perf_counter() - began, key=key, progress=progress)
        unturned = () if rotation.converged else (f"The rotation {fit.rotation} did not converge: use another one.",)
        for sentence in (*unturned, *fit.warnings):
            warnings.warn(sentence, ModelWarning, stacklevel=2)
        return fit

    def bind(self, data: Any, *, group: str | None = None, missing: str | None = None) -> BoundModel:
        """The unrotated model with its data: .model (LatentVariableModel), .responses and .arrays.

        Zeros in the rows of the variables that span the factors best identify it.
        """
        from jaxlatent.bound import bind

        source = read_items(data)
        if isinstance(source, Moments):
            raise ValueError("Binding needs rows: pass the data themselves, not their moments.")
        if group is not None:
            raise ValueError("EFA takes one group: bind the rows of each group.")
        source = source.listwise() if missing == "listwise" else source
        check_count(self.n_factors, len(source.names))
        return bind(self, anchored_table(source, self.factors), source)

    def _engine(self, engine: Any) -> Any:
        from jaxlatent.inference.variational_settings import VariationalBayes

        if engine is None:
            return ML()
        found = estimator(engine) if isinstance(engine, str) else engine
        if not isinstance(found, ML | EM | VariationalBayes):
            raise ValueError(
                "Expected engine to be ML(...), EM(...), VariationalBayes(...) or a name such as 'MLR'; got"
                f" {engine!r} (for least squares: EFA(..., extraction='minres'))."
            )
        if self.extraction != "ml" and found != ML():
            raise ValueError(f"extraction={self.extraction!r} takes no engine: leave it out, or use extraction='ml'.")
        return found


def read_items(data: Any, *, weights: str | None = None, cluster: str | None = None) -> Responses | Moments:
    """All columns but those of weights and clusters; Moments as they are."""
    if isinstance(data, Moments):
        if weights or cluster:
            raise ValueError("Moments hold neither weights nor clusters: pass the rows.")
        return data
    if isinstance(data, Responses):
        if data.n_groups > 1:
            raise ValueError("EFA takes one group: pass the rows of each group.")
        return data
    if is_named(data):
        names = column_names(data, ())
        other = [name for name in (weights, cluster) if name is not None]
        require(names, other)
        items = tuple(name for name in names if name not in other)
    else:
        items = tuple(f"item{j + 1}" for j in range(table_shape(data)[1]))
    if len(items) < 2:
        raise ValueError(f"Expected at least two variables; got {len(items)}.")
    return Responses.from_frame(data, items, weights=weights, cluster=cluster)


def _rotation(given: Any) -> tuple[str, dict[str, Any]]:
    if given is None:
        given = "none"
    if isinstance(given, str):
        find_method(given)
        return given, {}
    if not isinstance(given, Mapping) or not isinstance(given.get("method"), str):
        raise ValueError(
            "Expected rotation as a name, or a mapping such as {'method': 'target', 'target': matrix}; got"
            f" {given!r}."
        )
    find_method(given["method"])
    return given["method"], {name: value for name, value in given.items() if name != "method"}
