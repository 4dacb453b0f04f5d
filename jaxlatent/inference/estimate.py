"""What every engine returns: arrays only, so that estimates can be stacked and vmapped."""

from __future__ import annotations

from typing import Any, NamedTuple


class Estimate(NamedTuple):
    """A fitted free vector.

    free [n_free] natural parameters; vcov [n_free, n_free]; log_likelihood (); code (): see MESSAGES; steps ();
    statistics: named arrays of the engine; draws [draw, n_free] or None. A batch has a leading axis everywhere.
    """

    free: Any
    vcov: Any
    log_likelihood: Any
    code: Any
    steps: Any
    statistics: dict[str, Any]
    draws: Any = None


MESSAGES = {
    0: "The optimiser was interrupted before it converged.",
    1: "Converged.",
    2: "The optimiser reached its limit of steps without converging: look for a factor with weak indicators, a wrong"
    " sign in a fixed value, or a model that is not identified.",
    3: "The optimiser stopped at a point from which no step improves the fit: the model is probably not identified, its"
    " constraints contradict each other, or the data cannot support it.",
    4: "The implied covariance matrix at the starting values is not positive definite: give start() values or remove"
    " contradictory fixed values.",
}
