"""Distribution functions of SciPy, imported when they are called: importing them takes long."""

from __future__ import annotations

from typing import Any


def ndtr(x: Any) -> Any:
    """P(Z <= x) of a standard normal Z."""
    from scipy import special

    return special.ndtr(x)


def ndtri(p: Any) -> Any:
    """x with P(Z <= x) = p for a standard normal Z."""
    from scipy import special

    return special.ndtri(p)


def chdtr(df: Any, x: Any) -> Any:
    """P(X <= x) of a chi-square variable."""
    from scipy import special

    return special.chdtr(df, x)


def chdtrc(df: Any, x: Any) -> Any:
    """P(X > x) of a chi-square variable."""
    from scipy import special

    return special.chdtrc(df, x)


def chndtr(x: Any, df: Any, nc: Any) -> Any:
    """P(X <= x) of a noncentral chi-square variable."""
    from scipy import special

    return special.chndtr(x, df, nc)


def fdtrc(dfn: Any, dfd: Any, x: Any) -> Any:
    """P(X > x) of a variable with an F distribution."""
    from scipy import special

    return special.fdtrc(dfn, dfd, x)
