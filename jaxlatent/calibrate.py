"""Simulation-based calibration of a model, its priors and its sampler."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxlatent.diagnostics import calibration
from jaxlatent.inference.nuts_settings import NUTS
from jaxlatent.inference.simulated_posteriors import simulated
from jaxlatent.irt import IRT
from jaxlatent.numerics.uniformity import ecdf_band
from jaxlatent.results.draws import parameter_draws
from jaxlatent.results.item_tables import Shown
from jaxlatent.sem import SEM

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

LOG_LIKELIHOOD = "log-likelihood"
DEFAULT = NUTS(num_warmup=300, num_samples=400, num_chains=1)


class CalibrationResult:
    """Ranks of simulated parameters, and of the log-likelihood of the data, among posterior draws.

    ranks: a frame, a row a data set and a column a quantity, 0, ..., n_draws. n_failed: data sets without
    finite draws.
    """

    def __init__(self, found: calibration.Calibration) -> None:
        self._found = found

    def __repr__(self) -> str:
        f = self._found
        return f"<CalibrationResult: {len(f.ranks)} data sets, {f.ranks.shape[1]} quantities, {f.n_draws} draws each>"

    @property
    def ranks(self) -> pd.DataFrame:
        """Data sets by parameters; the log-likelihood last."""
        import pandas as pd

        return pd.DataFrame(self._found.ranks, columns=list(self._found.names))

    @property
    def n_draws(self) -> int:
        """Draws that a true value is ranked among."""
        return self._found.n_draws

    @property
    def n_failed(self) -> int:
        """Data sets that were left out, because a draw was not finite."""
        return self._found.n_failed

    def table(self) -> pd.DataFrame:
        """A row a quantity: chisq, df, pvalue of uniform ranks, ecdf_difference, within_band (95 %, simultaneous),
        autocorrelation (of the draws used, about −1 / n_draws where they are thinned enough).
        """
        return self._found.table()

    def joint_test(self) -> pd.Series:
        """Are all ranks uniform? statistic, df, df_residual, pvalue of one F-test, whatever their dependence.

        Raises ValueError for fewer data sets than four times the quantities.
        """
        import pandas as pd

        return pd.Series(self._found.joint_test()._asdict())

    def plot(self, path: str | Path | None = None) -> Axes:
        """Distribution functions of the ranks less the diagonal, with the band that uniform ranks leave once in 20."""
        from jaxlatent.plots.calibration_plots import ecdf_differences

        f = self._found
        return ecdf_differences(f.ecdf(), ecdf_band(len(f.ranks)), f.names, path=path)


def calibrate(
    model: SEM | IRT, data: Any, engine: NUTS | None = None, *, n: int = 100, thin: int = 4, key: int = 0,
    at_once: int | None = None, group: str | None = None,
) -> CalibrationResult:  # fmt: skip
    """Simulate n data sets from the prior of a model, fit each by NUTS, and rank what they were simulated with.

    Parameters are ranked, and the log-likelihood of the data, which sees faults that parameters hide.

    data: they set the numbers of persons and categories, and what default priors are scaled by; engine: one chain of
    NUTS(num_warmup=300, num_samples=400) unless given; thin: every thin-th draw counts. at_once: data sets in one batch
    of a compiled call. Priors must be narrow enough that simulated data can be fitted.

    Raises
    ------
    ValueError
        Another model than SEM or IRT, another engine than NUTS, incomplete rows, fixed exogenous variables, covariates,
        more factors than quadrature takes, or n below 20.
    """
    if not isinstance(model, SEM | IRT):
        raise ValueError(f"Expected a SEM or an IRT model; got {model!r}.")
    settings = DEFAULT if engine is None else engine
    if not isinstance(settings, NUTS):
        raise ValueError(f"Expected NUTS(...) as the engine that is calibrated; got {settings!r}.")
    fitted: Any = model.fit(data, group=group)._fitted
    parts = simulated(fitted)
    shown = Shown(fitted) if isinstance(model, IRT) else fitted
    names = [*list(parameter_draws(shown, fitted.free[None]))[: len(fitted.free)], LOG_LIKELIHOOD]
    found = calibration.calibrate(
        parts.prior, parts.simulate, parts.sampler(settings), n=n, thin=thin, names=names, key=key, at_once=at_once,
        quantities=parts.log_likelihood,
    )  # fmt: skip
    return CalibrationResult(found)
