"""What a careful analyst would want to be told about a fit, in sentences."""

from __future__ import annotations

import numpy as np

from jaxlatent.inference.active_constraints import active_messages
from jaxlatent.inference.estimate import MESSAGES
from jaxlatent.inference.fitted import Fitted
from jaxlatent.inference.information import Inference
from jaxlatent.inference.two_level_fit import TwoLevelFitted
from jaxlatent.numerics.definite import smallest_eigenvalue
from jaxlatent.results.tables import latent_moments
from jaxlatent.results.values import estimates
from jaxlatent.spec.levels import LEVELS
from jaxlatent.spec.restrictions_matrix import split


def parameter_names(fitted: Fitted) -> list[str]:
    """A readable name for every free parameter: its label, or its first row."""
    names = [""] * fitted.table.n_free
    for row in fitted.table.rows:
        if row.free and not names[row.free - 1]:
            where = f" ({fitted.group_labels[row.group - 1]})" if fitted.table.n_groups > 1 else ""
            names[row.free - 1] = f"{row.lhs} {row.op} {row.rhs}".strip() + where
    return names


def unidentified(inference: Inference) -> list[str]:
    """Names of parameters along directions the data say nothing about, if there are any."""
    z = inference.fitted.basis
    rows = inference.fitted.missing == "fiml"  # there the expected information is another pass over the data
    information = inference.fitted.tangent(inference.information if rows else inference.expected)
    if not np.isfinite(information).all() or not z.size:
        return []
    if smallest_eigenvalue(information) > 1e-9:
        return []
    scale = np.sqrt(np.maximum(np.diag(information), 1e-300))
    values, vectors = np.linalg.eigh(information / np.outer(scale, scale))
    flat = values < 1e-9
    if not flat.any():
        return []
    directions = np.abs(z @ (vectors[:, flat] / scale[:, None]))
    directions = directions / directions.max(axis=0)
    names = parameter_names(inference.fitted)
    return [name for name, share in zip(names, directions.max(axis=1), strict=True) if share > 0.05]


def warnings_of(inference: Inference) -> tuple[str, ...]:
    """Sentences about identification, Heywood cases, covariance matrices and scales; empty for a sound solution."""
    fitted = inference.fitted
    out: list[str] = []
    if int(fitted.estimate.code) != 1:
        out.append(MESSAGES[int(fitted.estimate.code)])
    if not np.isfinite(fitted.free).all():
        return tuple(out)
    lost = unidentified(inference)
    if lost:
        out.append(
            f"The model is not identified: the data do not determine {_listed(lost)}; fix one of these parameters,"
            " or add indicators or constraints. Standard errors are not available."
        )
    out += _heywood(fitted)
    out += _covariances(fitted)
    out += _definitions(fitted)
    if int(fitted.estimate.code) == 1:
        out += active_messages(fitted.table, fitted.estimate, split(fitted.table)[2])
    out += _scales(fitted)
    return tuple(out)


def two_level_warnings(fit: TwoLevelFitted) -> tuple[str, ...]:
    """The same for a two-level model."""
    fitted = fit.fitted
    out = [] if int(fitted.estimate.code) == 1 else [MESSAGES[int(fitted.estimate.code)]]
    if not np.isfinite(fitted.free).all():
        return tuple(out)
    if fitted.engine.se != "none" and fit.vcov is None:
        out.append(
            "The information matrix is singular, so the model is not identified: fix a parameter, or add indicators or"
            " constraints. Standard errors are not available."
        )
    return (*out, *_heywood(fitted), *_covariances(fitted), *_definitions(fitted))


def _listed(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _where(fitted: Fitted, g: int) -> str:
    if fitted.group_labels == LEVELS:
        return f" at level {g + 1}"
    return f" in group {fitted.group_labels[g]!r}" if fitted.table.n_groups > 1 else ""


def _heywood(fitted: Fitted) -> list[str]:
    out = []
    held = fitted.estimate.statistics.get("at_bound")
    if held is not None and np.any(held):
        names = [r.lhs for r in fitted.table.rows if r.op == "~~" and r.free and held[r.free - 1]]
        out.append(
            f"Heywood case: the residual variance of {_listed(names)} is held at its least value; look for too many"
            " factors, too few indicators of one, or too few persons before interpreting this solution."
        )
    for row in fitted.table.rows:
        if row.op != "~~" or row.lhs != row.rhs or not row.free or fitted.free[row.free - 1] >= 0:
            continue
        kind = "variance of factor" if row.lhs in fitted.table.latent else "residual variance of"
        value = fitted.free[row.free - 1]
        out.append(
            f"Heywood case: the estimated {kind} {row.lhs!r}{_where(fitted, row.group - 1)} is negative ({value:.4g});"
            " look for too few indicators, a misspecified factor or outliers before interpreting this solution."
        )
    return out


def _covariances(fitted: Fitted) -> list[str]:
    out = []
    at = [fitted.places.latent.index(v) for v in fitted.table.latent]
    for g in range(fitted.table.n_groups):
        if _indefinite(latent_moments(fitted, g)[1][np.ix_(at, at)]):
            out.append(
                f"The covariance matrix of the latent variables{_where(fitted, g)} is not positive definite"
                " (a correlation above 1, or factors that are combinations of others): see factor_cov."
            )
        if _indefinite(fitted.model.group(g)["residual_cov"]):
            out.append(
                f"The covariance matrix of the residuals{_where(fitted, g)} is not positive definite (a residual"
                " correlation above 1): see residual_cov."
            )
    return out


def _indefinite(cov: np.ndarray) -> bool:
    """Whether the correlations of what varies are impossible; negative variances are told on their own."""
    d = np.diag(cov)
    if (d < 0).any() or not np.isfinite(cov).all():
        return False
    varies = np.flatnonzero(d > 0)
    if len(varies) < 2:
        return False
    r = cov[np.ix_(varies, varies)] / np.sqrt(np.outer(d[varies], d[varies]))
    return bool(np.linalg.eigvalsh(r)[0] < -1e-8)


def _definitions(fitted: Fitted) -> list[str]:
    """Defined parameters that are not numbers."""
    if not fitted.table.definitions:
        return []
    with np.errstate(all="ignore"):
        values = estimates(fitted, fitted.free)[len(fitted.table.rows) :]
    return [
        f"The defined parameter {d.name!r} ({d.name} := {d.text}) is {v} at the estimates: it divides by zero, or takes"
        " the logarithm or root of a negative number."
        for d, v in zip(fitted.table.definitions, np.real(values), strict=True)
        if not np.isfinite(v)
    ]


def _scales(fitted: Fitted) -> list[str]:
    for g in range(fitted.table.n_groups):
        d = np.diag(fitted.moments.cov[g])
        if d.max() > 1e6 * d.min():
            high, low = fitted.table.observed[int(d.argmax())], fitted.table.observed[int(d.argmin())]
            return [
                f"The variances of {high!r} and {low!r} differ by a factor of {d.max() / d.min():.1e}:"
                " rescale one, so that tables and starting values stay readable."
            ]
    return []
