"""Mixtures of factor analysers: the face users import."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.data.responses import Responses
from jaxlatent.efa import read_items
from jaxlatent.inference.exploratory_settings import check_steps
from jaxlatent.inference.mixture_fit import MixtureEstimate, fit_mixture
from jaxlatent.inference.settings import check_key
from jaxlatent.numerics.factor_extraction import canonical_columns
from jaxlatent.report.blocks import Block, Heading, Paragraph, Row, Table
from jaxlatent.report.numbers import fixed
from jaxlatent.report.summary import Summary, SummaryInfo, header_rows, warning_blocks
from jaxlatent.sem import ModelWarning

if TYPE_CHECKING:
    import pandas as pd


class MixtureOfFactorAnalyzers:
    """Clusters, each with a mean and a factor model of its own.

    y | k ~ N(μ_k, Λ_k Λ_k' + Θ_k),   P(k) = π_k

    n_components, n_factors: how many clusters, and factors in each. shared_noise: one Θ for all clusters. Estimated by
    accelerated EM from `starts` k-means clusterings; missing cells are allowed.

    Raises ValueError naming the option where a value is not possible. Ghahramani and Hinton (1996); McLachlan and Peel
    (2000), Finite Mixture Models.
    """

    def __init__(
        self,
        n_components: int,
        n_factors: int,
        *,
        shared_noise: bool = False,
        starts: int = 10,
        tolerance: float = 1e-8,
        max_steps: int = 5000,
    ) -> None:
        for name, value in (("n_components", n_components), ("n_factors", n_factors), ("starts", starts)):
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise ValueError(f"Expected {name} to be a whole number from 1; got {value!r}.")
        if not isinstance(shared_noise, bool | np.bool_):
            raise ValueError(f"Expected shared_noise to be True or False; got {shared_noise!r}.")
        check_steps(tolerance, max_steps)
        self.n_components, self.n_factors, self.starts = int(n_components), int(n_factors), int(starts)
        self.shared_noise, self.tolerance, self.max_steps = bool(shared_noise), float(tolerance), max_steps

    def __repr__(self) -> str:
        return f"MixtureOfFactorAnalyzers({self.n_components}, {self.n_factors})"

    def fit(self, data: Any, *, key: int = 0) -> MixtureFit:
        """Estimate the mixture of all columns of the data: a frame, a mapping of columns, or an array.

        Raises ValueError where there are too few persons or variables, or a cluster is empty.
        """
        began = time.perf_counter()
        check_key(key)
        source = read_items(data)
        if not isinstance(source, Responses):
            raise ValueError("A mixture needs rows: pass the data themselves, not their moments.")
        n, p = source.y.shape
        if self.n_factors >= p:
            raise ValueError(f"Expected fewer factors than variables; got {self.n_factors} factors of {p} variables.")
        if n <= self.n_components * (self.n_factors + 1):
            raise ValueError(
                f"Expected more persons than {self.n_components} components with {self.n_factors} factors can be"
                f" estimated from; got {n} rows."
            )
        found = fit_mixture(
            source.y, self.n_components, self.n_factors, shared=self.shared_noise, starts=self.starts, key=int(key),
            tolerance=self.tolerance, max_steps=self.max_steps,
        )  # fmt: skip
        fit = MixtureFit(self, source, found, time.perf_counter() - began)
        if found.weights[-1] * n < 1:
            raise ValueError(
                f"Cluster {self.n_components} is empty: expected a smaller n_components, or another key for the starts."
            )
        for sentence in fit.warnings:
            warnings.warn(sentence, ModelWarning, stacklevel=2)
        return fit


class MixtureFit:
    """A fitted mixture of factor analysers; components come by falling probability. Tables are pandas frames."""

    def __init__(
        self,
        spec: MixtureOfFactorAnalyzers,
        data: Responses | None,
        estimate: MixtureEstimate,
        elapsed: float,
        *,
        stored: dict[str, Any] | None = None,
    ) -> None:
        self.spec, self.elapsed = spec, elapsed
        self._data, self._estimate = data, estimate
        self._stored = stored or {}

    def __repr__(self) -> str:
        state = "converged" if self.converged else "NOT converged"
        return f"<MixtureFit: {self.spec.n_components} components, n = {self._n}, {state}>"

    @property
    def _rows(self) -> Responses:
        if self._data is None:
            raise ValueError("This fit was saved without its rows: pass data, or save with include_data=True.")
        return self._data

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(self._stored["names"]) if self._stored else self._rows.names

    @property
    def _n(self) -> int:
        return int(self._stored["n"]) if self._stored else len(self._rows.y)

    @property
    def _notes(self) -> tuple[str, ...]:
        return tuple(self._stored["notes"]) if self._stored else self._rows.notes

    @property
    def _entropy(self) -> float:
        if self._stored:
            return float(self._stored["entropy"])
        share, k = self.predict_proba().to_numpy(), self.spec.n_components
        plogp = -(share * np.log(np.maximum(share, 1e-300))).sum()
        return float(1 - plogp / (self._n * np.log(k))) if k > 1 else 1.0

    @property
    def converged(self) -> bool:
        """Whether EM reached a maximum."""
        return self._estimate.converged

    @property
    def n_iterations(self) -> int:
        """Steps of accelerated EM."""
        return self._estimate.steps

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about the solution; empty for a sound one."""
        out: list[str] = []
        if not self.converged:
            out.append("EM was still rising: expected a larger max_steps.")
        own = self._estimate.weights * self._n
        small = np.flatnonzero(own < len(self._names))
        if len(small):
            out.append(f"Cluster {small[0] + 1} has {own[small[0]]:.1f} persons: too few to describe it.")
        return tuple(out)

    @property
    def _components(self) -> list[str]:
        return [str(k + 1) for k in range(self.spec.n_components)]

    def _stack(self, parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
        import pandas as pd

        return pd.concat(list(parts), keys=self._components, names=["component"])

    @property
    def weights(self) -> pd.Series:
        """Probabilities of the components."""
        import pandas as pd

        return pd.Series(self._estimate.weights, pd.Index(self._components, name="component"), name="weight")

    @property
    def means(self) -> pd.DataFrame:
        """Means, a row a component."""
        import pandas as pd

        e = self._estimate
        index = pd.Index(self._components, name="component")
        return pd.DataFrame(e.centre + e.scale * e.means, index, list(self._names))

    @property
    def loadings(self) -> pd.DataFrame:
        """Loadings by component, on the scale of the variables, along principal axes."""
        import pandas as pd

        e, names = self._estimate, [f"F{k + 1}" for k in range(self.spec.n_factors)]
        parts = []
        for a in e.loadings:
            turned = canonical_columns(a @ np.linalg.eigh(a.T @ a)[1])
            parts.append(pd.DataFrame(e.scale[:, None] * turned, list(self._names), names))
        return self._stack(parts)

    @property
    def uniquenesses(self) -> pd.DataFrame:
        """Residual variances, a row a component."""
        import pandas as pd

        e = self._estimate
        index = pd.Index(self._components, name="component")
        return pd.DataFrame(e.uniquenesses * e.scale**2, index, list(self._names))

    def covariance(self) -> pd.DataFrame:
        """Covariance matrix of every component."""
        import pandas as pd

        e, names = self._estimate, list(self._names)
        out = [
            np.outer(e.scale, e.scale) * (a @ a.T + np.diag(u)) for a, u in zip(e.loadings, e.uniquenesses, strict=True)
        ]
        return self._stack([pd.DataFrame(cov, names, names) for cov in out])

    def _persons(self, data: Any) -> tuple[Responses, np.ndarray, np.ndarray]:
        source = self._rows if data is None else Responses.for_scoring(data, self._names, group=None, labels=("1",))
        value, share, _ = self._estimate.persons(source.y)
        return source, value, share

    def predict_proba(self, data: Any = None) -> pd.DataFrame:
        """Probabilities of the components of every person, fitted or new."""
        import pandas as pd

        source, _, share = self._persons(data)
        return pd.DataFrame(share, source.index, self._components)

    def predict(self, data: Any = None) -> pd.Series:
        """The most probable component of every person."""
        import pandas as pd

        source, _, share = self._persons(data)
        return pd.Series(np.array(self._components)[share.argmax(1)], source.index, name="component")

    def log_likelihoods(self, data: Any = None) -> pd.Series:
        """Log-likelihood of every person, fitted or new; missing values are marginalised."""
        import pandas as pd

        source, value, _ = self._persons(data)
        return pd.Series(value, source.index, name="log_likelihood")

    @property
    def log_likelihood(self) -> float:
        """Total log-likelihood."""
        return self._estimate.log_likelihood

    def fit_measures(self) -> pd.Series:
        """npar, logl, aic, bic, and entropy (1: everybody's component is certain)."""
        import pandas as pd

        k, p, m = self._estimate.loadings.shape
        q = k - 1 + k * (p + p * m - m * (m - 1) // 2) + (p if self.spec.shared_noise else k * p)
        out = {"npar": q, "logl": self.log_likelihood, "aic": 2 * q - 2 * self.log_likelihood,
               "bic": np.log(self._n) * q - 2 * self.log_likelihood, "entropy": self._entropy}  # fmt: skip
        return pd.Series(out, dtype=float)

    def simulate(self, n: int, key: int = 0) -> pd.DataFrame:
        """n persons from the mixture; a last column, component, says from which."""
        import pandas as pd

        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise ValueError(f"Expected n, the number of persons, to be a positive whole number; got {n!r}.")
        e, rng = self._estimate, np.random.default_rng(key)
        label = rng.choice(len(e.weights), size=int(n), p=e.weights / e.weights.sum())
        x = rng.standard_normal((int(n), self.spec.n_factors))
        z = e.means[label] + np.einsum("npm,nm->np", e.loadings[label], x)
        z += rng.standard_normal(z.shape) * np.sqrt(e.uniquenesses[label])
        out = pd.DataFrame(e.centre + e.scale * z, columns=list(self._names))
        out["component"] = np.array(self._components)[label]
        return out

    def summary(self) -> Summary:
        """Probabilities, means and fit as text and, in notebooks, HTML."""
        measures = self.fit_measures()
        info = SummaryInfo(
            title="jaxlatent: mixture of factor analysers", estimator="EM", n_iterations=self.n_iterations,
            n_parameters=int(measures["npar"]), n_observations=self._n, converged=self.converged,
            message="" if self.converged else self.warnings[0], warnings=self.warnings, notes=self._notes,
            details=(("Number of components", str(self.spec.n_components)),
                     ("Factors of each", str(self.spec.n_factors))),
        )  # fmt: skip
        blocks: list[Block] = [Heading(info.title, 1), *warning_blocks(info), Table((), tuple(header_rows(info)))]
        blocks.extend(Paragraph(note) for note in info.notes)
        rows = [Row(name.upper(), (fixed(measures[name]),), 1) for name in ("logl", "aic", "bic", "entropy")]
        blocks.append(Table((), tuple(rows), "Log-Likelihood and Information Criteria"))
        means = self.means
        cells = [Row("weight", tuple(fixed(w) for w in self.weights), 1)]
        cells += [Row(str(name), tuple(fixed(x) for x in means[name]), 1) for name in means]
        blocks.append(Table(tuple(self._components), tuple(cells), "Components: Weights and Means", "parameters"))
        return Summary(info, tuple(blocks))

    def save(self, path: str | Path, *, include_data: bool = False) -> Path:
        """Write a .latent file (a zip of JSON and arrays, no pickle); the data only if asked for."""
        from jaxlatent.storage import save

        return save(self, Path(path), include_data=include_data)
