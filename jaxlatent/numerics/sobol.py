"""Sobol points: evenly spread, in the unit cube or as standard normal ones."""

from __future__ import annotations

import numpy as np

CLIP = 1e-6  # of uniform numbers, before they become normal ones


def sobol(n: int, d: int, seed: int = 0) -> np.ndarray:
    """n scrambled Sobol points in the unit cube [n, d]; balanced where n is a power of two."""
    from scipy.stats import qmc

    size = 1 << max(n - 1, 0).bit_length()
    return np.asarray(qmc.Sobol(d, scramble=True, rng=np.random.default_rng(seed)).random(size))[:n]


def normal_sobol(n: int, d: int, seed: int = 0) -> np.ndarray:
    """Sobol points as standard normal ones [n, d]."""
    from scipy.special import ndtri

    return np.asarray(ndtri(np.clip(sobol(n, d, seed), CLIP, 1 - CLIP)))
