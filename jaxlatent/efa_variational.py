"""A factor model fitted by variational Bayes."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.data.moments import Moments
from jaxlatent.data.responses import Responses
from jaxlatent.diagnostics.datatree import PREDICTIVE
from jaxlatent.efa_summarise import check_layout
from jaxlatent.inference.estimate import MESSAGES
from jaxlatent.inference.exploratory_fit import check_count
from jaxlatent.inference.variational_fit import VariationalPosterior, fit_posterior
from jaxlatent.inference.variational_settings import VariationalBayes
from jaxlatent.numerics.rotation import Rotation, rotate
from jaxlatent.numerics.special import ndtri
from jaxlatent.plots.loading_plots import loadings
from jaxlatent.report.factor_summary import build_factor_summary
from jaxlatent.report.summary import Summary, SummaryInfo
from jaxlatent.results import factor_tables as tables
from jaxlatent.sem import ModelWarning

if TYPE_CHECKING:
    import pandas as pd
    from xarray import DataTree


def fit_variational(
    spec: Any, source: Responses | Moments, engine: VariationalBayes, missing: str | None, began: float, *, key: int
) -> VariationalFit:
    """The posterior of a factor model; what EFA.fit calls."""
    if isinstance(source, Moments):
        raise ValueError("VariationalBayes needs rows: pass the data themselves, not their moments.")
    if missing not in (None, "fiml", "listwise"):
        raise ValueError(f"Expected missing to be None, 'fiml' or 'listwise'; got {missing!r}.")
    data = source.listwise() if missing == "listwise" else source
    check_count(spec.n_factors, len(data.names))
    posterior = fit_posterior(data, spec.n_factors, engine, key)
    method, options = spec._rotation
    fit = VariationalFit(spec, engine, posterior, data, _turn(posterior, method, key, options), 0.0)
    fit.elapsed = time.perf_counter() - began
    for sentence in fit.warnings:
        warnings.warn(sentence, ModelWarning, stacklevel=3)
    return fit


def _turn(posterior: VariationalPosterior, method: str, key: int, options: dict[str, Any]) -> Rotation:
    """The rotation of the loadings of variables that have variance one under the model."""
    m = posterior.slopes.shape[1]
    total = np.sqrt((posterior.slopes**2).sum(1) + posterior.noise)
    standard = posterior.slopes / total[:, None]
    given = options if m == options.get("target", np.empty((0, m))).shape[1] else {}
    if method.lower() in ("target", "pst") and not given:
        method = "none"
    return rotate(standard, method, key=key, **given)


class VariationalFit:
    """The posterior of a factor model by variational Bayes.

    bound: what log p(y) is at least. n_active: factors that were not pruned; only these are rotated and shown.
    log_likelihood: at the posterior mean. Tables are pandas frames; nothing is printed.
    """

    elapsed: float

    def __init__(
        self,
        spec: Any,
        engine: VariationalBayes,
        posterior: VariationalPosterior,
        data: Responses | None,
        rotation: Rotation,
        elapsed: float,
        *,
        stored: dict[str, Any] | None = None,
    ) -> None:
        self.spec, self.engine, self.elapsed = spec, engine, elapsed
        self._posterior, self._data, self._rotation = posterior, data, rotation
        self._stored = stored or {}

    def __repr__(self) -> str:
        state = "converged" if self.converged else "NOT converged"
        return f"<VariationalFit: {self.n_active} of {self.spec.n_factors} factors, n = {self.n_persons}, {state}>"

    # ---- how it went ------------------------------------------------------------------------------------------------

    @property
    def converged(self) -> bool:
        """Whether the bound stopped rising."""
        return self._posterior.converged

    @property
    def n_iterations(self) -> int:
        """Sweeps over all parts of the posterior."""
        return self._posterior.steps

    @property
    def message(self) -> str:
        """How it ended, in a sentence, and what else should be known."""
        return " ".join((MESSAGES[1] if self.converged else "The bound was still rising at max_steps.", *self.warnings))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about the solution; empty for a sound one."""
        out = () if self.converged else ("The bound was still rising: expected a larger max_steps.",)
        if self._posterior.sums[0] / len(self._posterior.names) < 1e-3:
            return (*out, "No factor explains more than a thousandth of the variance: the variables are unrelated.")
        return out

    def _kept(self, name: str, compute: Callable[[Responses], Any]) -> Any:
        """What is computed from the rows, or was when the fit was saved."""
        return self._stored[name] if name in self._stored else compute(self._read(None))

    @property
    def n_persons(self) -> int:
        """Rows that were fitted."""
        return self._kept("n", lambda data: len(data.y))

    @property
    def bound(self) -> float:
        """Lower bound of the log evidence log p(y)."""
        return self._posterior.bound

    @property
    def trace(self) -> pd.Series:
        """The bound after every sweep; it never falls."""
        import pandas as pd

        values = self._posterior.trace
        return pd.Series(values, pd.Index(np.arange(1, len(values) + 1), name="step"), name="bound")

    @property
    def n_active(self) -> int:
        """Factors that explain more than a thousandth of the variance."""
        return len(self._posterior.active)

    # ---- estimates --------------------------------------------------------------------------------------------------

    @property
    def _names(self) -> tuple[list[str], list[str]]:
        return list(self._posterior.names), list(self.spec.factors[: self.n_active])

    @cached_property
    def _back(self) -> np.ndarray:
        """What standardised slopes are multiplied by, from the right, to be rotated."""
        return np.linalg.inv(self._rotation.rotation.T)

    def _frame(self, values: np.ndarray) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame(values, *self._names)

    @property
    def _total(self) -> np.ndarray:
        q = self._posterior
        return np.sqrt((q.slopes**2).sum(1) + q.noise)

    @property
    def loadings(self) -> pd.DataFrame:
        """Posterior means of the rotated loadings, on the scale of the variables."""
        q = self._posterior
        return self._frame(q.sd[:, None] * q.slopes @ self._back)

    @property
    def standardized_loadings(self) -> pd.DataFrame:
        """The same for standardised variables."""
        return self._frame(self._posterior.slopes @ self._back / self._total[:, None])

    @property
    def parameters(self) -> pd.DataFrame:
        """lhs, op, rhs, est, sd, ci_lower, ci_upper, std_all of loadings, means and residual variances.

        sd: of the posterior, at the rotation of its mean.
        """
        import pandas as pd

        q, (items, factors) = self._posterior, self._names
        cov = np.einsum("ka,jkl,la->ja", self._back, q.slope_cov, self._back)
        means, errors, standard = self.loadings, q.sd[:, None] * np.sqrt(cov), self.standardized_loadings
        rows = [
            (f, "=~", item, means.loc[item, f], errors[j, k], standard.loc[item, f])
            for k, f in enumerate(factors)
            for j, item in enumerate(items)
        ]
        shape, rate = q.q.tau_shape, q.q.tau_rate
        spread = rate / np.maximum(shape - 1, 1e-12) / np.sqrt(np.maximum(shape - 2, 1e-12))
        for j, item in enumerate(items):
            scale = q.sd[j] ** 2
            rows.append((item, "~~", item, scale * q.noise[j], scale * spread[j], q.noise[j] / self._total[j] ** 2))
        for j, item in enumerate(items):
            error = q.sd[j] * np.sqrt(q.q.slope_cov[j, -1, -1])
            value = q.mean[j] + q.sd[j] * q.q.slope[j, -1]
            rows.append((item, "~1", "", value, error, value / (q.sd[j] * self._total[j])))
        out = pd.DataFrame(rows, columns=["lhs", "op", "rhs", "est", "sd", "std_all"])
        half = ndtri(0.975) * out["sd"]
        out.insert(5, "ci_lower", out["est"] - half)
        out.insert(6, "ci_upper", out["est"] + half)
        return out

    @property
    def factor_cov(self) -> pd.DataFrame:
        """Correlations of the rotated factors."""
        import pandas as pd

        names = self._names[1]
        return pd.DataFrame(self._rotation.factor_cov, names, names)

    @property
    def intercepts(self) -> pd.DataFrame:
        """Posterior means of the variables' means, one column."""
        import pandas as pd

        q = self._posterior
        return pd.DataFrame({"intercept": q.mean + q.sd * q.q.slope[:, -1]}, self._names[0])

    @property
    def residual_cov(self) -> pd.DataFrame:
        """Residual variances, a diagonal matrix."""
        import pandas as pd

        q, items = self._posterior, self._names[0]
        return pd.DataFrame(np.diag(q.sd**2 * q.noise), items, items)

    @property
    def uniquenesses(self) -> pd.Series:
        """Shares of the variables' variance that are their own, 1 - h²."""
        import pandas as pd

        return pd.Series(self._posterior.noise / self._total**2, self._names[0], name="u2")

    @property
    def communalities(self) -> pd.Series:
        """Shares of the variables' variance that the factors explain, h²."""
        return (1 - self.uniquenesses).rename("h2")

    def explained_variance(self) -> pd.DataFrame:
        """SS loadings, proportion of the variance, cumulative, share of what is explained: a row a factor."""
        return tables.explained_variance(
            self.standardized_loadings.to_numpy(), self._rotation.factor_cov, self._names[1]
        )

    def relevance(self) -> pd.DataFrame:
        """All factors before rotation, pruned ones too: precision of the loadings, SS loadings, active."""
        import pandas as pd

        q = self._posterior
        sums = (q.q.slope[:, :-1] ** 2).sum(0)
        order = np.argsort(-sums, kind="stable")
        precision = (q.q.nu_shape / q.q.nu_rate) if self.engine.ard else np.ones_like(sums)
        columns = {"precision": precision[order], "ss_loadings": sums[order], "active": np.isin(order, q.active)}
        return pd.DataFrame(columns, pd.Index(np.arange(1, len(order) + 1), name="factor"))

    def rotate(self, method: str, *, key: int = 0, **options: Any) -> VariationalFit:
        """The same posterior at another rotation: a new fit."""
        turned = _turn(self._posterior, method, key, options)
        return VariationalFit(
            self.spec, self.engine, self._posterior, self._data, turned, self.elapsed, stored=self._stored
        )

    # ---- persons ----------------------------------------------------------------------------------------------------

    def implied(self) -> tuple[pd.Series, pd.DataFrame]:
        """Mean and covariance at the posterior mean."""
        import pandas as pd

        q, items = self._posterior, self._names[0]
        cov = np.outer(q.sd, q.sd) * (q.slopes @ q.slopes.T + np.diag(q.noise))
        return self.intercepts["intercept"].rename(None), pd.DataFrame(cov, items, items)

    def _read(self, data: Any) -> Responses:
        if data is not None:
            return Responses.for_scoring(data, self._posterior.names, group=None, labels=("1",))
        if self._data is None:
            raise ValueError("This fit holds no rows (it was saved without data): pass data.")
        return self._data

    def log_likelihoods(self, data: Any = None) -> pd.Series:
        """log p(y_i) at the posterior mean, of every person, fitted or new; missing values are marginalised."""
        import pandas as pd

        source = self._read(data)
        mean, cov = (part.to_numpy() for part in self.implied())
        out = np.empty(len(source.y))
        patterns, code = np.unique(~np.isnan(source.y), axis=0, return_inverse=True)
        for k, seen in enumerate(patterns):
            at = np.flatnonzero(code.reshape(-1) == k)
            e, s = source.y[np.ix_(at, np.flatnonzero(seen))] - mean[seen], cov[np.ix_(seen, seen)]
            quadratic = (e * np.linalg.solve(s, e.T).T).sum(1)
            out[at] = -(seen.sum() * np.log(2 * np.pi) + np.linalg.slogdet(s)[1] + quadratic) / 2
        return pd.Series(out, source.index, name="log_likelihood")

    @property
    def log_likelihood(self) -> float:
        """Total log-likelihood at the posterior mean; below the maximum, which ML has."""
        return float(self._kept("log_likelihood", lambda _: self.log_likelihoods().sum()))

    def scores(self, data: Any = None, method: str | None = None, return_se: bool = False) -> pd.DataFrame:
        """Posterior means of the rotated factors of the fitted persons or new ones; <factor>_se where asked for."""
        import pandas as pd

        if method not in (None, "eap"):
            raise ValueError(f"Expected method to be None or 'eap'; got {method!r}.")
        source = self._read(data)
        x, cov = self._posterior.persons(source.y)
        turn = self._rotation.rotation
        frame = pd.DataFrame(x @ turn, source.index, self._names[1])
        if return_se:
            errors = np.sqrt(np.einsum("ka,nkl,la->na", turn, cov, turn))
            for k, name in enumerate(self._names[1]):
                frame[f"{name}_se"] = errors[:, k]
        return frame

    def transform(self, data: Any) -> Any:
        """Scores of data: a frame for a frame, an array for an array."""
        found = self.scores(data)
        return found.to_numpy() if isinstance(data, np.ndarray) else found

    def to_datatree(self, *, draws: int = 1000, predictive: int = PREDICTIVE, key: int = 0) -> DataTree:
        """An ArviZ DataTree of draws from the variational posterior, at the rotation of its mean."""
        from jaxlatent.diagnostics.variational_datatree import variational_datatree

        return variational_datatree(
            self._posterior, tuple(self._names[1]), self._back, np.asarray(self._rotation.factor_cov), self._data,
            draws=draws, predictive=predictive, key=key,
        )  # fmt: skip

    # ---- what people see --------------------------------------------------------------------------------------------

    def summary(self, *, sort: bool = False, cut: float = 0.0) -> Summary:
        """Loadings, shares of variance and correlations of factors as text and, in notebooks, HTML."""
        check_layout(sort, cut)
        items = self.standardized_loadings
        order = tables.sorted_items(items.to_numpy()) if sort else np.arange(len(items))
        items["h2"], items["u2"] = self.communalities, self.uniquenesses
        details = [("Number of factors", f"{self.n_active} of {self.spec.n_factors} (others pruned)")]
        if self.n_active == self.spec.n_factors:
            details = [("Number of factors", str(self.n_active))]
        if self.n_active > 1:
            details.append(("Rotation", self._rotation.settings.name))
        details += [
            ("Bound of the log evidence", f"{self.bound:.3f}"),
            ("Log-likelihood (posterior mean)", f"{self.log_likelihood:.3f}"),
        ]
        missing = self._kept("missing", lambda data: int(np.isnan(data.y).sum()))
        info = SummaryInfo(
            title="jaxlatent: Bayesian factor analysis",
            estimator=self.engine.name,
            optimizer="coordinate ascent",
            n_iterations=self.n_iterations,
            n_observations=self.n_persons,
            missing=f"{missing} cells" if missing else "",
            converged=self.converged,
            message=self.message,
            warnings=self.warnings,
            latent=tuple(self._names[1]),
            observed=tuple(self._names[0]),
            notes=self._kept("notes", lambda data: data.notes),
            details=tuple(details),
        )
        return build_factor_summary(info, items.iloc[order], self.explained_variance(), self.factor_cov, None, cut=cut)

    def save(self, path: str | Path, *, include_data: bool = False) -> Path:
        """Write a .latent file (a zip of JSON and arrays, no pickle); the data only if asked for."""
        from jaxlatent.storage import save

        return save(self, Path(path), include_data=include_data)

    @property
    def plot(self) -> VariationalPlots:
        """plot.loadings."""
        return VariationalPlots(self)


class VariationalPlots:
    """The plots of a variational fit: they return matplotlib Axes; path= also writes the picture."""

    def __init__(self, fit: VariationalFit) -> None:
        self._fit = fit

    def loadings(self, path: str | Path | None = None, *, cut: float = 0.0, sort: bool = False) -> Any:
        """Heat map of the standardised loadings; sort: by the factor on which an item loads most."""
        frame = self._fit.standardized_loadings
        order = tables.sorted_items(frame.to_numpy()) if sort else slice(None)
        return loadings(frame.iloc[order], cut=cut, path=path)
