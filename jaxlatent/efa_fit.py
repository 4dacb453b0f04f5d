"""A fitted exploratory factor model: a Fit whose loadings can be rotated again."""

from __future__ import annotations

import time
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.fit import Fit
from jaxlatent.inference.exploratory import Unrotated, standard_deviations, turned
from jaxlatent.inference.exploratory_bootstrap import exploratory_draws
from jaxlatent.inference.fitted import Fitted
from jaxlatent.numerics.rotation import Rotation
from jaxlatent.results import factor_tables as tables
from jaxlatent.results.residuals import correlation

if TYPE_CHECKING:
    import pandas as pd


class ExploratoryFit(Fit):
    """A fitted exploratory factor model, with everything that a Fit has.

    Λ and Φ are rotated (fit.rotation); rotate() gives the same solution at another rotation. Standard errors of rotated
    loadings take the rotation into account (Jennrich 1973); least squares extractions have none.
    """

    def __init__(
        self,
        spec: Any,
        unrotated: Unrotated,
        fitted: Fitted,
        rotation: Rotation,
        elapsed: float,
        *,
        key: int = 0,
        progress: bool | None = None,
        stored: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(spec, fitted, elapsed, key=key, progress=progress, stored=stored)
        self._unrotated, self._rotation = unrotated, rotation
        self._resample = partial(exploratory_draws, unrotated, rotation)

    @property
    def rotation(self) -> str:
        """The name of the rotation."""
        return self._rotation.settings.name

    @property
    def rotation_matrix(self) -> pd.DataFrame:
        """T with Λ = A (T')^-1 and Φ = T'T, A the unrotated loadings of standardised variables."""
        import pandas as pd

        names = list(self._fitted.table.latent)
        return pd.DataFrame(self._rotation.rotation, [f"axis{k + 1}" for k in range(len(names))], names)

    def rotate(self, method: str, *, key: int = 0, **options: Any) -> ExploratoryFit:
        """The same solution at another rotation ("varimax", "geomin", "target", ...): a new fit.

        options: those of the criterion (gamma, kappa, epsilon, power, target, weights), normalize, orthogonal and
        starts. Raises ValueError for unknown methods and options.
        """
        began = time.perf_counter()
        fitted, rotation = turned(self._unrotated, method, key, **options)
        elapsed = self.elapsed + time.perf_counter() - began
        return ExploratoryFit(
            self.spec, self._unrotated, fitted, rotation, elapsed, key=self._key, progress=self._progress
        )

    # ---- the solution -----------------------------------------------------------------------------------------------

    @cached_property
    def _standard(self) -> tuple[np.ndarray, np.ndarray]:
        """Standardised loadings and correlations of the factors."""
        u = self._unrotated
        sd = standard_deviations(u.loadings, u.uniquenesses)
        params = self._fitted.model.group(0)
        return params["loadings"] / sd[:, None], params["factor_cov"]

    @property
    def standardized_loadings(self) -> pd.DataFrame:
        """Loadings of standardised variables, the pattern matrix."""
        import pandas as pd

        return pd.DataFrame(self._standard[0], list(self._fitted.table.observed), list(self._fitted.table.latent))

    @property
    def structure(self) -> pd.DataFrame:
        """Correlations of variables with factors, ΛΦ."""
        import pandas as pd

        table = self._fitted.table
        return pd.DataFrame(self._standard[0] @ self._standard[1], list(table.observed), list(table.latent))

    @property
    def unrotated_loadings(self) -> pd.DataFrame:
        """Loadings of standardised variables before rotation."""
        import pandas as pd

        u, table = self._unrotated, self._fitted.table
        values = u.loadings / standard_deviations(u.loadings, u.uniquenesses)[:, None]
        return pd.DataFrame(values, list(table.observed), list(table.latent))

    @property
    def uniquenesses(self) -> pd.Series:
        """Shares of the variables' variance that are their own, 1 - h²."""
        import pandas as pd

        u = self._unrotated
        share = u.uniquenesses / standard_deviations(u.loadings, u.uniquenesses) ** 2
        return pd.Series(share, list(self._fitted.table.observed), name="u2")

    @property
    def improper(self) -> bool:
        """Whether a uniqueness is at its bound or below zero (a Heywood case)."""
        return bool(self._unrotated.at_bound.any() or (self._unrotated.uniquenesses <= 0).any())

    @property
    def communalities(self) -> pd.Series:
        """Shares of the variables' variance that the factors explain, h²."""
        return (1 - self.uniquenesses).rename("h2")

    def explained_variance(self) -> pd.DataFrame:
        """SS loadings, proportion of the variance, cumulative, share of what is explained: a row a factor."""
        return tables.explained_variance(*self._standard, self._fitted.table.latent)

    def determinacy(self) -> pd.Series:
        """Correlation of every factor with its regression scores."""
        import pandas as pd

        r = correlation(self._fitted.model.implied[0][1])
        found = tables.determinacy(*self._standard, r)
        return pd.Series(found, list(self._fitted.table.latent), name="determinacy")
