"""Deep latent factor models: the face users import."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.data.frames import column_names, is_named, table_shape
from jaxlatent.data.responses import Responses
from jaxlatent.guides.amortized import Amortized
from jaxlatent.guides.guide import Guide
from jaxlatent.guides.recurrent import Recurrent
from jaxlatent.inference.amortized_settings import AmortizedVI
from jaxlatent.inference.deep_columns import COVARIANCES, Columns, columns_of, likelihood_of
from jaxlatent.inference.deep_fit import deep_arrays, default_guide, fit_deep
from jaxlatent.inference.deep_model import DecoderForm, deep_model
from jaxlatent.inference.deep_occasions import read_long, repeated_columns, repeated_model
from jaxlatent.inference.settings import check_key
from jaxlatent.irt import occasions_of
from jaxlatent.latent.autoregressive import Autoregressive
from jaxlatent.latent.latent import Latent
from jaxlatent.latent.layers import Layers
from jaxlatent.latent.normal import Normal
from jaxlatent.measurement.family import Family
from jaxlatent.models.latent_variable_model import LatentVariableModel
from jaxlatent.sem import ModelWarning
from jaxlatent.spec.occasions import Occasions, Transition
from jaxlatent.vae_fit import DeepFit

if TYPE_CHECKING:
    import pandas as pd

    from jaxlatent.bound import BoundModel

MOST_FULL = {"linear": 12, "network": 3}  # latent variables up to which a guide's covariance matrix is full


class VAE:
    """A deep latent factor model (variational autoencoder): p(y) = integral of p(y | x) p(x) dx, p(y | x) a network.

    latent_size: latent variables x, or a sequence of sizes of layers, the lowest first. likelihood: of the columns
    given x, "bernoulli", "normal", "binomial", "categorical", "counts", "student_t", an item type of IRT with free
    slopes ("2pl", "graded", "negative_binomial", ...), a measurement.Family of your own, or a dict column -> one.
    hidden: widths of the layers of encoder and decoder. decoder: None (a network), "linear" (loadings: factor analysis
    or an item response model), or an object with init(key, x) and apply(variables, x), such as a Flax module, that
    gives a number for each column (as many as its likelihood takes) at x [row, latent]. encoder: such an object that
    gives any features of rows of coded columns, 0 where missing; a layer of our own makes q(x | y) of them.
    covariance: of normal columns given x, constant "diagonal", "low_rank" or "full" (complete rows), or "network", a
    diagonal that depends on x. Variances are at least 1e-4 of the column's. latent: jl.latent.Normal() by default,
    Flow(...) or Mixture(k). occasions: for data with a row a person and occasion, the column of the occasion, or a pair
    (person, occasion): one decoder for all occasions, x_t = alpha_t + Phi x_{t-1} + xi_t (jl.latent.Autoregressive()).

    Raises ValueError naming the option. Kingma and Welling (2014); Burda, Grosse and Salakhutdinov (2016).
    """

    def __init__(
        self,
        latent_size: int | Sequence[int],
        likelihood: str | Family | Mapping[str, Any],
        *,
        hidden: Sequence[int] = (128, 128),
        encoder: Any = None,
        decoder: Any = None,
        covariance: str = "diagonal",
        latent: Latent | None = None,
        occasions: Any = None,
    ) -> None:
        self.sizes = sizes_of(latent_size)
        self.latent_size = latent_size if isinstance(latent_size, int) else self.sizes
        if not isinstance(likelihood, Mapping):
            likelihood_of(likelihood, "")
        else:
            for name in likelihood:
                likelihood_of(likelihood, name)
        self.likelihood = dict(likelihood) if isinstance(likelihood, Mapping) else likelihood
        self.hidden = widths(hidden)
        if covariance not in COVARIANCES:
            raise ValueError(f"Expected covariance among {', '.join(COVARIANCES)}; got {covariance!r}.")
        if latent is not None and not isinstance(latent, Latent):
            raise ValueError(f"Expected latent as jl.latent.Normal(), Flow(...) or Mixture(k); got {latent!r}.")
        if latent is not None and len(self.sizes) > 1:
            raise ValueError("Layers of latent variables have a distribution of their own: leave latent out.")
        self.encoder, self.decoder = check_network("encoder", encoder), check_network("decoder", decoder)
        if self.decoder == "linear" and covariance == "network":
            raise ValueError("covariance='network' needs a decoder that is a network; got decoder='linear'.")
        self.covariance, self.latent = covariance, latent
        self.occasions = occasions_of(occasions, latent)
        if self.occasions is not None:
            self._check_occasions()

    def __repr__(self) -> str:
        return f"VAE({self.latent_size!r}, {self.likelihood!r})"

    def fit(
        self,
        data: Any,
        engine: Any = None,
        *,
        group: str | None = None,
        missing: str | None = None,
        weights: str | None = None,
        cluster: str | None = None,
        key: int = 0,
        progress: bool | None = None,
        checkpoint: Any = None,
    ) -> DeepFit:
        """Train decoder and guide; missing cells (nan) are missing at random and left out of the likelihood.

        data: a pandas or polars frame, a mapping of columns, or an array. engine: AmortizedVI(...). weights: a column.
        missing: None or "fiml" (all observed cells are used), or "listwise". checkpoint: a folder from which training
        goes on. Raises ValueError in one sentence where data and model don't go together.
        """
        started = time.perf_counter()
        if group is not None or cluster is not None:
            what = "group" if group is not None else "cluster"
            raise ValueError(f"The option {what} is not in this version for VAE: leave it out.")
        engine = AmortizedVI() if engine is None else engine
        if not isinstance(engine, AmortizedVI):
            raise ValueError(f"Expected AmortizedVI(...) as the engine of a VAE; got {engine!r}.")
        check_key(key)
        responses, occasions, columns, codes, model = self._read(data, weights, missing)
        names = names_of(self.sizes)
        fitted = fit_deep(
            model, columns, names if occasions is None else occasions.repeated(names), responses, codes,
            default_guide(engine, self._guide()), notes=(*responses.notes, *columns.notes), key=int(key),
            progress=progress, checkpoint=checkpoint, occasions=occasions,
        )  # fmt: skip
        fit = DeepFit(self, fitted, time.perf_counter() - started)
        for sentence in fit.warnings:
            warnings.warn(sentence, ModelWarning, stacklevel=2)
        return fit

    def parameter_table(self, data: Any) -> pd.DataFrame:
        """What is free, with starting values, and a row with the number of weights of every network of the model."""
        from jaxlatent.results.deep_table import deep_table

        responses = read(data, None, None)
        return deep_table(self._prepare(responses)[2], responses.names, names_of(self.sizes))

    def bind(self, data: Any) -> BoundModel:
        """The model with its data: .model (LatentVariableModel), .responses and .arrays, for inference elsewhere."""
        from jaxlatent.bound import BoundModel

        responses, _, _, codes, model = self._read(data, None, None)
        return BoundModel(self, None, model, responses, deep_arrays(codes, responses.weight))

    def _read(
        self, data: Any, weights: str | None, missing: str | None
    ) -> tuple[Responses, Occasions | None, Columns, np.ndarray, LatentVariableModel]:
        """Responses (a row a person), occasions, columns, coded values and the model."""
        if self.occasions is None:
            responses = read(data, weights, missing)
            return responses, None, *self._prepare(responses)
        check_missing(missing)
        names = names_of(self.sizes)
        long, wide, occasions = read_long(data, self.occasions, names, weights, missing == "listwise")
        columns, codes, _ = self._prepare(long)
        model = self.model_of(columns, codes, occasions)
        every = repeated_columns(columns, occasions)
        return wide, occasions, every, every.encode(wide.y), model

    def _check_occasions(self) -> None:
        for name, given, right in (
            ("latent_size", len(self.sizes), 1), ("encoder", self.encoder, None),
            ("covariance of joint residuals", self.covariance in ("low_rank", "full"), False),
        ):  # fmt: skip
            if given != right:
                raise ValueError(
                    f"With occasions expected no {'layers in ' if right == 1 else ''}{name}: leave it out."
                )

    def _prepare(self, responses: Responses) -> tuple[Columns, np.ndarray, LatentVariableModel]:
        """Columns, coded values and the model of these rows."""
        check_sizes(self.sizes, responses.names)
        if isinstance(self.likelihood, Mapping):
            unknown = [name for name in self.likelihood if name not in responses.names]
            if unknown:
                raise ValueError(f"likelihood names {unknown[0]!r}, which is no column of the data.")
        columns = columns_of(responses.y, responses.names, self.likelihood, self.covariance)
        codes = columns.encode(responses.y)
        if self.covariance == "full" and np.isnan(codes).any():
            raise ValueError(
                "covariance='full' takes complete rows, and these data have missing cells: use covariance='low_rank',"
                " or missing='listwise'."
            )
        return columns, codes, self.model_of(columns, codes)

    def model_of(self, columns: Columns, codes: np.ndarray, occasions: Occasions | None = None) -> LatentVariableModel:
        """The model of these columns (of one occasion), with starting values from coded rows."""
        model = deep_model(columns, codes, self.sizes, self._form(), self._latent())
        if occasions is None:
            return model
        step = self.latent.transition if isinstance(self.latent, Autoregressive) else Transition()
        return repeated_model(model, occasions.n, step)

    def _form(self) -> DecoderForm:
        if self.decoder is None:
            return DecoderForm("network", self.hidden)
        return DecoderForm("linear") if isinstance(self.decoder, str) else DecoderForm("given", given=self.decoder)

    def _latent(self) -> Latent | None:
        if len(self.sizes) > 1:
            return Layers(self.sizes, self.hidden[-1:] or (64,))
        return None if isinstance(self.latent, Normal | Autoregressive) else self.latent

    def _guide(self) -> Guide:
        if self.occasions is not None:
            return Recurrent()
        most = MOST_FULL["linear" if isinstance(self.decoder, str) else "network"]
        family = "full" if sum(self.sizes) <= most else "diagonal"
        return Amortized(self.hidden, family, network=self.encoder)


def read(data: Any, weights: str | None, missing: str | None) -> Responses:
    """Rows of all columns but the weights."""
    check_missing(missing)
    if isinstance(data, Responses):
        found = data
    else:
        if is_named(data):
            names = [name for name in column_names(data, ()) if name != weights]
        else:
            if weights is not None:
                raise ValueError("An array has no column names for weights: pass a frame.")
            names = [f"column{j + 1}" for j in range(table_shape(data)[1])]
        found = Responses.from_frame(data, names, weights=weights, constant=True)
    found = found.listwise() if missing == "listwise" else found
    if len(found.y) < 2:
        raise ValueError(f"Expected at least 2 rows; got {len(found.y)}.")
    return found


def check_missing(missing: str | None) -> None:
    """Raises ValueError for another option."""
    if missing not in (None, "fiml", "listwise"):
        raise ValueError(f"Expected missing to be None, 'fiml' or 'listwise'; got {missing!r}.")


def sizes_of(latent_size: int | Sequence[int]) -> tuple[int, ...]:
    """Sizes of the layers of latent variables, the lowest first."""
    given = latent_size if isinstance(latent_size, list | tuple) else (latent_size,)
    whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 1 for n in given)
    if not given or not whole:
        raise ValueError(f"Expected latent_size as a whole number from 1, or a tuple of these; got {latent_size!r}.")
    return tuple(int(n) for n in given)


def widths(hidden: Sequence[int]) -> tuple[int, ...]:
    """Widths of layers."""
    given = hidden if isinstance(hidden, list | tuple) else (hidden,)
    if not all(isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 1 for n in given):
        raise ValueError(f"Expected widths of layers as whole numbers from 1 in hidden; got {hidden!r}.")
    return tuple(int(n) for n in given)


def check_sizes(sizes: tuple[int, ...], names: Sequence[str]) -> None:
    """Raises ValueError where there are as many latent variables as columns."""
    if sizes[0] >= len(names):
        raise ValueError(
            f"Expected latent_size below the number of columns, {len(names)}; got {sizes[0]}: as many latent variables"
            " as columns would say nothing shorter."
        )


def check_network(name: str, given: Any) -> Any:
    """The network itself; raises ValueError for what has no init and apply."""
    if given is None or (name == "decoder" and isinstance(given, str) and given == "linear"):
        return given
    if not (callable(getattr(given, "init", None)) and callable(getattr(given, "apply", None))):
        linear = "'linear', or " if name == "decoder" else ""
        raise ValueError(
            f"Expected {name} as None, {linear}an object with init(key, x) and apply(variables, x), such as a Flax"
            f" module; got {given!r}."
        )
    return given


def names_of(sizes: tuple[int, ...]) -> tuple[str, ...]:
    """F1, F2, ...; of several layers L1_1, L1_2, ..., L2_1, ..."""
    if len(sizes) == 1:
        return tuple(f"F{k + 1}" for k in range(sizes[0]))
    return tuple(f"L{level + 1}_{k + 1}" for level, n in enumerate(sizes) for k in range(n))
