"""Pictures of learned densities and of training: what is drawn, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from jaxlatent.plots.learned_density import learned_contours, learned_density
from jaxlatent.plots.loss_trace import loss_trace


def normal(x, mean=0.0, sd=1.0):
    return np.exp(-(((x - mean) / sd) ** 2) / 2) / sd / np.sqrt(2 * np.pi)


def test_lines_of_both_densities(tmp_path):
    x = np.linspace(-4, 4, 81)
    mixture = 0.6 * normal(x, -0.8, 0.5) + 0.4 * normal(x, 1.2, 0.6)
    ax = learned_density(x, mixture, normal(x), factor="Neuroticism", path=tmp_path / "density.png")
    drawn = {line.get_label(): line.get_ydata() for line in ax.lines}
    np.testing.assert_array_equal(drawn["learned"], mixture)
    np.testing.assert_array_equal(drawn["normal"], normal(x))
    assert ax.get_xlabel() == "Neuroticism" and (tmp_path / "density.png").stat().st_size > 5000


def test_contours_hold_their_shares(tmp_path):
    x, y = np.linspace(-4, 4, 101), np.linspace(-4, 4, 91)
    bent = normal(y[:, None] - 0.5 * x**2 + 0.5, 0, 0.7) * normal(x)
    ax = learned_contours(x, y, bent, normal(y)[:, None] * normal(x), path=tmp_path / "contours.png")
    widest = ax.collections[-1].get_paths()[0].vertices  # the normal's, which holds nine tenths
    radius = np.hypot(*widest.T)
    np.testing.assert_allclose(radius, np.sqrt(-2 * np.log(0.1)), rtol=0.02)
    assert (tmp_path / "contours.png").stat().st_size > 5000


def test_trace_of_training(tmp_path):
    rng = np.random.default_rng(0)
    steps = np.arange(1, 2001)
    loss = 10 + 30 * np.exp(-steps / 100) + rng.standard_normal(2000) * 0.3
    loss[700:703] = np.nan
    at = np.arange(100, 2001, 100)
    held = 10.3 + 30 * np.exp(-at / 100) + 1e-4 * np.maximum(at - 1200, 0)
    ax = loss_trace(steps, loss, held_out=(at, held), error=np.full(20, 0.05), path=tmp_path / "loss.png")
    drawn = {line.get_label(): line for line in ax.lines}
    np.testing.assert_array_equal(drawn["held-out"].get_ydata(), held)
    np.testing.assert_array_equal(drawn["not finite"].get_xdata(), [701, 702, 703])
    assert ax.get_ylim()[1] < 25  # the first steps don't flatten the rest
    assert loss_trace(steps[:1], loss[:1]).get_ylim()[0] < loss[0]


BAD = {
    "shape": lambda: learned_density(np.zeros(3), np.ones(4), np.ones(3)),
    "negative": lambda: learned_density(np.zeros(3), -np.ones(3), np.ones(3)),
    "contours": lambda: learned_contours(np.zeros(3), np.zeros(4), np.ones((3, 4)), np.ones((3, 4))),
    "no finite loss": lambda: loss_trace(np.arange(3), np.full(3, np.nan)),
    "steps": lambda: loss_trace(np.arange(3), np.ones(4)),
    "held out": lambda: loss_trace(np.arange(3), np.ones(3), held_out=(np.arange(2), np.ones(3))),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    with pytest.raises(ValueError, match="Expected"):
        BAD[name]()
