"""Latent variables of several occasions, each given the occasion before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxlatent.data.arrays import Arrays
from jaxlatent.latent.latent import Latent
from jaxlatent.latent.normal import Normal
from jaxlatent.latent.regression import NormalByPerson
from jaxlatent.latent.structural import NormalByGroup
from jaxlatent.spec.occasions import Transition

EQUAL = ("regressions", "innovations")


@dataclass(frozen=True)
class Autoregressive(Latent):
    """x_t = alpha_t + Phi_t x_{t-1} + xi_t, xi_t ~ N(0, Psi_t), t = 2, ..., T; x_1 as in a model of one occasion.

    cross_lagged: Phi_t is full, so that every factor is regressed on all factors of the occasion before; False: on
    itself only. equal: "regressions" (Phi_t, and effects of covariates) and "innovations" (Psi_t) that are the same at
    all t; () frees them. means: alpha_t is free (item parameters are the same at all occasions); False: 0. Written as a
    structural model x = B x + alpha + xi of all T occasions. Joereskog (1979); Andersen (1985), Psychometrika 50.

    Raises ValueError for other names in equal.
    """

    cross_lagged: bool = True
    equal: tuple[str, ...] = EQUAL
    means: bool = True

    def __post_init__(self) -> None:
        names: Any = self.equal
        given = (names,) if isinstance(names, str) else tuple(names)
        unknown = [name for name in given if name not in EQUAL]
        if unknown:
            raise ValueError(f"Expected names in equal among {', '.join(EQUAL)}; got {unknown[0]!r}.")
        object.__setattr__(self, "equal", given)
        for name in ("cross_lagged", "means"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"Expected {name} to be True or False; got {getattr(self, name)!r}.")

    @property
    def transition(self) -> Transition:
        """What the parameter table is made of."""
        return Transition(self.cross_lagged, self.equal, self.means)

    def distribution(self, params: Mapping[str, Any], data: Arrays) -> NormalByGroup | NormalByPerson:
        return Normal().distribution(params, data)
