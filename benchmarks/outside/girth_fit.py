"""girth in its own environment: ``python girth_fit.py IN.npz OUT.npz``. IN has y [person, item] of zeros and ones.

OUT has loadings [item, 1], intercepts [item, 1] = -a b, factor_cov and the seconds of its marginal maximum likelihood.
"""

from __future__ import annotations

import sys
import time

import girth
import numpy as np


def main() -> None:
    """One fit of the 2PL with the package's defaults."""
    with np.load(sys.argv[1]) as found:
        y = found["y"].astype(int)
    started = time.perf_counter()
    result = girth.twopl_mml(y.T)
    took = time.perf_counter() - started
    a, b = np.asarray(result["Discrimination"]), np.asarray(result["Difficulty"])
    np.savez(sys.argv[2], loadings=a[:, None], intercepts=-(a * b)[:, None], factor_cov=np.eye(1), seconds=took, y=y)


if __name__ == "__main__":
    main()
