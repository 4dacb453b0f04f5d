"""Many data sets of one item response model by amortized inference: programs are compiled for the first."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jaxlatent.data.coding import Coding
from jaxlatent.inference.amortized_fit import fit_amortized
from jaxlatent.inference.amortized_settings import AmortizedVI
from jaxlatent.inference.estimate import Estimate
from jaxlatent.inference.item_data import ItemData
from jaxlatent.inference.priors import Priors
from jaxlatent.latent.latent import Latent
from jaxlatent.measurement.measurement import Measurement
from jaxlatent.spec.item_table import ItemTable


def fit_amortized_stack(
    table: ItemTable, measurement: Measurement, coding: Coding, stack: np.ndarray, engine: AmortizedVI, priors: Priors,
    *, latent: Latent | None = None, key: int = 0,
) -> Estimate:  # fmt: skip
    """Estimates of all data sets [data set, person, item] (nan where missing), as single fits with this key give them.

    One after the other: each trains until its own held-out bound stops rising.
    """
    found = [_one(table, measurement, coding, y, engine, priors, latent, key) for y in stack]
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *found)


def _one(
    table: ItemTable, measurement: Measurement, coding: Coding, y: np.ndarray, engine: AmortizedVI, priors: Priors,
    latent: Latent | None, key: int,
) -> Any:  # fmt: skip
    data = ItemData(coding.encode(y), np.zeros(len(y), np.int32), None, None)
    fitted = fit_amortized(
        table, measurement, coding, data, None, engine, latent=latent, priors=priors, key=key, progress=False
    )
    q = table.n_free
    vcov = np.full((q, q), np.nan) if fitted.vcov is None else fitted.vcov
    return fitted.estimate._replace(vcov=vcov, log_likelihood=fitted.log_likelihood)
