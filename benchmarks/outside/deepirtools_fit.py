"""DeepIRTools in its own environment: ``python deepirtools_fit.py IN.npz OUT.npz SAMPLES SEED [EPOCHS]``.

IN has y [person, item] and q [item, factor]; "own" instead of a path takes the set inside the package. OUT has
loadings, intercepts, factor_cov, the seconds of fit, and y and q.
"""

from __future__ import annotations

import sys
import time

import deepirtools
import numpy as np
import torch


def main() -> None:
    """One fit with the package's defaults, but for the number of importance samples."""
    source, target, samples, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    if source == "own":
        y = deepirtools.load_grm()["data"].float()
        q = torch.block_diag(*[torch.ones([3, 1])] * 4)
    else:
        with np.load(source) as found:
            y, q = (torch.as_tensor(found[name], dtype=torch.float32) for name in ("y", "q"))
    deepirtools.manual_seed(seed)
    started = time.perf_counter()
    model = deepirtools.IWAVE(
        model_type="grm",
        latent_size=q.shape[1],
        n_cats=[int(k) + 1 for k in y.max(0).values],
        Q=q,
        correlated_factors=list(range(q.shape[1])),
        verbose=False,
    )
    epochs = {"max_epochs": int(sys.argv[5])} if len(sys.argv) > 5 else {}
    model.fit(y, iw_samples=samples, **epochs)
    took = time.perf_counter() - started
    found = {"loadings": model.loadings, "intercepts": model.intercepts, "factor_cov": model.cov, "y": y, "q": q}
    intercepts = found["intercepts"]
    found["intercepts"] = intercepts[:, None] if intercepts.ndim == 1 else intercepts
    np.savez(target, seconds=took, **{name: value.detach().numpy() for name, value in found.items()})


if __name__ == "__main__":
    main()
