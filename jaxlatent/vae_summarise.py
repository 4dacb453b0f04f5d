"""The summary of a deep fit, put together from its numbers."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from jaxlatent.guides.guide import Guide
from jaxlatent.guides.recurrent import Recurrent
from jaxlatent.measurement.family import Family
from jaxlatent.report.blocks import Block, Heading, Paragraph, Row, Table
from jaxlatent.report.numbers import fixed
from jaxlatent.report.summary import Summary, SummaryInfo, header_rows, warning_blocks

if TYPE_CHECKING:
    from jaxlatent.vae_fit import DeepFit


def summary(fit: DeepFit) -> Summary:
    """What was fitted, how well, and which latent variables are used."""
    f, spec = fit._fitted, fit.spec
    info = SummaryInfo(
        title="jaxlatent: deep latent factor model",
        estimator=f.engine.name,
        n_iterations=fit.n_iterations,
        n_parameters=f.n_parameters,
        n_observations=f.n_persons,
        converged=fit.converged,
        message=fit.message,
        latent=f.factors,
        observed=f.observed,
        notes=f.notes,
    )
    blocks: list[Block] = [Heading(info.title, 1), *warning_blocks(info), Table((), tuple(header_rows(info)))]
    blocks += [Paragraph(note) for note in info.notes]
    likelihoods = Counter(_named(family) for family in f.columns.families)
    decoder = "linear" if f.model.measurement.decoder is None else "network"
    shown = [
        ("Likelihood", ", ".join(f"{name} ({n} columns)" for name, n in likelihoods.items())),
        ("Decoder", decoder if decoder == "linear" or spec.decoder is not None
         else f"network with layers of {', '.join(str(n) for n in spec.hidden) or 'no'} units"),
        ("Latent variables", " + ".join(str(n) for n in spec.sizes)),
        ("Distribution of these", type(f.model.latent).__name__ if spec.latent is not None else "normal"),
        ("Guide", _guide(f.engine.guide)),
        ("Particles", str(f.engine.particles)),
        ("Estimator of the gradient", str(f.engine.estimator)),
    ]  # fmt: skip
    blocks.append(Table((), tuple(Row(name, (value,), 1) for name, value in shown), "Model"))
    error = f.estimate.statistics.get("standard_error", 0.0)
    rows = [Row("Log-likelihood", (fixed(fit.log_likelihood),), 1),
            Row("  Monte Carlo standard error", (fixed(error) if f.rule is None else "exact",), 1),
            Row("Log-likelihood per person", (fixed(fit.log_likelihood / f.n_persons),), 1)]  # fmt: skip
    blocks.append(Table((), tuple(rows), "Log-Likelihood"))
    if "posterior" in f.cache:
        units = fit.active_units()
        lines = tuple(
            Row(str(name), (fixed(float(v)), "yes" if a else "no"), 1)
            for name, v, a in zip(units.index, units["variance"], units["active"], strict=True)
        )
        blocks.append(Table(("Variance of the mean", "Active"), lines, "Latent Variables", "parameters"))
    return Summary(info, tuple(blocks))


def _guide(guide: Guide) -> str:
    if isinstance(guide, Recurrent):
        return f"recurrent, {' + '.join(str(n) for n in guide.hidden)} units"
    return f"{guide.family} normal" if hasattr(guide, "family") else "of your own"


def _named(family: Family) -> str:
    return {"Logistic": "bernoulli", "DecodedNormal": "normal", "JointNormal": "normal"}.get(
        type(family).__name__, type(family).__name__
    )
