"""The tables of item response models: parameters, labelled matrices, IRT parameters, with standard errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlatent.inference.marginal_fit import ItemFitted
from jaxlatent.numerics.rotation import Rotation, rotation_jacobian
from jaxlatent.numerics.special import ndtr, ndtri
from jaxlatent.spec.item_table import ItemRow

if TYPE_CHECKING:
    import pandas as pd

LOGISTIC = 1.702  # a normal ogive of slope 1 is close to a logistic curve of this slope
STEP = 1e-30
PADDED = -1e29  # intercepts below are those of categories an item does not have


def complex_jacobian(function: Callable[[np.ndarray], np.ndarray], at: np.ndarray) -> np.ndarray:
    """Derivatives [value, parameter] by complex steps: exact to rounding."""
    columns = []
    for k in range(len(at)):
        moved = at.astype(complex)
        moved[k] += 1j * STEP
        columns.append(function(moved).imag / STEP)
    return np.stack(columns, -1) if columns else np.zeros((len(function(at)), 0))


@dataclass(frozen=True)
class ShownRow:
    """A row of the parameter table as users see it."""

    lhs: str
    op: str
    rhs: str
    group: int
    label: str
    free: int
    matrix: str
    cell: tuple[int, ...]


@dataclass(frozen=True)
class Shown:
    """What users see of a fit: matrices [group, ...] (rotated where a rotation is given) and rows."""

    fitted: ItemFitted
    rotation: Rotation | None = None

    @property
    def rows(self) -> list[ShownRow]:
        """The table's rows; in a rotated solution every loading and correlation of factors is one."""
        plain = [
            ShownRow(r.lhs, r.op, r.rhs, r.group, r.label, r.free, r.matrix, r.cell) for r in self.fitted.table.rows
        ]
        if self.rotation is None:
            return plain
        factors, items = self.fitted.table.factors, self.fitted.table.observed
        rest = [r for r in plain if r.matrix not in ("loadings", "factor_cov")]
        lead = [
            ShownRow(f, "=~", item, 1, "", 1, "loadings", (j, k))
            for k, f in enumerate(factors)
            for j, item in enumerate(items)
        ]
        oblique = int(self.rotation.settings.oblique)
        tail = [
            ShownRow(factors[a], "~~", factors[b], 1, "", 0 if a == b else oblique, "factor_cov", (a, b))
            for a in range(len(factors))
            for b in range(a + 1)
        ]
        return lead + rest + tail

    def matrices(self, free: np.ndarray) -> dict[str, np.ndarray]:
        """Named matrices [group, ...] as shown, at the estimate's rotation."""
        params = self.fitted.matrices(free)
        if self.rotation is None:
            return params
        turn = np.linalg.inv(self.rotation.rotation.T)
        return params | {"loadings": params["loadings"] @ turn, "factor_cov": self.rotation.factor_cov[None]}

    @property
    def params(self) -> dict[str, np.ndarray]:
        return self.matrices(self.fitted.free)

    def values(self) -> np.ndarray:
        """The estimate of every row."""
        params = self.params
        return np.array([params[r.matrix][(r.group - 1, *r.cell)] for r in self.rows])

    def jacobian(self) -> np.ndarray:
        """Derivatives of every row by the free vector [row, free]."""
        out = np.zeros((len(self.rows), len(self.fitted.free)))
        index = self.fitted.layout.index
        for k, row in enumerate(self.rows):
            if self.rotation is not None and row.matrix in ("loadings", "factor_cov"):
                continue
            at = index[row.matrix][(row.group - 1, *row.cell)]
            if at >= 0:
                out[k, at] = 1
        if self.rotation is not None:
            by_loading, by_cov = rotated_jacobian(self.fitted, self.rotation)
            d = len(self.fitted.table.factors)
            for k, row in enumerate(self.rows):
                if row.matrix == "loadings":
                    out[k] = by_loading[row.cell[0] * d + row.cell[1]]
                elif row.matrix == "factor_cov" and row.free:
                    out[k] = by_cov[row.cell[0] * d + row.cell[1]]
        return out

    def errors(self) -> np.ndarray:
        """Standard errors of every row: 0 where nothing is estimated, nan where the covariance matrix is not known."""
        vcov = self.fitted.vcov
        estimated = np.array([r.free > 0 for r in self.rows], bool)
        if vcov is None:
            return np.where(estimated, np.nan, 0.0)
        j = self.jacobian()
        return np.sqrt(np.maximum(((j @ vcov) * j).sum(1), 0))


def standardized_loadings(slopes: np.ndarray) -> np.ndarray:
    """lambda_j / sqrt(1 + |lambda_j|^2), lambda = slope / 1.702: factor loadings of the underlying normal variables."""
    scaled = slopes / LOGISTIC
    return scaled / np.sqrt(1 + (scaled**2).sum(-1, keepdims=True))


def rotated_jacobian(fitted: ItemFitted, rotation: Rotation) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of vec(rotated slopes) and vec(Phi) by the free vector.

    The rotation is that of standardised loadings L; a rotated slope is the item's scale s times its rotated loading,
    and s depends on the communality only.
    """
    at = fitted.layout.index["loadings"][0]

    def standard(free: np.ndarray) -> np.ndarray:
        return standardized_loadings(fitted.matrices(free)["loadings"][0]).ravel()

    def scale(free: np.ndarray) -> np.ndarray:
        scaled = fitted.matrices(free)["loadings"][0] / LOGISTIC
        return np.repeat(LOGISTIC * np.sqrt(1 + (scaled**2).sum(-1)), at.shape[1])

    free = fitted.free
    by_standard = rotation_jacobian(standard(free).reshape(at.shape), rotation)
    inner = by_standard @ complex_jacobian(standard, free)
    size = at.size
    lead = scale(free)[:, None] * inner[:size]
    return lead + rotation.loadings.ravel()[:, None] * complex_jacobian(scale, free), inner[size:]


def tests_of(est: np.ndarray, se: np.ndarray, level: float = 0.95) -> dict[str, np.ndarray]:
    """se, z, pvalue, ci_lower, ci_upper."""
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(se > 0, est / se, np.nan)
    half = ndtri(0.5 + level / 2) * se
    return {"se": se, "z": z, "pvalue": 2 * ndtr(-np.abs(z)), "ci_lower": est - half, "ci_upper": est + half}


def parameters(shown: Shown) -> pd.DataFrame:
    """A row each: lhs, op, rhs, group, label, free, est, se, z, pvalue, ci_lower, ci_upper, std_lv, std_all."""
    import pandas as pd

    table, rows, est = shown.fitted.table, shown.rows, shown.values()
    several = table.n_groups > 1
    base = {
        "lhs": [r.lhs for r in rows],
        "op": [r.op for r in rows],
        "rhs": [r.rhs for r in rows],
        "group": [table.groups[r.group - 1] if several else 1 for r in rows],
        "label": [r.label for r in rows],
        "free": [r.free for r in rows],
        "est": est,
    }
    out = base | tests_of(est, shown.errors())
    out["std_lv"], out["std_all"] = _standardized(shown, est)
    return pd.DataFrame(out)


def _standardized(shown: Shown, est: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Latent variables with variance one; then also the normal variables that underlie the items."""
    params = shown.params
    covs = total_cov(params)
    lv, every = est.copy(), est.copy()
    residual = residual_variances(shown.fitted, params)
    for k, r in enumerate(shown.rows):
        cov = covs[r.group - 1]
        sd = np.sqrt(np.diag(cov))
        if r.matrix == "loadings":
            j, f = r.cell
            slopes = params["loadings"][r.group - 1, j]
            total = slopes @ cov @ slopes + residual[r.group - 1, j]
            lv[k] = est[k] * sd[f]
            every[k] = lv[k] / np.sqrt(total)
        elif r.matrix == "factor_cov":
            a, b = r.cell
            scale = np.sqrt(params["factor_cov"][r.group - 1, a, a] * params["factor_cov"][r.group - 1, b, b])
            lv[k] = every[k] = est[k] / (scale if a != b else cov[a, a])
        elif r.matrix == "regressions":
            lv[k] = every[k] = est[k] * sd[r.cell[1]] / sd[r.cell[0]]
        elif r.matrix in ("covariate_effects", "factor_means"):
            lv[k] = every[k] = est[k] / sd[r.cell[0]]
    return lv, every


def residual_variances(fitted: ItemFitted, params: dict[str, np.ndarray]) -> np.ndarray:
    """Variance of an item given the factors, on the scale of its slopes [group, item]; nan for counts and unfolding.

    1.702^2 for logistic curves (so that loadings are those of normal ogives), 1 for ogives, pi^2/6 for cloglog.
    """
    scales = {"Ogive": 1.0, "OrderedOgive": 1.0, "ComplementaryLogLog": np.pi**2 / 6}
    scales |= dict.fromkeys(("Poisson", "NegativeBinomial", "Ideal"), np.nan)
    out = np.full(params["loadings"].shape[:2], LOGISTIC**2, params["loadings"].dtype)
    for family, items in fitted.measurement.groups:
        kind, at = type(family).__name__, list(items)
        out[:, at] = (
            params["dispersion"][:, at, 0] if kind in ("NormalItem", "LogNormal") else scales.get(kind, LOGISTIC**2)
        )
    return out


def total_cov(params: dict[str, np.ndarray]) -> np.ndarray:
    """Covariances of the factors given covariates [group, D, D]."""
    d = params["factor_cov"].shape[-1]
    a = np.linalg.inv(np.eye(d) - params["regressions"])
    return a @ params["factor_cov"] @ np.swapaxes(a, -1, -2)


def by_group(shown: Shown, one: Callable[[int], pd.DataFrame]) -> pd.DataFrame:
    """Frames of all groups under a first index level "group", or the only one as it is."""
    import pandas as pd

    parts = [one(g) for g in range(shown.fitted.table.n_groups)]
    return parts[0] if len(parts) == 1 else pd.concat(parts, keys=shown.fitted.table.groups, names=["group"])


def matrix_frame(shown: Shown, name: str) -> pd.DataFrame:
    """A matrix of the model with names; cells that an item does not have are nan."""
    import pandas as pd

    table, params = shown.fitted.table, shown.params
    items, factors = list(table.observed), list(table.factors)

    def one(g: int) -> pd.DataFrame:
        if name == "loadings":
            return pd.DataFrame(params["loadings"][g], items, factors)
        if name == "factor_cov":
            return pd.DataFrame(total_cov(params)[g], factors, factors)
        if name == "factor_means":
            a = np.linalg.inv(np.eye(len(factors)) - params["regressions"][g])
            return pd.DataFrame({"mean": a @ params["factor_means"][g]}, factors)
        if name == "regressions":
            return pd.DataFrame(params["regressions"][g], factors, factors)
        if name == "covariate_effects":
            return pd.DataFrame(params[name][g], factors, list(table.covariates))
        if name in ("intercepts", "thresholds"):
            given = item_intercepts(shown.fitted, params)[g]
            values = np.where(given > PADDED, given, np.nan) * (-1 if name == "thresholds" else 1)
            stem = name[:-1]
            columns = [stem] if values.shape[1] == 1 else [f"{stem}{k + 1}" for k in range(values.shape[1])]
            return pd.DataFrame(values, items, columns)
        return pd.DataFrame(params[name][g], items)

    return by_group(shown, one)


def item_intercepts(fitted: ItemFitted, params: dict[str, Any]) -> np.ndarray:
    """Intercepts [group, item, category] also where an item type derives them from shared parameters."""
    n_groups, n_items = params["loadings"].shape[:2]
    width = max((params[m].shape[-1] for m in ("intercepts", "spacing") if m in params), default=1)
    out = np.full((n_groups, n_items, width), -1e30, params["loadings"].dtype)
    for family, items in fitted.measurement.groups:
        given_params: Any = params
        own = family.item_params(given_params)
        if "intercepts" in own:
            given = np.asarray(own["intercepts"])[:, list(items)]
            out[:, list(items), : given.shape[-1]] = given
    return out


def irt_parameters(shown: Shown) -> pd.DataFrame:
    """discrimination, difficulty, guessing, upper with standard errors by the delta method.

    One factor: b = -d / a; steps (d_{k-1} - d_k) / a for partial credit. Several: a = |lambda|, b = -d / a (Reckase).
    """
    import pandas as pd

    fitted = shown.fitted
    names, values = _irt_values(shown, fitted.free)
    vcov = fitted.vcov
    flat = values.ravel()
    if vcov is None:
        errors = np.full(flat.shape, np.nan)
    else:
        j = complex_jacobian(lambda free: _irt_values(shown, free)[1].ravel(), fitted.free)
        errors = np.sqrt(np.maximum(((j @ vcov) * j).sum(1), 0))
    se = errors.reshape(values.shape)

    def one(g: int) -> pd.DataFrame:
        columns: dict[str, np.ndarray] = {}
        for k, name in enumerate(names):
            columns[name] = values[g, :, k].real
            columns[f"{name}_se"] = np.where(np.isnan(values[g, :, k].real), np.nan, se[g, :, k])
        return pd.DataFrame(columns, list(fitted.table.observed))

    return by_group(shown, one)


def _irt_values(shown: Shown, free: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Names of the columns and values [group, item, column], nan where an item has none."""
    fitted = shown.fitted
    params = fitted.matrices(free)
    loadings = params["loadings"]
    sizes = np.sqrt((loadings**2).sum(-1))
    count = (loadings != 0).sum(-1)
    a = np.where(count == 1, loadings.sum(-1), sizes)
    n_groups, n_items = a.shape
    steps = {"PartialCredit", "RatingScale"}
    nothing = {"Nominal", "Ideal", "Poisson", "NegativeBinomial", "NormalItem", "LogNormal"}
    found: dict[int, np.ndarray] = {}
    width = 1
    for family, items in fitted.measurement.groups:
        kind = type(family).__name__
        if kind in nothing:
            continue
        scales = kind in ("GradedRatingScale", "RatingScale")
        for j in items:
            d = (_complex_intercepts(kind, params) if scales else params["intercepts"])[:, j]
            keep = d[0].real > PADDED
            d = d[:, keep]
            b = -np.diff(d, axis=-1, prepend=0) / a[:, j, None] if kind in steps else -d / a[:, j, None]
            found[j] = b
            width = max(width, b.shape[-1])
    names = ["discrimination"] + (["difficulty"] if width == 1 else [f"difficulty{k + 1}" for k in range(width)])
    extra = [name for name in ("guessing", "upper") if name in params]
    out = np.full((n_groups, n_items, 1 + width + len(extra)), np.nan, complex)
    out[..., 0] = a
    for j, b in found.items():
        out[:, j, 1 : 1 + b.shape[-1]] = b
    for k, name in enumerate(extra):
        out[..., 1 + width + k] = params[name][..., 0]
    return names + extra, out


def _complex_intercepts(kind: str, params: dict[str, np.ndarray]) -> np.ndarray:
    """Intercepts of the rating scales, by formulas that take complex parameters."""
    spacing, shift = params["spacing"], params["shift"]
    there = spacing.real > PADDED
    moved = np.where(there, spacing, 0) + shift
    if kind == "GradedRatingScale":
        return np.where(there, params["loadings"].sum(-1, keepdims=True) * moved, -1e30)
    return np.where(there, np.cumsum(np.where(there, moved, 0), -1), -1e30)


def row_name(row: ShownRow | ItemRow) -> str:
    """A row's name, such as F1=~A1, with .g2 in the second group."""
    return f"{row.lhs}{row.op}{row.rhs}" + (f".g{row.group}" if row.group > 1 else "")


def free_names(fitted: ItemFitted) -> dict[str, int]:
    """Labels and names of all rows with a free parameter, and its place in the free vector."""
    out: dict[str, int] = {}
    for row in fitted.table.rows:
        if row.free:
            out.setdefault(row_name(row), row.free - 1)
            if row.label:
                out[row.label] = row.free - 1
    return out


def vcov_frame(fitted: ItemFitted) -> pd.DataFrame:
    """Covariance matrix of the free parameters with names such as F1=~A1, or their labels."""
    import pandas as pd

    names = [""] * fitted.table.n_free
    for row in fitted.table.rows:
        if row.free and not names[row.free - 1]:
            names[row.free - 1] = row.label or row_name(row)
    values = np.full((len(names),) * 2, np.nan) if fitted.vcov is None else fitted.vcov
    return pd.DataFrame(values, names, names)
