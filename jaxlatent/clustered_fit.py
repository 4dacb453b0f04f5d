"""A fitted item response model of persons in clusters: every method is a few lines that delegate down."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.inference.clustered_items import ClusteredItems, ClusteredPersons
from jaxlatent.numerics.special import ndtr, ndtri
from jaxlatent.report.blocks import Block, Heading, Row, Table
from jaxlatent.report.numbers import fixed
from jaxlatent.report.summary import Summary, SummaryInfo, header_rows, warning_blocks

if TYPE_CHECKING:
    import pandas as pd


class ClusteredItemFit:
    """A fitted item response model with x_ij = u_j + e_ij: e of persons, u of their clusters, both normal.

    engine: the engine with its options. Tables are pandas frames; nothing is printed.
    """

    def __init__(
        self, spec: Any, fitted: ClusteredItems, engine: Any, notes: tuple[str, ...], cluster: str, elapsed: float
    ) -> None:
        self.spec, self.engine, self.cluster, self.elapsed = spec, engine, cluster, elapsed
        self._fitted, self._notes = fitted, notes

    def __repr__(self) -> str:
        state = "converged" if self.converged else "NOT converged"
        size = f"n = {self._fitted.n_persons} in {self._fitted.n_clusters} clusters"
        return f"<ClusteredItemFit by {self.engine.name}: {self._n_parameters} parameters, {size}, {state}>"

    @property
    def converged(self) -> bool:
        """Whether the optimiser reached a maximum."""
        return self._fitted.converged

    @property
    def n_iterations(self) -> int:
        """Steps of the optimiser."""
        return self._fitted.steps

    @property
    def message(self) -> str:
        """How the optimiser ended, in a sentence, and what else should be known."""
        return " ".join(("Converged." if self.converged else "The optimiser did not converge.", *self.warnings))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about the solution; empty for a sound one."""
        out: list[str] = []
        if not self.converged:
            out.append("The optimiser ended without converging: look for items that hardly vary.")
        if self.engine.se != "none" and self._fitted.vcov is None:
            out.append("The information matrix is singular: standard errors are not available.")
        if self._fitted.tau < 0.05 * math.sqrt(self._fitted.within):
            out.append("Clusters hardly differ: the variance between them is nearly 0, and its error is a rough guide.")
        return tuple(out)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the data on the way."""
        return self._notes

    @property
    def _n_parameters(self) -> int:
        return len(self._fitted.free) + 1

    @property
    def _factor(self) -> str:
        return self._fitted.table.factors[0]

    @cached_property
    def parameters(self) -> pd.DataFrame:
        """lhs, op, rhs, group, level, label, free, est, se, z, pvalue, ci_lower, ci_upper: a row each.

        The last row is the variance of the factor between clusters, at level 2.
        """
        import pandas as pd

        f = self._fitted
        errors = np.full(self._n_parameters, np.nan) if f.vcov is None else np.sqrt(np.diag(f.vcov))
        rows = []
        for r in f.table.rows:
            est = float(f.matrices[r.matrix][(0, *r.cell)])
            se = errors[r.free - 1] if r.free else 0.0
            rows.append((r.lhs, r.op, r.rhs, 1, 1, r.label, r.free, est, se))
        between = (self._factor, "~~", self._factor, 1, 2, "", self._n_parameters, f.tau**2, 2 * f.tau * errors[-1])
        names = ["lhs", "op", "rhs", "group", "level", "label", "free", "est", "se"]
        out = pd.DataFrame([*rows, between], columns=names)
        with np.errstate(divide="ignore", invalid="ignore"):
            out["z"] = np.where(out["se"] > 0, out["est"] / out["se"], np.nan)
        out["pvalue"] = 2 * ndtr(-out["z"].abs())
        half = ndtri(0.975) * out["se"]
        out["ci_lower"], out["ci_upper"] = out["est"] - half, out["est"] + half
        return out

    def intraclass_correlations(self) -> pd.DataFrame:
        """Share of the factor's variance that is between clusters: est and its standard error (delta method)."""
        import pandas as pd

        f = self._fitted
        total = f.tau**2 + f.within
        slope = np.zeros(self._n_parameters)
        slope[-1] = 2 * f.tau * f.within / total**2
        at = int(f.model.layout.index["factor_cov"][0, 0, 0])
        if at >= 0:
            slope[at] = -(f.tau**2) / total**2
        se = math.nan if f.vcov is None else math.sqrt(slope @ f.vcov @ slope)
        return pd.DataFrame({"est": [f.tau**2 / total], "se": [se]}, [self._factor])

    @property
    def log_likelihood(self) -> float:
        """Total log-likelihood, of clusters."""
        return self._fitted.log_likelihood

    def fit_measures(self) -> pd.Series:
        """npar, logl, aic, bic (by persons), ntotal, nclusters."""
        import pandas as pd

        q, n, logl = self._n_parameters, self._fitted.n_persons, self.log_likelihood
        out = {"npar": q, "logl": logl, "aic": 2 * q - 2 * logl, "bic": math.log(n) * q - 2 * logl, "ntotal": n}
        return pd.Series(out | {"nclusters": self._fitted.n_clusters}, dtype=float)

    def log_likelihoods(self, data: Any = None) -> pd.Series:
        """Log-likelihood of every cluster, fitted or new, by label."""
        import pandas as pd

        persons = self._fitted.read(data, self.cluster)
        index = pd.Index(persons.labels, name=self.cluster)
        return pd.Series(self._fitted.log_likelihoods_of(persons), index, name="log_likelihood")

    def scores(self, data: Any = None, method: str | None = None, return_se: bool = False) -> pd.DataFrame:
        """Posterior means of persons' x = u + e, and of their cluster's u (<factor>_between); with <factor>_se.

        data: None for the fitted persons, or a frame with the items and the column of clusters. Clusters are those of
        these data alone, so that all persons of a cluster belong in them.
        """
        import pandas as pd

        if method not in (None, "eap"):
            raise ValueError(f"Models with clusters have scores by method 'eap'; got {method!r}.")
        persons, (x, x_se, u, u_se) = self._posteriors(data)
        codes, name = np.asarray(persons.grid.codes), self._factor
        out = {name: x, f"{name}_between": u[codes]}
        out |= {f"{name}_se": x_se, f"{name}_between_se": u_se[codes]} if return_se else {}
        return pd.DataFrame(out, persons.index)

    def cluster_scores(self, data: Any = None) -> pd.DataFrame:
        """Posterior means and standard deviations of u, a row a cluster, fitted or new."""
        import pandas as pd

        persons, (_, _, u, u_se) = self._posteriors(data)
        index = pd.Index(persons.labels, name=self.cluster)
        return pd.DataFrame({self._factor: u, f"{self._factor}_se": u_se}, index)

    def _posteriors(self, data: Any) -> tuple[ClusteredPersons, tuple[np.ndarray, ...]]:
        persons = self._fitted.read(data, self.cluster)
        return persons, self._fitted.posteriors if data is None else self._fitted.posteriors_of(persons)

    def save(self, path: str | Path, *, include_data: bool = False) -> Path:
        """Write a .latent file (a zip of JSON and arrays, no pickle); the data only if asked for."""
        from jaxlatent.storage import save

        return save(self, Path(path), include_data=include_data)

    def summary(self) -> Summary:
        """The whole result as text and, in notebooks, HTML."""
        shares = self.intraclass_correlations().iloc[0]
        info = SummaryInfo(
            title="jaxlatent: item response model of persons in clusters", estimator=self.engine.name,
            n_iterations=self.n_iterations, n_parameters=self._n_parameters,
            n_observations=self._fitted.n_persons, converged=self.converged, message=self.message,
            warnings=self.warnings, notes=self.notes,
            details=((f"Number of clusters [{self.cluster}]", str(self._fitted.n_clusters)),),
        )  # fmt: skip
        blocks: list[Block] = [Heading(info.title, 1), *warning_blocks(info), Table((), tuple(header_rows(info)))]
        rows = [Row(str(name).upper(), (fixed(value),), 1) for name, value in self.fit_measures().iloc[1:4].items()]
        blocks.append(Table((), tuple(rows), "Log-Likelihood and Information Criteria"))
        share = (Row("Estimate", (fixed(shares["est"]),), 1), Row("Standard error", (fixed(shares["se"]),), 1))
        blocks.append(Table((), share, "Intraclass Correlation"))
        cells = [Row(f"{r.lhs} {r.op} {r.rhs}".strip() + (" (level 2)" if r.level == 2 else ""),
                     (fixed(r.est), fixed(r.se)), 1) for r in self.parameters.itertuples()]  # fmt: skip
        blocks.append(Table(("Estimate", "Std.Err"), tuple(cells), "Parameters", "parameters"))
        return Summary(info, tuple(blocks))
