"""Autoencoders: the deterministic relatives of factor models, by least squares."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxlatent.data.responses import Responses
from jaxlatent.inference.deep_columns import constant_note, missing_note
from jaxlatent.inference.deep_fit import deep_arrays
from jaxlatent.inference.estimate import MESSAGES
from jaxlatent.inference.reconstruction import (
    Networks,
    Reconstruction,
    by_steps,
    decode,
    encode,
    linear_least_squares,
)
from jaxlatent.inference.settings import LeastSquares, check_key
from jaxlatent.sem import ModelWarning
from jaxlatent.vae import check_sizes, read, sizes_of, widths
from jaxlatent.vae_plotting import DeepPlots, Pictured

if TYPE_CHECKING:
    import pandas as pd


class AutoEncoder:
    """x = f(y), y ~ g(x) by least squares, f and g networks with these hidden layers (none: linear maps).

    A linear one spans what as many principal components span. Raises ValueError naming the option.
    Source: Hinton and Salakhutdinov (2006); Baldi and Hornik (1989).
    """

    def __init__(self, latent_size: int, *, hidden: Sequence[int] = (128, 128)) -> None:
        sizes = sizes_of(latent_size)
        if len(sizes) > 1:
            raise ValueError(f"Expected latent_size as one whole number; got {latent_size!r}: give layers in hidden.")
        self.latent_size, self.hidden = sizes[0], widths(hidden)

    def __repr__(self) -> str:
        return f"AutoEncoder({self.latent_size}, hidden={self.hidden!r})"

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
    ) -> AutoEncoderFit:
        """Minimise the squared error of observed cells.

        engine: None or LeastSquares("uls"): Adam on mini-batches until the error of persons held out stops falling, and
        for linear maps L-BFGS to the minimum; or any optax optimiser with a rate of its own, such as optax.adam(1e-3).
        Raises ValueError in one sentence where data and model don't go together.
        """
        started = time.perf_counter()
        for name, value in (("group", group), ("cluster", cluster), ("checkpoint", checkpoint)):
            if value is not None:
                raise ValueError(f"The option {name} is not in this version for AutoEncoder: leave it out.")
        optimizer = _optimizer(engine)
        check_key(key)
        responses = read(data, weights, missing)
        y = responses.y
        check_sizes((self.latent_size,), responses.names)
        empty = [name for name, column in zip(responses.names, y.T, strict=True) if np.isnan(column).all()]
        if empty:
            raise ValueError(f"The column {empty[0]!r} has no values: remove it.")
        center, scale = np.nanmean(y, 0), float(np.sqrt(np.nanmean(np.nanvar(y, 0)))) or 1.0
        arrays = deep_arrays((y - center) / scale, responses.weight)
        networks = Networks.of(y.shape[1], self.latent_size, self.hidden)
        linear = not self.hidden and optimizer is None
        if linear:
            found = linear_least_squares(networks, arrays, networks.init(jax.random.key(int(key))))
        else:
            found = by_steps(networks, arrays, optimizer, int(key), progress)
        notes = (*responses.notes, *constant_note(y, responses.names), *missing_note(y))
        fit = AutoEncoderFit(
            self, networks, found, responses, responses.names, len(y), center, scale, notes,
            time.perf_counter() - started,
        )  # fmt: skip
        if not fit.converged:
            warnings.warn(fit.message, ModelWarning, stacklevel=2)
        return fit


class AutoEncoderFit:
    """A fitted autoencoder.

    converged, message: how training ended; notes: what was done to the data. n_iterations (epochs, or steps of L-BFGS),
    elapsed (seconds).
    """

    loss_name = "Squared error per person"

    def __init__(
        self, spec: AutoEncoder, networks: Networks, found: Reconstruction, responses: Responses | None,
        names: tuple[str, ...], n_persons: int, center: np.ndarray, scale: float, notes: tuple[str, ...],
        elapsed: float,
    ) -> None:  # fmt: skip
        self.spec, self.elapsed, self.notes = spec, elapsed, notes
        self._networks, self._found, self._responses = networks, found, responses
        self._names, self._n_persons = names, n_persons
        self._center, self._scale = center, scale
        self._factors = tuple(f"F{k + 1}" for k in range(spec.latent_size))

    def __repr__(self) -> str:
        state = "converged" if self.converged else "NOT converged"
        return f"<AutoEncoderFit of {self.spec!r}: n = {self._n_persons}, {state}>"

    @property
    def converged(self) -> bool:
        """Whether the minimum was found or, with mini-batches, the error of persons held out stopped falling."""
        return self._found.done

    @property
    def message(self) -> str:
        """How training ended, in a sentence."""
        return MESSAGES[1] if self.converged else "Training was interrupted, or reached its limit, before it converged."

    @property
    def n_iterations(self) -> int:
        """Epochs, or steps of L-BFGS."""
        return self._found.steps

    @property
    def loadings(self) -> pd.DataFrame:
        """The linear decoder, columns by latent variables, in units of the data; raises ValueError for a deep one."""
        import pandas as pd

        if self.spec.hidden:
            raise ValueError("A deep autoencoder has no loadings: see fit.plot.traversal().")
        kernel = np.asarray(self._found.params["decoder"]["last"]["kernel"], float).T * self._scale
        return pd.DataFrame(kernel, list(self._names), list(self._factors))

    def _read(self, data: Any) -> Responses:
        if data is None:
            if self._responses is None:
                raise ValueError("This fit holds no rows (it was saved without its data): pass data.")
            return self._responses
        return Responses.for_scoring(data, self._names, group=None, labels=())

    def scores(self, data: Any = None) -> pd.DataFrame:
        """x = f(y) of persons, fitted or new; a missing cell counts as its column's mean."""
        import pandas as pd

        source = self._read(data)
        y = np.where(np.isnan(source.y), 0, (source.y - self._center) / self._scale)
        with jax.enable_x64(True):
            x = np.asarray(encode(self._networks, self._found.params, y))
        return pd.DataFrame(np.asarray(x, float), source.index, list(self._factors))

    def transform(self, data: Any) -> Any:
        """Scores of data: a frame for a frame, an array for an array."""
        found = self.scores(data)
        return found.to_numpy() if isinstance(data, np.ndarray) else found

    def decode(self, x: Any) -> Any:
        """g(x) at latent variables x [row, factor]: a frame for a frame, an array for an array."""
        import pandas as pd

        values, d = np.asarray(x, float), self.spec.latent_size
        if values.ndim != 2 or values.shape[1] != d or not np.isfinite(values).all():
            raise ValueError(f"Expected finite latent variables [row, {d}]; got shape {values.shape} or other values.")
        with jax.enable_x64(True):
            made = np.asarray(decode(self._networks, self._found.params, values), float)
        found = made * self._scale + self._center
        return pd.DataFrame(found, x.index, list(self._names)) if isinstance(x, pd.DataFrame) else found

    def reconstruct(self, data: Any) -> Any:
        """g(f(y)): a frame for a frame, an array for an array."""
        return self.decode(self.transform(data))

    def squared_errors(self, data: Any = None) -> pd.Series:
        """Sum of squared errors over the observed cells of every person, in units of the data."""
        rows = self.raw_rows(data)
        return ((rows - self.decode(self.scores(data))) ** 2).sum(axis=1).rename("squared_error")

    def raw_rows(self, data: Any = None) -> pd.DataFrame:
        """Rows as the model reads them: its columns in their order."""
        import pandas as pd

        source = self._read(data)
        return pd.DataFrame(source.y, source.index, list(source.names))

    def pictured(self) -> Pictured:
        """What pictures need."""
        x = self.scores().to_numpy()
        looks = np.array([(look.epoch, look.loss, -look.held) for look in self._found.looks], float)
        spread, raw = x.std(0), self._read(None).y
        return Pictured(self._names, self._factors, len(self._factors), x.mean(0), spread, spread, raw, looks)

    @property
    def plot(self) -> DeepPlots:
        """plot.reconstructions, traversal, manifold, latent, loss."""
        return DeepPlots(self)

    def save(self, path: str | Path, *, include_data: bool = False) -> Path:
        """Write a .latent file (a zip of JSON and arrays, no pickle); the data only if asked for."""
        from jaxlatent.storage import save

        return save(self, Path(path), include_data=include_data)


def _optimizer(engine: Any) -> Any:
    """The optax optimiser asked for, None for the default."""
    if engine is None or (isinstance(engine, LeastSquares) and engine.weight == "uls"):
        return None
    if callable(getattr(engine, "init", None)) and callable(getattr(engine, "update", None)):
        return engine
    raise ValueError(
        f"Expected LeastSquares('uls') or an optax optimiser such as optax.adam(1e-3) as the engine of an AutoEncoder;"
        f" got {engine!r}."
    )
