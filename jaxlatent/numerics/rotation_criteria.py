"""What a rotation minimises: one function of the rotated loadings [item, factor] a criterion; smaller is simpler.

Values only, scaled as in Bernaards and Jennrich (2005, Educational and Psychological Measurement 65); gradients and
Hessians come by automatic differentiation. ``METHODS`` says for each name the criterion, whether its factors are
oblique, which options it takes and whether the rows are normalised, as lavaan would have it.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlatent.numerics.linalg import spd_inverse

NOTHING: Mapping[str, float] = MappingProxyType({})


@jax.custom_jvp
def inverse(t: jax.Array) -> jax.Array:
    """Inverse of any nonsingular [n, n] as (T'T)^-1 T' with one step of refinement; safe in loops under vmap."""
    first = spd_inverse(t.T @ t)[0] @ t.T
    return first + first @ (jnp.eye(t.shape[0], dtype=t.dtype) - t @ first)


@inverse.defjvp
def _(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    x = inverse(*primals)
    return x, -x @ tangents[0] @ x


@jax.custom_jvp
def log_det(s: jax.Array) -> jax.Array:
    """Log-determinant of a symmetric positive definite [n, n]; nan where it is not."""
    return spd_inverse(s)[1]


@log_det.defjvp
def _(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    return log_det(*primals), (inverse(*primals).T * tangents[0]).sum()


def orthomax(a: jax.Array, gamma: jax.Array) -> jax.Array:
    """-(Σ_ij a⁴ - γ/p Σ_j (Σ_i a²)²) / 4; γ = 0 quartimax, 1 varimax (Kaiser 1958)."""
    s = a * a
    return -((s * s).sum() - gamma / a.shape[0] * (s.sum(0) ** 2).sum()) / 4


def oblimin(a: jax.Array, gamma: jax.Array) -> jax.Array:
    """Σ_{j≠k} (Σ_i a_ij² a_ik² - γ/p Σ_i a_ij² Σ_i a_ik²) / 4; γ = 0 quartimin (Carroll 1957)."""
    s = a * a
    return (_between(s).sum() - gamma / a.shape[0] * _between(s.sum(0, keepdims=True)).sum()) / 4


def _between(s: jax.Array) -> jax.Array:
    """Σ_{j≠k} s_ij s_ik for each row i."""
    return s.sum(1) ** 2 - (s * s).sum(1)


def crawford_ferguson(a: jax.Array, kappa: jax.Array) -> jax.Array:
    """(1-κ) Σ_i Σ_{j≠k} a_ij² a_ik² / 4 + κ Σ_j Σ_{i≠l} a_ij² a_lj² / 4 (Crawford and Ferguson 1970)."""
    s = a * a
    return ((1 - kappa) * _between(s).sum() + kappa * _between(s.T).sum()) / 4


def geomin(a: jax.Array, epsilon: jax.Array) -> jax.Array:
    """Σ_i Π_j (a_ij² + ε)^(1/m) (Yates 1987; Browne 2001)."""
    return jnp.exp(jnp.log(a * a + epsilon).mean(1)).sum()


def target(a: jax.Array, aim: jax.Array, weights: jax.Array) -> jax.Array:
    """Σ_ij w_ij (a_ij - b_ij)² (Browne 1972)."""
    return (weights * (a - aim) ** 2).sum()


def oblimax(a: jax.Array) -> jax.Array:
    """-log Σ a⁴ + 2 log Σ a² (Saunders 1961); without a minimum over oblique factors."""
    return 2 * jnp.log((a**2).sum()) - jnp.log((a**4).sum())


def bentler(a: jax.Array) -> jax.Array:
    """(Σ_j log M_jj - log |M|) / 4 with M = (a²)'(a²) (Bentler 1977)."""
    m = (a * a).T @ (a * a)
    return (jnp.log(jnp.diagonal(m)).sum() - log_det(m)) / 4


def entropy(a: jax.Array) -> jax.Array:
    """-Σ a² log a² / 2 (Jennrich 2004)."""
    return _entropy(a * a) / 2


def _entropy(s: jax.Array) -> jax.Array:
    return -(s * jnp.log(jnp.where(s > 0, s, 1))).sum()


def infomax(a: jax.Array) -> jax.Array:
    """log m + H(rows, columns) - H(rows) - H(columns) for a² / Σ a² as a table (McKeon 1968)."""
    s = a * a / (a * a).sum()
    return math.log(a.shape[1]) + _entropy(s) - _entropy(s.sum(0)) - _entropy(s.sum(1))


def mccammon(a: jax.Array) -> jax.Array:
    """log Σ_j H(a_j² / Σ a_j²) - log H(columns) (McCammon 1966)."""
    columns = (a * a).sum(0)
    return jnp.log(_entropy(a * a / columns)) - jnp.log(_entropy(columns / columns.sum()))


def simplimax(a: jax.Array, zeros: jax.Array) -> jax.Array:
    """The sum of the `zeros` smallest a²; nan means as many as there are items (Kiers 1994)."""
    s = jnp.sort((a * a).ravel())
    return jnp.where(jnp.arange(s.size) < jnp.where(jnp.isnan(zeros), a.shape[0], zeros), s, 0).sum()


def biquartimin(a: jax.Array) -> jax.Array:
    """Σ_i Σ_{j≠k} a_ij² a_ik² over all factors but the first, the general one (Jennrich and Bentler 2011)."""
    return _between((a * a)[:, 1:]).sum()


def bigeomin(a: jax.Array, epsilon: jax.Array) -> jax.Array:
    """Geomin of all factors but the first, the general one (Jennrich and Bentler 2012)."""
    return geomin(a[:, 1:], epsilon)


class Method(NamedTuple):
    """A criterion f(a, *arguments) and what goes with its name.

    Its arguments are `fixed`, for variants with a name (functions of the numbers of items and factors, so that one
    compiled program serves the family), or else the user's `options`, here with their defaults.
    """

    criterion: Callable[..., jax.Array]
    oblique: bool = True
    options: Mapping[str, float] = NOTHING
    fixed: tuple[Callable[[int, int], float], ...] = ()
    normalize: bool = False


def _zero(p: int, m: int) -> float:
    return 0.0


def _one(p: int, m: int) -> float:
    return 1.0


def _equamax(p: int, m: int) -> float:
    return m / (2 * p)


def _parsimax(p: int, m: int) -> float:
    return (m - 1) / max(p + m - 2, 1)


VARIMAX = Method(orthomax, oblique=False, fixed=(_one,), normalize=True)
METHODS: dict[str, Method] = {
    "varimax": VARIMAX,
    "quartimax": Method(orthomax, oblique=False, fixed=(_zero,)),
    "orthomax": Method(orthomax, oblique=False, options={"gamma": 1.0}),
    "promax": VARIMAX._replace(oblique=True, options={"power": 4.0}),
    "oblimin": Method(oblimin, options={"gamma": 0.0}),
    "quartimin": Method(oblimin, fixed=(_zero,)),
    "geomin": Method(geomin, options={"epsilon": 0.001}),
    "target": Method(target, options={"target": math.nan, "weights": math.nan}),
    "biquartimin": Method(biquartimin),
    "bigeomin": Method(bigeomin, options={"epsilon": 0.001}),
    "bifactor": Method(biquartimin, oblique=False),
    "crawford-ferguson": Method(crawford_ferguson, options={"kappa": 0.0}),
    "cf-quartimax": Method(crawford_ferguson, fixed=(_zero,)),
    "cf-varimax": Method(crawford_ferguson, fixed=(lambda p, m: 1 / p,)),
    "cf-equamax": Method(crawford_ferguson, fixed=(_equamax,)),
    "cf-parsimax": Method(crawford_ferguson, fixed=(_parsimax,)),
    "cf-facparsim": Method(crawford_ferguson, fixed=(_one,)),
    "equamax": Method(crawford_ferguson, oblique=False, fixed=(_equamax,)),
    "parsimax": Method(crawford_ferguson, oblique=False, fixed=(_parsimax,)),
    "bentler": Method(bentler),
    "infomax": Method(infomax),
    "simplimax": Method(simplimax, options={"zeros": math.nan}),
    "oblimax": Method(oblimax),
    "entropy": Method(entropy, oblique=False),
    "mccammon": Method(mccammon, oblique=False),
    "none": Method(lambda a: 0.0 * a.sum(), oblique=False),
}
ALIASES = {"pst": "target", "cf": "crawford-ferguson", "facparsim": "cf-facparsim", "unrotated": "none"}


def find_method(name: str) -> tuple[str, Method]:
    """The known name and method meant by `name`, whatever its case, hyphens and underscores.

    A last letter T or Q, as in "geominT" or "cfQ", asks for orthogonal or oblique factors, as GPArotation does.
    Raises ValueError with the known names and the nearest one.
    """
    plain = {_plain(known): known for known in METHODS} | {_plain(alias): known for alias, known in ALIASES.items()}
    asked = _plain(name)
    if asked in plain:
        return plain[asked], METHODS[plain[asked]]
    if asked[:-1] in plain and asked[-1] in "tq" and plain[asked[:-1]] not in ("promax", "none"):
        return plain[asked[:-1]], METHODS[plain[asked[:-1]]]._replace(oblique=asked[-1] == "q")
    near = difflib.get_close_matches(asked, plain, n=1)
    hint = f"; did you mean {plain[near[0]]!r}?" if near else ""
    raise ValueError(f"Expected a rotation out of {', '.join(METHODS)}; got {name!r}{hint}")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).lower())
