"""PyTorch in its own environment: ``python torch_fit.py IN.npz OUT.npz EPOCHS_1 EPOCHS_50 [wall|cpu]``.

IN has y [person, column] of zeros and ones, for encoder and decoder of the sizes of benchmarks.deep: two layers of 200
ELU units, 8 latent variables with diagonal covariance, Adam at 2e-3, batches of 100 rows in random order, the
importance-weighted bound by automatic differentiation with 1 and 50 particles. OUT has the seconds of an epoch
[particles], by the wall clock or of the processor, without the first epochs, and the bounds of the last one.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

HIDDEN, SIZE, BATCH, RATE = 200, 8, 100, 2e-3


def network(n_in: int, n_out: int) -> nn.Sequential:
    """Two hidden layers of ELU units."""
    return nn.Sequential(
        nn.Linear(n_in, HIDDEN), nn.ELU(), nn.Linear(HIDDEN, HIDDEN), nn.ELU(), nn.Linear(HIDDEN, n_out)
    )


def bound(encoder: nn.Module, decoder: nn.Module, y: torch.Tensor, particles: int) -> torch.Tensor:
    """The mean over rows of log 1/R sum_r p(y, x_r) / q(x_r | y)."""
    mean, log_scale = encoder(y).chunk(2, dim=-1)
    noise = torch.randn(particles, *mean.shape)
    x = mean + log_scale.exp() * noise
    log_prior = -(x**2).sum(-1) / 2
    log_q = -(noise**2).sum(-1) / 2 - log_scale.sum(-1)
    eta = decoder(x)
    log_y = (y * eta - nn.functional.softplus(eta)).sum(-1)
    log_w = log_y + log_prior - log_q
    return (torch.logsumexp(log_w, 0) - math.log(particles)).mean()


def train(y: torch.Tensor, particles: int, epochs: int, clock: Callable[[], float]) -> tuple[float, float]:
    """Seconds of an epoch and the mean bound of the last."""
    torch.manual_seed(0)
    encoder, decoder = network(y.shape[1], 2 * SIZE), network(SIZE, y.shape[1])
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], RATE)
    seconds, found = [], [0.0]
    for _ in range(epochs + 2):
        started, found = clock(), []
        for rows in torch.randperm(len(y)).split(BATCH):
            adam.zero_grad()
            value = bound(encoder, decoder, y[rows], particles)
            (-value).backward()
            adam.step()
            found.append(value.item())
        seconds.append(clock() - started)
    return float(np.mean(seconds[2:])), float(np.mean(found))


def main() -> None:
    """Both numbers of particles."""
    with np.load(sys.argv[1]) as given:
        y = torch.tensor(given["y"], dtype=torch.float32)
    clock = time.process_time if sys.argv[5:] == ["cpu"] else time.perf_counter
    runs = [train(y, k, int(epochs), clock) for k, epochs in zip((1, 50), sys.argv[3:5], strict=True)]
    np.savez(sys.argv[2], seconds=[s for s, _ in runs], bounds=[b for _, b in runs], version=torch.__version__)


if __name__ == "__main__":
    main()
