"""Priors as text: "normal(0, 1)", "gamma(1, 0.5)[sd]". Read by the parser of expressions; nothing is ever eval'd."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy

from .expressions import evaluate, names, parse_expression
from .tokens import ModelSyntaxError, Token

SCALES = {"sd": "sd", "var": "natural", "cor": "cor", "cov": "natural"}
DENSITIES: dict[str, tuple[str, ...]] = {
    # name: arguments; a star marks those above 0
    "normal": ("mean", "sd*"),
    "half_normal": ("sd*",),
    "student_t": ("df*", "location", "scale*"),
    "half_student_t": ("df*", "scale*"),
    "cauchy": ("location", "scale*"),
    "half_cauchy": ("scale*",),
    "laplace": ("location", "scale*"),
    "lognormal": ("location", "scale*"),
    "gamma": ("shape*", "rate*"),
    "inverse_gamma": ("shape*", "scale*"),
    "exponential": ("rate*",),
    "beta": ("a*", "b*"),
    "uniform": ("low", "high"),
    "lkj": ("concentration*",),
    "horseshoe": ("global scale*", "slab scale*"),
    "spike_and_slab": ("spike sd*", "slab sd*", "probability of the slab*"),
    "flat": (),
}
ALIASES = {
    "inv_gamma": "inverse_gamma", "double_exponential": "laplace", "lkj_corr": "lkj", "log_normal": "lognormal",
    "halfnormal": "half_normal", "halfcauchy": "half_cauchy", "student": "student_t",
}  # fmt: skip
JAGS = {
    "dnorm": "normal(mean, sd), whose second number is a standard deviation where JAGS has a precision",
    "dgamma": "gamma(shape, rate)", "dbeta": "beta(a, b)", "dunif": "uniform(low, high)", "dexp": "exponential(rate)",
    "dt": "student_t(df, location, scale), whose scale is not JAGS' precision", "dlnorm": "lognormal(location, scale)",
    "ddexp": "laplace(location, scale)",
}  # fmt: skip
_FORM = re.compile(r"\s*([A-Za-z_][\w.-]*)\s*(?:\((.*)\))?\s*(?:\[\s*(\w+)\s*\])?\s*\Z", re.DOTALL)


@dataclass(frozen=True)
class PriorText:
    """A density by name with its numbers; scale: "natural", "sd" of a variance, "cor" of a covariance."""

    name: str
    numbers: tuple[float, ...]
    scale: str = "natural"

    def __str__(self) -> str:
        inside = f"({', '.join(f'{x:g}' for x in self.numbers)})" if self.numbers else ""
        return self.name + inside + ("" if self.scale == "natural" or self.name == "lkj" else f"[{self.scale}]")


def parse_prior(text: str) -> PriorText:
    """The prior that a text spells.

    Raises
    ------
    ValueError
        A name that is not known, another number of arguments, a scale that is not positive, or an unknown suffix.
    """
    match = _FORM.match(text)
    if match is None:
        raise ValueError(f"Expected a prior such as 'normal(0, 1)' or 'gamma(1, 0.5)[sd]'; got {text!r}.")
    given, inside, suffix = match.groups()
    name = ALIASES.get(given.lower().replace("-", "_"), given.lower().replace("-", "_"))
    if name in JAGS:
        raise ValueError(f"The prior {given!r} is JAGS' name: write {JAGS[name]}.")
    if name not in DENSITIES:
        raise ValueError(f"Expected a prior among {', '.join(DENSITIES)}; got {given!r}.")
    if suffix is not None and suffix not in SCALES:
        raise ValueError(f"Expected [sd], [var], [cor] or [cov] after a prior; got '[{suffix}]'.")
    wanted = DENSITIES[name]
    numbers = tuple(_number(part, text) for part in _arguments(inside))
    if len(numbers) != len(wanted):
        form = f"{name}({', '.join(w.rstrip('*') for w in wanted)})" if wanted else name
        raise ValueError(f"Expected {form} with {len(wanted)} number(s); got {len(numbers)} in {text!r}.")
    _check(name, numbers, text)
    return PriorText(name, numbers, SCALES[suffix] if suffix else "natural")


def checked_prior(token: Token) -> str:
    """The text of a token of the model syntax; its errors name line and column."""
    try:
        parse_prior(token.value)
    except ModelSyntaxError:
        raise
    except ValueError as error:
        sentence = str(error)
        raise token.error(sentence[0].lower() + sentence[1:]) from None
    return token.value


def _arguments(inside: str | None) -> list[str]:
    """What stands between the commas outside parentheses."""
    if inside is None or not inside.strip():
        return []
    parts, depth = [""], 0
    for letter in inside:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _number(part: str, text: str) -> float:
    try:
        expression = parse_expression(part)
        used = names(expression)
        value = math.nan
        if not used:
            with numpy.errstate(all="ignore"):
                value = float(numpy.real(evaluate(expression, {})))
    except ModelSyntaxError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"Expected numbers in the prior {text!r}; got {part.strip()!r}.")
    return value


def _check(name: str, numbers: tuple[float, ...], text: str) -> None:
    for wanted, value in zip(DENSITIES[name], numbers, strict=True):
        if wanted.endswith("*") and value <= 0:
            raise ValueError(f"Expected the {wanted.rstrip('*')} of {text!r} above 0; got {value:g}.")
    if name == "uniform" and numbers[0] >= numbers[1]:
        raise ValueError(f"Expected low below high in {text!r}; got {numbers[0]:g} and {numbers[1]:g}.")
    if name == "spike_and_slab":
        spike, slab, probability = numbers
        if spike >= slab or probability >= 1:
            raise ValueError(f"Expected a spike narrower than the slab and a probability below 1 in {text!r}.")
