"""Many data sets of one model in one compiled call."""

from __future__ import annotations

from typing import Any

from jaxlatent.irt import IRT, fit_irt_batch
from jaxlatent.sem import SEM, fit_sem_batch


def fit_batch(model: SEM | IRT, stacked: Any, engine: Any = None) -> Any:
    """Fit one model to many data sets in one compiled call: simulation studies, sensitivity analyses.

    stacked: array [data set, person, variable] with the model's observed variables in order, or a sequence of frames
    with the same number of rows. Returns an Estimate with a leading axis: free [B, n_free], vcov [B, n_free, n_free]
    (SEM: expected information, IRT: observed), log_likelihood [B], code [B] (1: converged), steps [B], statistics.
    SEM: ML and ULS on complete data of one group. IRT: MarginalML or AmortizedVI (one data set after the other by
    programs compiled once), one group without covariates; answers may be missing, and the items' categories are those
    found in all data sets together. Raises ValueError for anything else.
    """
    if isinstance(model, SEM):
        return fit_sem_batch(model, stacked, engine)
    if isinstance(model, IRT):
        return fit_irt_batch(model, stacked, engine)
    raise ValueError(f"Expected model to be a SEM or an IRT model; got {model!r}.")
