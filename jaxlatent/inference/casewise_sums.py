"""Information over (mu, vech Sigma) summed over cases: the one compiled program every caller shares."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np

from jaxlatent.data.incomplete import CaseArrays
from jaxlatent.models.casewise import gram_matrices, saturated_information
from jaxlatent.models.casewise_objective import pattern_information
from jaxlatent.numerics.masked import Cases


@partial(jax.jit, static_argnums=3)
def _information(mu: Any, sigma: Any, cases: tuple[Cases, ...], expected: bool) -> Any:
    if expected:
        return pattern_information(mu, sigma, cases)
    return saturated_information(gram_matrices(mu, sigma, cases))


def saturated_information_of(
    cases: tuple[CaseArrays, ...], mu: np.ndarray, sigma: np.ndarray, *, expected: bool = False
) -> np.ndarray:
    """Observed information, or that expected given the patterns [moments, moments], summed over the cases."""
    with jax.enable_x64(True):
        return np.asarray(_information(mu, sigma, tuple(Cases(*bucket) for bucket in cases), expected))
