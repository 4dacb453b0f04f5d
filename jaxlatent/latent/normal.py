"""The default spelled out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxlatent.data.arrays import Arrays
from jaxlatent.latent.latent import Latent
from jaxlatent.latent.regression import LatentRegression, NormalByPerson
from jaxlatent.latent.structural import NormalByGroup, StructuralNormal


@dataclass(frozen=True)
class Normal(Latent):
    """x normal with the structural model's means and covariances, by covariates where the model has any."""

    def distribution(self, params: Mapping[str, Any], data: Arrays) -> NormalByGroup | NormalByPerson:
        return (LatentRegression() if "covariate_effects" in params else StructuralNormal()).distribution(params, data)
