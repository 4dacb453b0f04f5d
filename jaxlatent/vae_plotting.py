"""fit.plot of deep models: pictures that pass a fit's numbers down."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd

from jaxlatent.plots.image_plots import latent_map, picture_grid, picture_shape, profile_grid
from jaxlatent.plots.loss_trace import loss_trace
from jaxlatent.plots.matplotlib_figure import finish

MOST_SHOWN = 12
REACH = 2.5  # standard deviations that traversals and manifolds cover
Shape = tuple[int, int] | None


class Pictured(NamedTuple):
    """What pictures need of a fit: names, the latent variables that columns depend on directly (the first so many),
    mean and standard deviation of each, how much each is used, raw values of the fit's persons or None, and looks at
    the training (epoch, loss, loss of persons held out).
    """

    observed: tuple[str, ...]
    factors: tuple[str, ...]
    lowest: int
    center: np.ndarray
    spread: np.ndarray
    usage: np.ndarray
    raw: np.ndarray | None
    looks: np.ndarray


class PicturedFit(Protocol):
    """A fit that maps rows to latent variables and back."""

    def pictured(self) -> Pictured: ...
    def raw_rows(self, data: Any) -> pd.DataFrame: ...
    def scores(self, data: Any = None) -> pd.DataFrame: ...
    def decode(self, x: Any) -> Any: ...


class DeepPlots:
    """The plots of a deep fit: all return matplotlib Axes; path= also writes the file.

    shape: rows and columns of pixels; columns that make a square are taken for one, others are drawn as profiles.
    """

    def __init__(self, fit: PicturedFit) -> None:
        self._fit = fit

    def reconstructions(self, data: Any = None, path: str | Path | None = None, *, shape: Shape = None) -> Any:
        """Persons above what the model makes of their latent variables, 12 at most; missing cells are tinted."""
        frame = self._fit.raw_rows(data).iloc[:MOST_SHOWN]
        rows, index = frame.to_numpy(dtype=float), frame.index
        both = np.stack([rows, self._decode(self._fit.scores(frame).to_numpy())])
        found = picture_shape(rows.shape[1], shape)
        if found is None:
            return profile_grid(
                np.swapaxes(both, 0, 1), self._fit.pictured().observed, row_names=[str(i) for i in index],
                legend=("observed", "reconstructed"), path=path,
            )  # fmt: skip
        return picture_grid(both, found, limits=self._limits(rows), row_names=("observed", "model"), path=path)

    def traversal(
        self, factors: Sequence[str] | str | None = None, path: str | Path | None = None, *, steps: int = 9,
        shape: Shape = None,
    ) -> Any:  # fmt: skip
        """E(y | x) along each latent variable, the others at 0: a row each, those most in use first, 12 at most."""
        chosen, about = self._chosen(factors), self._fit.pictured()
        center, spread = about.center, about.spread
        at = np.linspace(-REACH, REACH, steps)
        x = np.tile(center, (len(chosen), steps, 1))
        for row, k in enumerate(chosen):
            x[row, :, k] += at * spread[k]
        values = self._decode(x)
        names = [about.factors[k] for k in chosen]
        found = picture_shape(values.shape[-1], shape)
        labels = [f"{v:+.1f}" if v else "0" for v in at]
        if found is None:
            return profile_grid(values, about.observed, row_names=names, legend=labels, path=path)
        return picture_grid(values, found, limits=self._limits(values), row_names=names, column_names=labels,
                            column_label="Standard deviations from the mean", path=path)  # fmt: skip

    def along(
        self, direction: Any, data: Any = None, path: str | Path | None = None, *, steps: int = 7, shape: Shape = None
    ) -> Any:
        """E(y | x + a * direction) from persons' posterior means x, a from 0 to 1: a row each, 12 persons at most.

        direction: a number for each factor, such as fit.attribute_direction gives.
        """
        scores = self._fit.scores(data).iloc[:MOST_SHOWN]
        way, at = np.asarray(direction, float), np.linspace(0, 1, steps)
        if way.shape != (scores.shape[1],):
            raise ValueError(f"Expected a direction of {scores.shape[1]} numbers, one a factor; got {direction!r}.")
        values = self._decode(scores.to_numpy()[:, None] + at[:, None] * way)
        names, labels = [str(i) for i in scores.index], [f"{v:.2g}" for v in at]
        found = picture_shape(values.shape[-1], shape)
        if found is None:
            return profile_grid(values, self._fit.pictured().observed, row_names=names, legend=labels, path=path)
        return picture_grid(values, found, limits=self._limits(values), row_names=names, column_names=labels,
                            column_label="Share of the way", path=path)  # fmt: skip

    def manifold(
        self, factors: Sequence[str] | None = None, path: str | Path | None = None, *, steps: int = 12,
        shape: Shape = None,
    ) -> Any:  # fmt: skip
        """E(y | x) over a grid of two latent variables, the two most in use by default, the others at their mean."""
        chosen = self._chosen(factors)
        if len(chosen) < 2:
            raise ValueError(f"A manifold needs two latent variables; got {len(chosen)}: use plot.traversal().")
        a, b = chosen[:2]
        about = self._fit.pictured()
        center, spread = about.center, about.spread
        at = np.linspace(-REACH, REACH, steps)
        x = np.tile(center, (steps, steps, 1))
        x[..., a] += at[None, :] * spread[a]
        x[..., b] += at[::-1, None] * spread[b]
        values = self._decode(x)
        names = about.factors
        found = picture_shape(values.shape[-1], shape)
        if found is None:
            labels = [f"{v:+.1f}" for v in at]
            return profile_grid(values[:: max(steps // 4, 1)], about.observed, path=path,
                                row_names=[f"{names[b]} = {v:+.1f}" for v in at[::-1][:: max(steps // 4, 1)]],
                                legend=labels)  # fmt: skip
        return picture_grid(values, found, limits=self._limits(values), row_label=names[b], column_label=names[a],
                            path=path)  # fmt: skip

    def latent(
        self, data: Any = None, path: str | Path | None = None, *, color: Sequence[object] | None = None,
        factors: Sequence[str] | None = None, axes: str = "components", dimensions: int = 2,
    ) -> Any:  # fmt: skip
        """Persons' posterior means on a map of two dimensions or three, coloured by a label or a number each.

        axes: "components", the first principal components of the latent variables, or "factors", those most in use, or
        those named in factors.
        """
        if dimensions not in (2, 3):
            raise ValueError(f"Expected dimensions as 2 or 3; got {dimensions!r}.")
        if axes not in ("components", "factors"):
            raise ValueError(f"Expected axes as 'components' or 'factors'; got {axes!r}.")
        scores = self._fit.scores(data)
        if scores.shape[1] < dimensions:
            raise ValueError(
                f"A map needs {dimensions} latent variables; this model has {scores.shape[1]}: see fit.scores()."
            )
        if factors is not None or axes == "factors" or scores.shape[1] == dimensions:
            chosen = [str(scores.columns[k]) for k in self._chosen(factors)[:dimensions]]
            return latent_map(scores[chosen].to_numpy(), chosen, color=color, path=path)
        x = scores.to_numpy() - scores.to_numpy().mean(0)
        _, _, turn = np.linalg.svd(x, full_matrices=False)
        names = [f"{which} component of x" for which in ("First", "Second", "Third")[:dimensions]]
        return latent_map(x @ turn[:dimensions].T, names, color=color, path=path)

    def loss(self, path: str | Path | None = None) -> Any:
        """Minus the bound per person by epoch, of training and of persons held out."""
        epoch, loss, held = self._fit.pictured().looks.T
        fine = np.isfinite(held)
        ax = loss_trace(epoch, loss, held_out=(epoch[fine], held[fine]) if fine.any() else None, label=self._loss_name)
        ax.set_xlabel("Epoch")
        return finish(ax, path)

    @property
    def _loss_name(self) -> str:
        return getattr(self._fit, "loss_name", "Negative bound per person")

    def _decode(self, x: np.ndarray) -> np.ndarray:
        """E(y | x) [..., column] at x [..., D]."""
        found = np.asarray(self._fit.decode(x.reshape(-1, x.shape[-1])))
        return found.reshape(*x.shape[:-1], found.shape[-1])

    def _chosen(self, factors: Sequence[str] | str | None) -> list[int]:
        """Positions of the named latent variables; by default those of the lowest layer, most in use first."""
        about = self._fit.pictured()
        names = list(about.factors)
        if factors is not None:
            given = [factors] if isinstance(factors, str) else list(factors)
            unknown = [name for name in given if name not in names]
            if unknown:
                raise ValueError(f"There is no factor {unknown[0]!r}; the factors are {', '.join(names[:20])}.")
            return [names.index(name) for name in given]
        return [int(k) for k in np.argsort(-about.usage[: about.lowest])[:MOST_SHOWN]]

    def _limits(self, values: np.ndarray) -> tuple[float, float]:
        """The range of grey: that of the fitted data where they are held."""
        held = self._fit.pictured().raw
        shown = values if held is None else held
        low, high = float(np.nanmin(shown)), float(np.nanmax(shown))
        return low, high if high > low else low + 1
