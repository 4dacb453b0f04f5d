"""The posterior of a model in a moment, and the evidence of posterior draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jaxlatent.diagnostics.datatree import PREDICTIVE, datatree
from jaxlatent.inference.bayes import check_covered, item_posterior, moment_posterior
from jaxlatent.inference.draws import Draws
from jaxlatent.inference.laplace_draws import laplace_draws
from jaxlatent.inference.laplace_draws import log_evidence as evidence_of
from jaxlatent.irt import IRT
from jaxlatent.numerics.bridge import Evidence
from jaxlatent.numerics.pareto import POOR
from jaxlatent.posterior_fit import PosteriorFit
from jaxlatent.sem import SEM

if TYPE_CHECKING:
    from xarray import DataTree


@dataclass(frozen=True)
class ApproximatePosterior:
    """Draws by Laplace's approximation, taken by importance weights.

    draws: free parameters [1, draw, parameter]; pareto_k: above 0.7 they should not be trusted; log_evidence: log p(y).
    """

    draws: Draws
    pareto_k: float
    log_evidence: float
    fitted: Any

    def __repr__(self) -> str:
        fine = "good" if self.pareto_k <= POOR else "NOT to be trusted"
        return f"<ApproximatePosterior: {self.draws.free.shape[1]} draws, Pareto k = {self.pareto_k:.2f}, {fine}>"

    def to_datatree(self, *, predictive: int = PREDICTIVE, key: int = 0) -> DataTree:
        """The draws as an ArviZ DataTree, with the groups of every other fit."""
        return datatree(self.fitted, self.draws, predictive=predictive, key=key)


def approximate_posterior(
    model: SEM | IRT, data: Any, *, draws: int = 1000, key: int = 0, group: str | None = None
) -> ApproximatePosterior:
    """Laplace's approximation of the posterior that NUTS draws from: one Newton search and importance weights.

    Raises ValueError for models that NUTS does not take, or with so many factors that they are sampled along.
    """
    if not isinstance(model, SEM | IRT):
        raise ValueError(f"Expected a SEM or an IRT model; got {model!r}.")
    fitted: Any = model.fit(data, group=group)._fitted
    check_covered(fitted.table)
    posterior, start = item_posterior(fitted) if isinstance(model, IRT) else moment_posterior(fitted)
    found = laplace_draws(posterior, start, draws, key)
    return ApproximatePosterior(*found, fitted)


def log_evidence(fit: PosteriorFit, *, key: int = 0) -> Evidence:
    """log p(y) of a model by bridge sampling from the draws of a fit: .log_value, .relative_mse, .standard_error.

    The log of a Bayes factor is the difference of two. Priors restricted to positive loadings or decreasing intercepts
    count up to a constant, the same for models with the same restrictions.

    Raises ValueError for another fit, or one that was read from a file.
    """
    if not isinstance(fit, PosteriorFit):
        raise ValueError(f"Expected a fit by NUTS(); got {fit!r}.")
    if fit._sample.density is None:
        raise ValueError("This fit was read from a file, without its density: fit the model again.")
    return evidence_of(fit._sample.density, fit.draws, key)
