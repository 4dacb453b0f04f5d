"""mirt's stored item response models as arrays: probability tables from their formulas, derivatives by complex steps.

Nothing here uses the library: the tables, nodes and weights are what an engine would hand to the fit statistics.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

STEP = 1e-30
NODES = np.linspace(-6.0, 6.0, 61)  # those of the reference runs


def binary(x, p):
    upper = p["g"] + (p["u"] - p["g"]) / (1 + np.exp(-(p["a1"] * x + p["d"])))
    return np.stack([1 - upper, upper], -1)


def ideal(x, p):
    top = np.exp(-0.5 * (p["a1"] * x + p["d"]) ** 2)
    return np.stack([1 - top, top], -1)


def cumulative(eta):
    above = 1 / (1 + np.exp(-eta))
    edges = np.concatenate([np.ones_like(above[:, :1]), above, np.zeros_like(above[:, :1])], 1)
    return edges[:, :-1] - edges[:, 1:]


def graded(x, p):
    return cumulative(p["a1"] * x[:, None] + np.array([p[f"d{k}"] for k in range(1, 4)]))


def grsm(x, p):
    return cumulative(p["a1"] * (x[:, None] + np.array([p[f"b{k}"] for k in range(1, 4)]) + p["c"]))


def softmax(eta):
    top = np.exp(eta - eta.real.max(-1, keepdims=True))
    return top / top.sum(-1, keepdims=True)


def nominal(x, p):
    slope, d = (np.array([p[f"{s}{k}"] for k in range(4)]) for s in ("ak", "d"))
    return softmax(p["a1"] * slope * x[:, None] + d)


def gpcm_irt(x, p):
    steps = p["a1"] * (x[:, None] - np.array([p[f"b{k}"] for k in range(1, 4)])) + p["c"]
    return softmax(np.concatenate([np.zeros_like(steps[:, :1]), np.cumsum(steps, 1)], 1))


FORMULAS = {
    "dich": binary, "ideal": ideal, "graded": graded, "grsmIRT": grsm, "gpcm": nominal, "nominal": nominal,
    "gpcmIRT": gpcm_irt,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A reference file: answers, responses [person, item] from 0, and the model at mirt's estimates."""

    answer: dict[str, Any]
    y: np.ndarray
    free: np.ndarray

    @property
    def rows(self):
        p = self.answer["parameters"]
        return [dict(zip(p, row, strict=True)) for row in zip(*p.values(), strict=True)]

    def values(self, free: np.ndarray) -> dict[str, dict[str, Any]]:
        """Item -> name -> value; ties share one element of free."""
        out: dict[str, dict[str, Any]] = {}
        for row, place in zip(self.rows, places(self.rows), strict=True):
            out.setdefault(row["item"], {"class": row["class"]})[row["name"]] = (
                free[place] if place >= 0 else row["value"]
            )
        return out

    def tables_at(self, x: np.ndarray, free: np.ndarray | None = None) -> np.ndarray:
        items = self.values(self.free if free is None else free)
        return np.stack([FORMULAS[p["class"]](x, p) for name, p in items.items() if name != "GROUP"], 1)

    def weights(self, free: np.ndarray | None = None) -> np.ndarray:
        latent = self.values(self.free if free is None else free)["GROUP"]
        density = np.exp(-0.5 * (NODES - latent["MEAN_1"]) ** 2 / latent["COV_11"])
        return density / density.sum()

    def derivative(self, function) -> np.ndarray:
        """d function(free) / d free on the last axis."""
        steps = np.eye(len(self.free)) * 1j * STEP
        return np.stack([function(self.free + step).imag / STEP for step in steps], -1)

    @property
    def n_categories(self) -> np.ndarray:
        return np.array(self.answer["fit"].get("K") or [2] * self.y.shape[1])

    def eap(self) -> tuple[np.ndarray, np.ndarray]:
        """EAP scores and their standard errors on these nodes."""
        joint = np.tile(self.weights(), (len(self.y), 1))
        tables = self.tables_at(NODES)
        for j in range(self.y.shape[1]):
            seen = ~np.isnan(self.y[:, j])
            joint[seen] *= tables[:, j, self.y[seen, j].astype(int)].T
        joint /= joint.sum(1, keepdims=True)
        mean = joint @ NODES
        return mean, np.sqrt(joint @ NODES**2 - mean**2)

    def information(self, x: np.ndarray) -> np.ndarray:
        """Test information sum_jk P'^2 / P at x."""
        slope = self.tables_at(x + 1j * STEP).imag / STEP
        return (slope**2 / self.tables_at(x)).sum((1, 2))


def places(rows) -> list[int]:
    """Index of every parameter in the free vector, -1 where fixed; rows of one constraint share theirs."""
    known: dict[str, int] = {}
    out = []
    for row in rows:
        key = row["const"] if row["const"] != "none" else f"row {row['parnum']}"
        out.append(known.setdefault(key, len(known)) if row["est"] else -1)
    return out


@functools.cache
def load(shared: Path, name: str) -> Case:
    answer = json.loads((shared / "reference" / f"{name}.json").read_text())
    y = np.genfromtxt(shared / "data" / answer["data"], delimiter=",", skip_header=1)
    return _case(answer, y - np.nanmin(y))


@functools.cache
def load_groups(shared: Path, name: str) -> list[Case]:
    """One case a group; each counts its own parameters only."""
    answer = json.loads((shared / "reference" / f"{name}.json").read_text())
    data = np.genfromtxt(shared / "data" / answer["data"], delimiter=",", skip_header=1, dtype=str)
    label = np.char.strip(data[:, -1], '"')
    out = []
    for group in np.unique(label):
        mine = [g == group for g in answer["parameters"]["group"]]
        table = {k: [x for x, m in zip(v, mine, strict=True) if m] for k, v in answer["parameters"].items()}
        out.append(_case(answer | {"parameters": table}, data[label == group, :-1].astype(float)))
    return out


def _case(answer: dict[str, Any], y: np.ndarray) -> Case:
    rows = Case(answer, y, np.zeros(0)).rows
    where = places(rows)
    free = np.zeros(max(where) + 1)
    for row, place in zip(rows, where, strict=True):
        if place >= 0:
            free[place] = row["value"]
    return Case(answer, y, free)
