"""A fitted deep model: every method is a line or two that delegate down."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.data.responses import Responses
from jaxlatent.estimated import Estimated
from jaxlatent.inference.deep_fit import (
    ACTIVE,
    DRAWS,
    LIKELIHOOD_DRAWS,
    DeepFitted,
    deep_log_likelihood_estimate,
)
from jaxlatent.inference.deep_occasions import new_rows
from jaxlatent.inference.importance import LogLikelihoodEstimate, PersonPosterior
from jaxlatent.results.item_simulation import lengthened

if TYPE_CHECKING:
    import pandas as pd
    from xarray import DataTree

    from jaxlatent.report.summary import Summary
    from jaxlatent.vae_plotting import DeepPlots, Pictured

PRIOR_DRAWS = 4000  # of x, for its mean and standard deviation
IMPUTATIONS = 20  # draws from the posterior whose mean fills a missing cell


class DeepFit(Estimated):
    """A fitted deep latent factor model.

    engine: the engine with every option resolved. converged, message: how training ended. warnings: sentences about the
    solution; notes: what was done to the data. n_iterations (epochs), elapsed (seconds). Tables are pandas frames.
    """

    def __init__(self, spec: Any, fitted: DeepFitted, elapsed: float) -> None:
        self.spec = spec
        self.elapsed = elapsed
        self._fitted = fitted

    def __repr__(self) -> str:
        f = self._fitted
        return f"<DeepFit of {self.spec!r} by {self.engine.name}: n = {f.n_persons}, {self._state}>"

    # ---- fit --------------------------------------------------------------------------------------------------

    @property
    def log_likelihood(self) -> float:
        """Total log-likelihood of the fitted persons: exact for linear decoders with a closed form, else sampled."""
        return float(self._fitted.estimate.log_likelihood)

    @cached_property
    def log_likelihood_estimate(self) -> LogLikelihoodEstimate:
        """(value, standard_error, n_samples) of the log-likelihood by draws from the guide."""
        return deep_log_likelihood_estimate(self._fitted)

    def log_likelihoods(
        self, data: Any = None, *, n_samples: int = LIKELIHOOD_DRAWS, key: int | None = None
    ) -> pd.Series:
        """log p(y) of every person, fitted or new, by n_samples draws of x from the guide."""
        import pandas as pd

        codes, source = self._read(data)
        found = self._fitted.posteriors(codes, n_samples, known=data is None, key=key)
        return pd.Series(found.log_marginal, source.index, name="log_likelihood")

    def active_units(self) -> pd.DataFrame:
        """Of every latent variable the variance over persons of its posterior mean, and whether it is above 0.01.

        nats: what a person's values say about it on average, the divergence of N(posterior mean, posterior variance)
        from N(0, 1). Source: Burda, Grosse and Salakhutdinov (2016).
        """
        import pandas as pd

        found = self._posterior(None)[0]
        spread, own = found.mean.var(0), np.maximum(np.diagonal(found.cov, axis1=-2, axis2=-1), 1e-12)
        nats = np.asarray((own + found.mean**2 - 1 - np.log(own)) / 2).mean(0)
        columns = {"variance": spread, "nats": nats, "active": spread > ACTIVE}
        return pd.DataFrame(columns, list(self._fitted.factors))

    def transition(self) -> pd.DataFrame:
        """Of a model of occasions: intercept, regressions on the factors before and innovation variance of factors.

        x_t = alpha_t + Phi x_{t-1} + xi_t: a row a factor from the second occasion on. Raises ValueError without them.
        """
        import pandas as pd

        f = self._fitted
        if f.occasions is None:
            raise ValueError("transition is for models of several occasions: give occasions.")
        p, d = {name: np.asarray(value, float)[0] for name, value in f.matrices.items()}, len(f.occasions.factors)
        rows = range(d, len(f.factors))
        carried = [p["regressions"][k, (k // d - 1) * d : (k // d) * d] for k in rows]
        columns = [f"on_{name}" for name in f.occasions.factors]
        out = pd.DataFrame(carried, [f.factors[k] for k in rows], columns)
        out.insert(0, "intercept", p["factor_means"][d:])
        out["innovation"] = np.diagonal(p["factor_cov"])[d:]
        return out

    # ---- persons ----------------------------------------------------------------------------------------------

    @property
    def _names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Columns and factors, those of one occasion where there are several."""
        f = self._fitted
        return (f.observed, f.factors) if f.occasions is None else (f.occasions.items, f.occasions.factors)

    def _frame(self, values: np.ndarray, source: Responses, names: Sequence[str]) -> pd.DataFrame:
        """Numbers [person, ...] as a row a person, or a row for each of the user's rows of persons and occasions."""
        import pandas as pd

        if source.long is None:
            return pd.DataFrame(values, source.index, list(names))
        return pd.DataFrame(source.long.of_each(values, len(names)), source.long.index, list(names))

    def _read(self, data: Any) -> tuple[np.ndarray, Responses]:
        """Coded values, and whose they are."""
        f = self._fitted
        if data is None:
            if f.codes is None or f.responses is None:
                raise ValueError("This fit holds no rows (it was saved without its data): pass data.")
            return f.codes, f.responses
        if f.occasions is not None:
            source = new_rows(data, f.occasions)
        else:
            source = Responses.for_scoring(data, f.observed, group=None, labels=())
        return f.columns.encode(source.y), source

    def _posterior(self, data: Any) -> tuple[PersonPosterior, Responses]:
        codes, source = self._read(data)
        if data is None and "posterior" in self._fitted.cache:
            return self._fitted.cache["posterior"], source
        return self._fitted.posteriors(codes, DRAWS, known=data is None), source

    def scores(self, data: Any = None, method: str | None = None, return_se: bool = False) -> pd.DataFrame:
        """Posterior means of the latent variables of persons, fitted or new; with <factor>_se, posterior sd.

        With occasions a row for every row of the data.
        """
        import pandas as pd

        if method not in (None, "eap"):
            raise ValueError(f"Expected method to be 'eap', the posterior mean; got {method!r}.")
        found, source = self._posterior(data)
        frame = self._frame(found.mean, source, self._names[1])
        if not return_se:
            return frame
        errors = np.sqrt(np.maximum(np.diagonal(found.cov, axis1=-2, axis2=-1), 0))
        return pd.concat([frame, self._frame(errors, source, self._names[1]).add_suffix("_se")], axis=1)

    def transform(self, data: Any) -> Any:
        """Scores of data: a frame for a frame, an array for an array."""
        found = self.scores(data)
        return found.to_numpy() if isinstance(data, np.ndarray) else found

    def decode(self, x: Any) -> Any:
        """E(y | x) at latent variables x [row, factor]: a frame for a frame, an array for an array."""
        return self._framed(x, self._fitted.decode(self._points(x)))

    def deviations(self, x: Any) -> Any:
        """Standard deviations of y given x [row, factor], of normal columns (nan of others), as decode gives them."""
        return self._framed(x, self._fitted.deviations(self._points(x)))

    def latent_density(self, x: Any) -> np.ndarray:
        """p(x) at latent variables x [row, factor]: a number for each row."""
        return np.exp(self._fitted.log_prior(self._points(x)))

    def _points(self, x: Any) -> np.ndarray:
        """Latent variables as numbers [row, factor]."""
        values, d = np.asarray(x, float), len(self._names[1])
        if values.ndim != 2 or values.shape[1] != d or not np.isfinite(values).all():
            raise ValueError(f"Expected finite latent variables [row, {d}]; got shape {values.shape} or other values.")
        return values

    def _framed(self, x: Any, found: np.ndarray) -> Any:
        """Columns of the data for rows of x."""
        import pandas as pd

        return pd.DataFrame(found, x.index, list(self._names[0])) if isinstance(x, pd.DataFrame) else found

    def reconstruct(self, data: Any) -> Any:
        """E(y | x) at every person's posterior mean x: a frame for a frame, an array for an array."""
        return self.decode(self.transform(data))

    def impute(self, data: Any = None, key: int = 0) -> Any:
        """The data with missing cells at their expected values given the observed cells of the person."""
        codes, source = self._read(data)
        x = self._fitted.draws(codes, IMPUTATIONS, key, known=data is None)
        each = x.reshape(*x.shape[:2], -1, len(self._names[1]))  # [person, draw, occasion, factor]
        expected = self._fitted.decode(each).mean(1).reshape(codes.shape)
        filled = np.where(np.isnan(codes), expected, self._fitted.columns.decode(codes))
        return filled if isinstance(data, np.ndarray) else self._frame(filled, source, self._names[0])

    def simulate(self, n: int, key: int = 0) -> pd.DataFrame:
        """n persons drawn from the fitted model, in raw values."""
        import pandas as pd

        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise ValueError(f"Expected n to be a whole number from 1; got {n!r}.")
        made = pd.DataFrame(self._fitted.sample(int(n), key)[1], columns=list(self._fitted.observed))
        return made if self._fitted.occasions is None else lengthened(made, self._fitted.occasions, 0)

    def generate(self, like: Any, n: int, key: int = 0) -> Any:
        """E(y | x) of n new rows like the rows ``like``, those of one label say: x lies between two of them at random.

        A frame for a frame, an array for an array. Raises ValueError for fewer than two rows.
        """
        import pandas as pd

        x = np.asarray(self.transform(like), float)
        if len(x) < 2:
            raise ValueError(f"Expected at least 2 rows to be like; got {len(x)}.")
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise ValueError(f"Expected n to be a whole number from 1; got {n!r}.")
        rng = np.random.default_rng(key)
        first, second = rng.integers(len(x), size=n), rng.integers(len(x), size=n)
        made = self.decode(x[first] + rng.uniform(size=(n, 1)) * (x[second] - x[first]))
        return made if isinstance(like, np.ndarray) else pd.DataFrame(made, columns=list(self._names[0]))

    def interpolate(self, first: Any, second: Any, steps: int = 9) -> Any:
        """E(y | x) at even steps from the posterior mean of one row to that of another (frames or arrays of a row)."""
        import pandas as pd

        ends = [np.asarray(self.transform(row), float) for row in (first, second)]
        if any(len(end) != 1 for end in ends):
            raise ValueError(f"Expected one row each, such as data.iloc[[0]]; got {len(ends[0])} and {len(ends[1])}.")
        share = np.linspace(0, 1, steps)[:, None]
        made = self.decode(ends[0] + share * (ends[1] - ends[0]))
        return made if isinstance(first, np.ndarray) else pd.DataFrame(made, columns=list(self._names[0]))

    def attribute_direction(self, having: Any, lacking: Any) -> pd.Series:
        """The way from rows without an attribute to rows with it: the difference of their mean latent variables."""
        return (self.scores(having).mean() - self.scores(lacking).mean()).rename("direction")

    def move(self, data: Any, direction: Any, amount: float = 1.0) -> Any:
        """E(y | x + amount * direction) from every row's posterior mean x: a frame for a frame, an array for an array.

        direction: a number for each factor, such as attribute_direction gives.
        """
        x, way = self.transform(data), np.asarray(direction, float)
        if way.shape != (x.shape[1],) or not np.isfinite(way).all():
            raise ValueError(f"Expected a direction of {x.shape[1]} finite numbers, one a factor; got {direction!r}.")
        return self.decode(x + float(amount) * way)

    def predict_proba(self, data: Any = None, key: int = 0) -> pd.DataFrame:
        """Of latent variables that are a mixture, p(component | y) of every person; components by falling weight."""
        import pandas as pd

        codes, source = self._read(data)
        share = self._fitted.components(codes, key, known=data is None)
        return pd.DataFrame(share, source.index, [str(k + 1) for k in range(share.shape[1])])

    def predict(self, data: Any = None, key: int = 0) -> pd.Series:
        """The most probable component of every person."""
        return self.predict_proba(data, key).idxmax(axis=1).rename("component")

    def outlier_scores(self, data: Any = None, *, n_simulated: int = 1000, key: int = 0) -> pd.DataFrame:
        """log_likelihood of every person, and pvalue: how rarely a person of the model has as low a one.

        By n_simulated persons drawn from the model; pvalue is nan for persons with missing cells, whose log-likelihood
        is that of fewer cells.
        """
        import pandas as pd

        own = self.log_likelihoods(data)
        drawn = np.sort(self.log_likelihoods(self.simulate(n_simulated, key)))
        pvalue = (1 + np.searchsorted(drawn, own, side="right")) / (1 + len(drawn))
        pvalue[np.isnan(self._read(data)[0]).any(axis=1)] = np.nan
        return pd.DataFrame({"log_likelihood": own, "pvalue": pvalue})

    def to_datatree(self, *, draws: int = 100, predictive: int = 100, key: int = 0) -> DataTree:
        """An ArviZ DataTree: persons' latent variables given their data, data made from them, log-likelihoods.

        Weights of the networks are taken as known, so that these are no draws of parameters.
        """
        from jaxlatent.diagnostics.deep_datatree import deep_datatree

        index = None if self._fitted.responses is None else self._fitted.responses.index
        return deep_datatree(self._fitted, draws=draws, predictive=predictive, index=index, key=key)

    # ---- showing it -------------------------------------------------------------------------------------------

    def summary(self) -> Summary:
        """The whole result as text and, in notebooks, HTML."""
        from jaxlatent.vae_summarise import summary

        return summary(self)

    @property
    def plot(self) -> DeepPlots:
        """plot.reconstructions, traversal, manifold, latent, loss."""
        from jaxlatent.vae_plotting import DeepPlots

        return DeepPlots(self)

    def raw_rows(self, data: Any = None) -> pd.DataFrame:
        """Rows as the model reads them, in raw values: its columns in their order, missing cells nan."""
        import pandas as pd

        codes, source = self._read(data)
        frame = self._frame(self._fitted.columns.decode(codes), source, self._names[0])
        if self._fitted.occasions is not None and source.long is not None:
            when, long = self._fitted.occasions, source.long
            rows = [np.asarray(source.index)[long.person], np.array(when.labels, object)[long.occasion]]
            frame.index = pd.MultiIndex.from_arrays(rows, names=[when.person or "person", when.occasion])
        return frame

    def pictured(self) -> Pictured:
        """What pictures need."""
        from jaxlatent.vae_plotting import Pictured

        f = self._fitted
        decoder = f.model.measurement.decoder
        if "moments" not in f.cache:
            x = f.sample(PRIOR_DRAWS, 0)[0]
            f.cache["moments"] = x.mean(0), x.std(0)
        usage = f.cache["posterior"].mean.var(0) if "posterior" in f.cache else np.ones(len(f.factors))
        looks = np.array([(look.epoch, look.loss, -look.held) for look in f.trained.looks], float).reshape(-1, 3)
        observed, factors = self._names
        lowest = len(factors) if decoder is None or f.occasions is not None else decoder.n_in
        raw = None if f.responses is None else f.responses.y.reshape(-1, len(observed))
        center, spread = f.cache["moments"]
        if f.occasions is not None:  # at the first one
            center, spread, usage = (a[: len(factors)] for a in (center, spread, usage))
        return Pictured(observed, factors, lowest, center, spread, usage, raw, looks)

    def save(self, path: str | Path, *, include_data: bool = False) -> Path:
        """Write a .latent file (a zip of JSON and arrays, no pickle); the data only if asked for."""
        from jaxlatent.storage import save

        return save(self, Path(path), include_data=include_data)
