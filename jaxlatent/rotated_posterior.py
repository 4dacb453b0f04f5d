"""Rotated draws of an exploratory model: every draw rotated, its factors matched to those of one reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.diagnostics.datatree import as_tree, attributes
from jaxlatent.inference.draws import Draws
from jaxlatent.inference.marginal_fit import ItemFitted
from jaxlatent.numerics.chains import summarize_chains
from jaxlatent.numerics.rotated_draws import rotate_alike
from jaxlatent.numerics.rotation import rotate
from jaxlatent.results.draws import matrices_of
from jaxlatent.results.item_matrices import is_exploratory
from jaxlatent.results.item_tables import standardized_loadings

if TYPE_CHECKING:
    import pandas as pd
    from xarray import DataTree

PLACED = ("target", "biquartimin", "bigeomin", "none")  # rotations that say themselves which factor is which


@dataclass(frozen=True)
class RotatedPosterior:
    """Draws of rotated slopes [chain, draw, item, factor] and of correlations of factors [chain, draw, factor, factor].

    method: the rotation's name. Tables are those of posterior means.
    """

    slopes: np.ndarray
    correlations: np.ndarray
    items: tuple[str, ...]
    factors: tuple[str, ...]
    method: str

    @property
    def loadings(self) -> pd.DataFrame:
        """Posterior means of the rotated slopes, items by factors."""
        return self._frame(self.slopes.mean((0, 1)), self.items)

    @property
    def loadings_se(self) -> pd.DataFrame:
        """Their posterior standard deviations."""
        return self._frame(self.slopes.std((0, 1), ddof=1), self.items)

    @property
    def factor_cov(self) -> pd.DataFrame:
        """Posterior means of the correlations of the factors."""
        return self._frame(self.correlations.mean((0, 1)), self.factors)

    @property
    def parameters(self) -> pd.DataFrame:
        """A row a slope or correlation: est, se, ci_lower, ci_upper (95 %), median, rhat, ess_bulk, ess_tail."""
        import pandas as pd

        named = self._named()
        draws = np.stack(list(named.values()), -1)
        flat, chains = draws.reshape(-1, draws.shape[-1]), summarize_chains(draws)
        low, middle, high = np.quantile(flat, [0.025, 0.5, 0.975], axis=0)
        varies = np.ptp(flat, axis=0) > 0
        columns = {"est": flat.mean(0), "se": flat.std(0, ddof=1), "ci_lower": low, "ci_upper": high, "median": middle}
        columns |= {
            name: np.where(varies, values, np.nan)
            for name, values in zip(("rhat", "ess_bulk", "ess_tail"), chains, strict=True)
        }
        rows = pd.DataFrame(list(named), columns=["lhs", "op", "rhs"])
        return pd.concat([rows, pd.DataFrame(columns)], axis=1)

    def to_datatree(self) -> DataTree:
        """An ArviZ DataTree: posterior with a variable a slope or correlation, matrices with named dimensions."""
        posterior = {"".join(name): values for name, values in self._named().items() if np.ptp(values) > 0}
        matrices = {"loadings": self.slopes, "factor_cov": self.correlations}
        dims = {"loadings": ("item", "factor"), "factor_cov": ("factor", "factor2")}
        coords = {"item": list(self.items), "factor": list(self.factors), "factor2": list(self.factors)}
        attrs = attributes("posterior") | {"rotation": self.method}
        return as_tree({"posterior": posterior, "matrices": matrices}, dims, coords, {"/": attrs, "posterior": attrs})

    def _named(self) -> dict[tuple[str, str, str], np.ndarray]:
        """Draws [chain, draw] of every slope and correlation."""
        out = {
            (f, "=~", item): self.slopes[..., j, k]
            for k, f in enumerate(self.factors)
            for j, item in enumerate(self.items)
        }
        return out | {
            (f, "~~", self.factors[b]): self.correlations[..., a, b]
            for a, f in enumerate(self.factors)
            for b in range(a + 1, len(self.factors))
        }

    def _frame(self, values: np.ndarray, index: tuple[str, ...]) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame(values, list(index), list(self.factors))


def rotate_posterior(fitted: ItemFitted, draws: Draws, method: str, **options: Any) -> RotatedPosterior:
    """Every draw of the slopes rotated by a criterion, as ``ItemResponseFit.rotate`` does, and matched to one draw.

    The reference is the draw of the highest density, rotated from many starts: unlike the mean of all draws it is a
    solution also where chains have found different reflections. Afterwards factors are put in canonical order, each
    with a positive sum of slopes, unless the rotation says which factor is which.

    Raises ValueError for a confirmatory model.
    """
    if fitted.table.n_groups > 1 or len(fitted.table.factors) < 2 or not is_exploratory(fitted):
        raise ValueError("Only exploratory models of one group with several factors can be rotated.")
    slopes = matrices_of(fitted, draws.flat)["loadings"][:, 0]
    standard = standardized_loadings(slopes)
    best = int(np.argmax(draws.stats["lp"])) if "lp" in draws.stats else 0
    like = rotate(standard[best], method, **options)
    turn = rotate_alike(standard, like)
    rotated, phi = slopes @ np.linalg.inv(np.swapaxes(turn, 1, 2)), np.swapaxes(turn, 1, 2) @ turn
    if like.settings.name not in PLACED:
        mean = rotated.mean(0)
        order = np.argsort(-(mean**2).sum(0), kind="stable")
        sign = np.where(mean[:, order].sum(0) < 0, -1.0, 1.0)
        rotated, phi = rotated[:, :, order] * sign, phi[:, order][:, :, order] * np.outer(sign, sign)
    shape = draws.free.shape[:2]
    return RotatedPosterior(
        rotated.reshape(*shape, *rotated.shape[1:]), phi.reshape(*shape, *phi.shape[1:]),
        fitted.table.observed, fitted.table.factors, method,
    )  # fmt: skip
