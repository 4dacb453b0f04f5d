"""Engines a user names: what is minimised, and which standard errors and tests follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

INFORMATION = ("expected", "observed", "first_order")
SE = (
    "standard",
    "robust",
    "robust_sem",
    "cluster",
    "first_order",
    "bootstrap",
    "two_stage",
    "robust_two_stage",
    "none",
)
TESTS = (
    "standard",
    "satorra_bentler",
    "yuan_bentler",
    "yuan_bentler_mplus",
    "mean_var_adjusted",
    "scaled_shifted",
    "browne_residual_adf",
    "none",
)
WEIGHTS = ("gls", "uls", "wls", "dwls", "dls")
TWO_STAGE = ("two_stage", "robust_two_stage")
ML_SE_FIML = ("standard", "robust", "cluster", "first_order", "bootstrap", "none")
ML_TESTS_FIML = ("standard", "yuan_bentler", "yuan_bentler_mplus", "none")
LEAST_SQUARES_SE = ("standard", "robust", "robust_sem", "bootstrap", "none")
LEAST_SQUARES_TESTS = (
    "standard",
    "satorra_bentler",
    "mean_var_adjusted",
    "scaled_shifted",
    "browne_residual_adf",
    "none",
)
TWO_STAGE_TESTS = ("standard", "satorra_bentler", "mean_var_adjusted", "scaled_shifted", "none")
MARGINAL_SE = ("observed", "expected", "crossprod", "sandwich", "none")
MISSING = ("fiml", "listwise", "pairwise", "two_stage", "robust_two_stage")


def _one_of(option: str, value: object, choices: Sequence[str]) -> None:
    if value is not None and value not in choices:
        raise ValueError(f"Expected {option} to be one of {', '.join(choices)}; got {value!r}.")


def _goes_with(situation: str, option: str, value: str, choices: Sequence[str]) -> None:
    """Refuse an option that means nothing in a situation."""
    if value not in choices:
        raise ValueError(f"{situation} take {option}={value!r}: expected one of {', '.join(choices)}.")


@dataclass(frozen=True)
class ML:
    """Maximum likelihood of the Gaussian model, from moments or, with missing values, from rows (FIML).

    Options left at None are what lavaan would do: complete data: expected information, standard errors and test
    standard; missing data or se="robust": observed information; se="robust_sem": expected; weights: robust +
    yuan_bentler_mplus; cluster: cluster + the same; two-stage: its own standard errors + satorra_bentler.

    Raises ValueError naming the option where a value is not among its choices.
    """

    information: str | None = None
    se: str | None = None
    test: str | None = None
    likelihood: str = "normal"
    penalty: Any = None

    def __post_init__(self) -> None:
        _one_of("information", self.information, INFORMATION)
        _one_of("se", self.se, SE)
        _one_of("test", self.test, TESTS)
        if self.likelihood not in ("normal", "wishart"):
            raise ValueError(f"Expected likelihood to be one of normal, wishart; got {self.likelihood!r}.")
        if self.penalty is not None:
            raise ValueError("Penalties are not in this version: expected penalty=None.")

    @property
    def name(self) -> str:
        """What tables call it."""
        return "ML"

    @property
    def unbiased(self) -> bool:
        """Whether statistics are multiplied by N - G instead of N."""
        return self.likelihood == "wishart"

    def resolve(self, *, missing: bool, weights: bool, cluster: bool, two_stage: str | None) -> ML:
        """The same engine with nothing left at None."""
        se, test, information = self.se, self.test, self.information
        if two_stage:
            se, test = se or two_stage, test or "satorra_bentler"
        elif cluster:
            se, test = se or "cluster", test or "yuan_bentler_mplus"
        elif weights:
            se, test = se or "robust", test or "yuan_bentler_mplus"
        se, test = se or "standard", test or "standard"
        self._check(se, test, missing=missing, cluster=cluster, two_stage=two_stage)
        if information is None:
            observed = missing or se in ("robust", "cluster") or (two_stage is not None)
            information = "first_order" if se == "first_order" else "observed" if observed else "expected"
            information = "expected" if se == "robust_sem" else information
        return replace(self, information=information, se=se, test=test)

    def _check(self, se: str, test: str, *, missing: bool, cluster: bool, two_stage: str | None) -> None:
        """Refuse standard errors and tests that the data at hand cannot give."""
        if se == "cluster" and not cluster:
            raise ValueError("se='cluster' needs clusters: pass cluster= the name of a column to fit.")
        if two_stage:
            _goes_with(f"Fits with missing={two_stage!r} don't", "se", se, (two_stage, "none"))
            _goes_with(f"Fits with missing={two_stage!r} don't", "test", test, TWO_STAGE_TESTS)
        elif se in TWO_STAGE:
            raise ValueError(f"se={se!r} belongs to missing={se!r}, for data with missing values: leave se out.")
        if missing:
            _goes_with("Fits to incomplete rows (missing='fiml') don't", "se", se, ML_SE_FIML)
            _goes_with("Fits to incomplete rows (missing='fiml') don't", "test", test, ML_TESTS_FIML)
        if self.likelihood == "wishart" and (missing or two_stage):
            raise ValueError("likelihood='wishart' needs complete rows: leave it out, or use missing='listwise'.")


@dataclass(frozen=True)
class MarginalML:
    """Maximum marginal likelihood of models with latent variables that have to be integrated out.

    integration: a rule (GaussHermite, AdaptiveGaussHermite, Laplace, QuasiMonteCarlo, ImportanceSampling); None takes
    quadrature for up to three factors and importance sampling above. se: "observed" (Louis 1982), "expected",
    "crossprod", "sandwich" or "none". tolerance: of the squared distance from the maximum in standard errors.
    starts: how many points to start from, the usual one and others at random around it; the best maximum is kept.

    Raises ValueError naming the option where a value is not among its choices.
    """

    integration: Any = None
    se: str = "observed"
    tolerance: float | None = None
    starts: int = 1

    def __post_init__(self) -> None:
        _one_of("se", self.se, MARGINAL_SE)
        if self.integration is not None and (
            isinstance(self.integration, type) or not hasattr(self.integration, "standard")
        ):
            raise ValueError(
                "Expected integration to be GaussHermite(n), AdaptiveGaussHermite(n), Laplace(), QuasiMonteCarlo(n) or"
                f" ImportanceSampling(n); got {self.integration!r}."
            )
        number = isinstance(self.tolerance, int | float | np.number)
        if self.tolerance is not None and not (number and 0 < self.tolerance < 1):
            raise ValueError(f"Expected tolerance between 0 and 1; got {self.tolerance!r}.")
        if isinstance(self.starts, bool) or not isinstance(self.starts, int) or self.starts < 1:
            raise ValueError(f"Expected starts to be a whole number from 1; got {self.starts!r}.")

    @property
    def name(self) -> str:
        """What tables call it."""
        return "MarginalML"


@dataclass(frozen=True)
class LeastSquares:
    """Minimum discrepancy 1/2 [s - sigma]' W [s - sigma] on continuous data.

    weight: "gls" (normal theory at S), "uls" (identity), "wls" (inverse of the distribution-free covariance of the
    moments, Browne 1984), "dwls" (its diagonal), "dls" (reweighted normal theory mixed with the distribution-free
    one, Du and Bentler 2022), or your own matrix [moments, moments].
    """

    weight: Any
    se: str | None = None
    test: str | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.weight, str):
            _one_of("weight", self.weight, WEIGHTS)
        else:
            _check_weight(self.weight)
        _one_of("se", self.se, LEAST_SQUARES_SE)
        _one_of("test", self.test, LEAST_SQUARES_TESTS)

    @property
    def kind(self) -> str:
        """The name of the weight, or "matrix"."""
        return self.weight if isinstance(self.weight, str) else "matrix"

    @property
    def name(self) -> str:
        """What tables call it: the weight in capitals."""
        return self.kind.upper() if isinstance(self.weight, str) else "WLS (own matrix)"

    information = "expected"
    likelihood = "normal"
    unbiased = True

    def resolve(self, *, missing: bool, weights: bool, cluster: bool, two_stage: str | None) -> LeastSquares:
        """The same engine with nothing left at None."""
        if missing or cluster or two_stage:
            raise ValueError(
                "Least squares needs complete rows and no clusters: use missing='listwise', or ML with"
                " missing='fiml', 'two_stage' or 'robust_two_stage'."
            )
        se, test = ("robust_sem", "satorra_bentler") if self.kind == "dls" else ("standard", "standard")
        se = "robust_sem" if self.se == "robust" else self.se or se
        if weights and se not in ("robust_sem", "none"):
            raise ValueError(
                f"Sampling weights make the {se} standard errors of {self.name} wrong: use se='robust_sem' with"
                " test='satorra_bentler', or ML."
            )
        return replace(self, se=se, test=self.test or test)


def _check_weight(weight: Any) -> None:
    expected = f"Expected weight to be one of {', '.join(WEIGHTS)} or a symmetric matrix"
    try:
        w = np.asarray(weight, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{expected}; got {weight!r}.") from None
    if w.ndim != 2 or w.shape[0] != w.shape[1]:
        raise ValueError(f"{expected}; got {weight!r}." if w.ndim == 0 else f"{expected}; got shape {w.shape}.")
    if not np.isfinite(w).all():
        raise ValueError(f"{expected}; got one with missing or infinite entries.")
    if not np.allclose(w, w.T):
        raise ValueError(f"{expected}; got one that is not symmetric.")
    values = np.linalg.eigvalsh(w) if len(w) else np.ones(1)
    if values[0] < -1e-10 * max(values[-1], 0.0) or values[-1] <= 0:
        raise ValueError(f"{expected} without negative eigenvalues; got one of {values[0]:.4g}.")


SHORT_NAMES: dict[str, Any] = {
    "ML": ML(),
    "MLM": ML(se="robust_sem", test="satorra_bentler"),
    "MLMV": ML(se="robust_sem", test="scaled_shifted"),
    "MLMVS": ML(se="robust_sem", test="mean_var_adjusted"),
    "MLF": ML(se="first_order"),
    "MLR": ML(se="robust", test="yuan_bentler_mplus"),
    "GLS": LeastSquares("gls"),
    "WLS": LeastSquares("wls"),
    "ULS": LeastSquares("uls"),
    "DWLS": LeastSquares("dwls"),
    "DLS": LeastSquares("dls"),
    "WLSM": LeastSquares("dwls", se="robust_sem", test="satorra_bentler"),
    "WLSMV": LeastSquares("dwls", se="robust_sem", test="scaled_shifted"),
    "WLSMVS": LeastSquares("dwls", se="robust_sem", test="mean_var_adjusted"),
    "ULSM": LeastSquares("uls", se="robust_sem", test="satorra_bentler"),
    "ULSMV": LeastSquares("uls", se="robust_sem", test="scaled_shifted"),
    "ULSMVS": LeastSquares("uls", se="robust_sem", test="mean_var_adjusted"),
}


def estimator(name: str) -> Any:
    """The engine behind one of lavaan's short names, such as "MLR" or "GLS".

    Raises ValueError listing the names there are.
    """
    if not isinstance(name, str) or name.upper() not in SHORT_NAMES:
        raise ValueError(f"Expected one of {', '.join(SHORT_NAMES)}; got {name!r}.")
    return SHORT_NAMES[name.upper()]


def check_key(key: Any) -> None:
    """Raises ValueError where key is no random key."""
    if isinstance(key, bool) or not isinstance(key, int | np.integer) or key < 0:
        raise ValueError(f"Expected key, the random key, to be a whole number from 0; got {key!r}.")
