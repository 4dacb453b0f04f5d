"""Posterior draws as the parameter tables users read, and sentences about the chains they came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jaxlatent.inference.draws import Draws
from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.marginal_fit import ItemFitted
from jaxlatent.numerics.chains import summarize_chains
from jaxlatent.results.values import definitions

if TYPE_CHECKING:
    import pandas as pd

DISAGREE, UNEASY = 1.05, 1.01  # R-hat from which chains disagree, from which more draws are advised
ENOUGH = 400  # effective draws (Vehtari et al. 2021)
SHOWN = 5  # parameters that a sentence names


def row_draws(fitted: Fitted | ItemFitted, draws: Draws) -> np.ndarray:
    """Values of every row of the parameter table, then of defined parameters [chain, draw, row]."""
    flat = draws.flat
    if isinstance(fitted, ItemFitted):
        params = np.append(flat, np.zeros((len(flat), 1)), 1)
        index, fixed = fitted.layout.index, fitted.layout.fixed
        places = [(r.matrix, (r.group - 1, *r.cell)) for r in fitted.table.rows]
        columns = [
            params[:, index[name][cell]] if index[name][cell] >= 0 else np.full(len(flat), fixed[name][cell])
            for name, cell in places
        ]
        values = np.stack(columns, 1)
    else:
        rows = [
            flat[:, r.free - 1] if r.free else np.full(len(flat), value)
            for r, value in zip(fitted.table.rows, _fixed_values(fitted), strict=True)
        ]
        values = np.stack(rows, 1)
        if fitted.table.definitions:
            defined = definitions(fitted, values.T)
            values = np.concatenate([values, np.broadcast_to(defined, (len(defined), len(flat))).T], 1)
    return values.reshape(*draws.free.shape[:2], -1)


def _fixed_values(fitted: Fitted) -> np.ndarray:
    from jaxlatent.results.values import matrices, row_values

    return row_values(fitted, matrices(fitted, fitted.free))


def posterior_parameters(frame: pd.DataFrame, draws: np.ndarray, level: float = 0.95) -> pd.DataFrame:
    """A parameter table at the posterior mean with its rows' draws [chain, draw, row] summarised.

    est, se: posterior mean and standard deviation; ci_lower, ci_upper: equal-tailed interval; z and pvalue mean nothing
    here and are nan. At the end median, rhat, ess_bulk, ess_tail, nan for fixed rows.
    """
    out = frame.copy()
    flat = draws.reshape(-1, draws.shape[2])
    varies = np.ptp(flat, axis=0) > 0
    chains = summarize_chains(draws)
    low, middle, high = np.quantile(flat, [(1 - level) / 2, 0.5, (1 + level) / 2], axis=0)
    out["est"] = flat.mean(0)
    out["se"] = np.where(varies, flat.std(0, ddof=1 if len(flat) > 1 else 0), 0.0)
    out["z"] = out["pvalue"] = np.nan
    out["ci_lower"], out["ci_upper"] = low, high
    out["median"] = middle
    for name, values in zip(("rhat", "ess_bulk", "ess_tail"), chains, strict=True):
        out[name] = np.where(varies, values, np.nan)
    return out


@dataclass(frozen=True)
class ChainCheck:
    """What the chains of a sample look like: worst R-hat and ESS over parameters, divergent and truncated draws."""

    rhat: float
    ess_bulk: float
    ess_tail: float
    n_divergent: int
    n_truncated: int
    sentences: tuple[str, ...]

    @property
    def agree(self) -> bool:
        """Whether all chains have found the same distribution."""
        return bool(self.rhat <= DISAGREE)


def check_chains(draws: Draws, names: Sequence[str], max_tree_depth: int) -> ChainCheck:
    """R-hat, effective draws and divergences of free parameters, and sentences about what is wrong, the worst first."""
    found = summarize_chains(draws.free)
    rhat = float(np.max(np.nan_to_num(found.rhat, nan=np.inf), initial=0.0))
    bulk, tail = (float(np.min(np.nan_to_num(a, nan=0.0), initial=np.inf)) for a in (found.ess_bulk, found.ess_tail))
    divergent = int(draws.stats["diverging"].sum())
    truncated = int((draws.stats["n_steps"] >= 2**max_tree_depth - 1).sum())
    sentences: list[str] = []
    total = draws.free.shape[0] * draws.free.shape[1]
    if not np.isfinite(rhat):
        sentences.append("The chains are too short, or stand still, so that nothing says whether they agree.")
    elif rhat > DISAGREE:
        which = _listed(names, found.rhat, DISAGREE)
        sentences.append(
            f"The chains disagree (R-hat up to {rhat:.2f}) about {which}: don't interpret these draws. Run longer"
            " chains, or look for a model with several modes or without identification."
        )
    elif rhat > UNEASY or min(bulk, tail) < ENOUGH:
        sentences.append(
            f"The chains are short: R-hat is up to {rhat:.3f} (1.01 is fine) and {min(bulk, tail):.0f} draws are the"
            f" fewest effective ones ({ENOUGH} are fine): give NUTS more num_samples."
        )
    if divergent:
        sentences.append(
            f"{divergent} of {total} draws diverged: the sampler does not get everywhere. Raise target_accept_prob, or"
            " choose tighter priors."
        )
    if truncated > 0.01 * total:
        sentences.append(f"{truncated} of {total} trajectories were cut off: raise max_tree_depth.")
    return ChainCheck(rhat, bulk, tail, divergent, truncated, tuple(sentences))


def _listed(names: Sequence[str], rhat: np.ndarray, least: float) -> str:
    order = [k for k in np.argsort(-np.nan_to_num(rhat)) if rhat[k] > least]
    shown = ", ".join(f"{names[k]} ({rhat[k]:.2f})" for k in order[:SHOWN])
    return shown + (f" and {len(order) - SHOWN} more" if len(order) > SHOWN else "")
