"""The engine of amortized variational inference as a user names it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

ESTIMATORS = ("elbo", "analytic", "iwae", "dreg", "stl", "gdreg")
SE = ("observed", "crossprod", "none")
SAMPLES = 5  # of each person and step, unless asked for otherwise
EPOCHS = 500
STEPS = 60  # of an epoch at least, as far as batches of SMALLEST persons allow
SMALLEST, LARGEST = 32, 1024


@dataclass(frozen=True)
class AmortizedVI:
    """Importance-weighted amortized variational inference (Burda et al. 2016; Urban and Bauer 2021).

    E log 1/R sum_r p(y, x_r) / q(x_r | y),   x_r ~ q(x | y), a network of y

    particles: R of every person and step; None takes 5. estimator: of the gradient, "elbo", "analytic" (the same,
    divergences of normal distributions by their formula), "iwae", "dreg" (Tucker et al. 2018), "stl" (Roeder et al.
    2017) or "gdreg" (Bauer and Mnih 2021); None takes "dreg". guide: one of jaxlatent.guides; None takes
    Amortized(family="full"), or Recurrent() with occasions. optimizer: an optax optimiser with a rate of its own, such
    as optax.adam(1e-3); None takes Adam at a rate that is held, then lowered.
    batch_size: persons of a step. max_epochs: passes over the data at most. polish: whether second-order steps on
    importance-sampled points follow where items factor and latent variables are normal, so that the end point is a
    maximum. se: "observed", "crossprod" or "none".
    beta: weight of log p(x) - log q(x | y) against log p(y | x), 1 for a bound of the likelihood (Higgins et al. 2017).
    free_bits: nats of the divergence of q(x | y) from p(x), mean over the persons of a step, that cost nothing, against
    latent variables that are not used (Kingma et al. 2016); with estimator "elbo", which it then takes by default.
    annealing: epochs over which the weight of log p(x) - log q(x | y) rises to beta, against the same (Bowman et al.
    2016). averaging: share, 0 to 1, of the steps after the rate was held, the last of them, whose parameters are
    averaged into the result (Polyak and Juditsky 1992); for an optimizer whose rate does not fall.

    Raises ValueError naming the option where a value is not among its choices.
    """

    particles: int | None = None
    estimator: str | None = None
    guide: Any = None
    optimizer: Any = None
    batch_size: int | None = None
    max_epochs: int | None = None
    polish: bool = True
    se: str = "observed"
    beta: float = 1.0
    free_bits: float = 0.0
    annealing: int = field(default=0, kw_only=True)
    averaging: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("particles", "batch_size", "max_epochs"):
            value = getattr(self, name)
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if value is not None and not (whole and value >= 1):
                raise ValueError(f"Expected {name} to be a whole number from 1; got {value!r}.")
        if self.estimator is not None and self.estimator not in ESTIMATORS:
            raise ValueError(f"Expected estimator to be one of {', '.join(ESTIMATORS)}; got {self.estimator!r}.")
        if self.se not in SE:
            raise ValueError(f"Expected se to be one of {', '.join(SE)}; got {self.se!r}.")
        for name in ("beta", "free_bits"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ValueError(f"Expected {name} as a number of at least 0; got {value!r}.")
        if self.free_bits and self.estimator not in (None, "elbo", "analytic"):
            raise ValueError(f"free_bits is for the estimators 'elbo' and 'analytic'; got {self.estimator!r}.")
        a, share = self.annealing, self.averaging
        if isinstance(a, bool) or not isinstance(a, int | np.integer) or a < 0:
            raise ValueError(f"Expected annealing to be a whole number of epochs from 0; got {a!r}.")
        if self.max_epochs is not None and a >= self.max_epochs:
            raise ValueError(f"Expected annealing below max_epochs, {self.max_epochs}; got {a}.")
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ValueError(f"Expected averaging as a share from 0 to 1; got {share!r}.")
        if not isinstance(self.polish, bool):
            raise ValueError(f"Expected polish to be True or False; got {self.polish!r}.")
        if self.optimizer is not None and not (hasattr(self.optimizer, "init") and hasattr(self.optimizer, "update")):
            raise ValueError(f"Expected optimizer to be an optax GradientTransformation; got {self.optimizer!r}.")

    @property
    def name(self) -> str:
        """What tables call it."""
        return "AmortizedVI"

    def resolve(self, n_persons: int) -> AmortizedVI:
        """The same engine with nothing left at None but the guide and the optimizer."""
        batch = self.batch_size or int(np.clip(2 ** round(np.log2(max(n_persons / STEPS, 1))), SMALLEST, LARGEST))
        estimator = self.estimator or ("elbo" if self.free_bits else "dreg")
        return replace(
            self, particles=self.particles or SAMPLES, estimator=estimator,
            batch_size=min(batch, n_persons), max_epochs=self.max_epochs or EPOCHS,
        )  # fmt: skip
