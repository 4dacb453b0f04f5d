"""New data from a fitted Gaussian model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxlatent.inference.fitted import Fitted

if TYPE_CHECKING:
    import pandas as pd


def simulate(fitted: Fitted, n: int, key: int = 0, group: str | None = None) -> pd.DataFrame:
    """n persons per group drawn from N(mu, Sigma); with groups a last column, of this name, holds the labels.

    Raises ValueError where n is not a positive number or the implied covariance matrix is not positive definite.
    """
    import pandas as pd

    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"Expected n, the number of persons, to be a positive whole number; got {n!r}.")
    rng = np.random.default_rng(key)
    names = list(fitted.table.observed)
    frames = []
    for g, label in enumerate(fitted.group_labels):
        mean = fitted.model.implied[g][0] if fitted.table.mean_structure else fitted.moments.mean[g]
        try:
            root = np.linalg.cholesky(fitted.model.implied[g][1])
        except np.linalg.LinAlgError:
            raise ValueError(
                "The implied covariance matrix is not positive definite: nothing can be simulated."
            ) from None
        frame = pd.DataFrame(mean + rng.standard_normal((int(n), len(names))) @ root.T, columns=names)
        if fitted.table.n_groups > 1:
            frame[group or "group"] = label
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)
