"""What part each variable plays in a block's formulas."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .syntax import Term


@dataclass(frozen=True)
class Variables:
    """The variables of one block by the parts they play, each in lavaan's order.

    observed: indicators, then other outcomes, then predictors, then variables with only a variance or an intercept.
    predictors: exogenous observed variables about which the user wrote no variance, covariance or intercept.
    latent_exogenous: latent variables that are neither regressed nor measured by another.
    latent_last, observed_last: outcomes that predict nothing and measure nothing; their residuals are correlated.
    """

    observed: tuple[str, ...]
    latent: tuple[str, ...]
    composite: tuple[str, ...]
    predictors: tuple[str, ...]
    latent_exogenous: tuple[str, ...]
    latent_last: tuple[str, ...]
    observed_last: tuple[str, ...]

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Observed variables that are no predictors."""
        return tuple(name for name in self.observed if name not in self.predictors)


def unique(names: Iterable[str]) -> tuple[str, ...]:
    """Each name once, in order of first appearance."""
    return tuple(dict.fromkeys(names))


def classify(terms: Sequence[Term]) -> Variables:
    """Sort the variables of one block's terms; a ValueError names what can't be."""
    latent = unique(term.lhs for term in terms if term.op == "=~")
    composite = unique(term.lhs for term in terms if term.op == "<~")
    indicators = unique(term.rhs for term in terms if term.op == "=~")
    regressed = unique(term.lhs for term in terms if term.op == "~")
    regressors = unique(term.rhs for term in terms if term.op == "~")
    others = _mentioned(terms)
    _check_measured(terms, latent, composite)
    hidden = {*latent, *composite}
    observed = unique(name for name in (*indicators, *regressed, *regressors, *others) if name not in hidden)
    exogenous = [name for name in regressors if name not in {*hidden, *indicators, *regressed, *others}]
    inner = {*regressors, *indicators}
    return Variables(
        observed=observed,
        latent=latent,
        composite=composite,
        predictors=tuple(exogenous),
        latent_exogenous=tuple(name for name in latent if name not in {*indicators, *regressed}),
        latent_last=tuple(name for name in regressed if name in latent and name not in inner),
        observed_last=tuple(name for name in regressed if name not in hidden and name not in inner),
    )


def _mentioned(terms: Sequence[Term]) -> tuple[str, ...]:
    """Variables in covariances first, then in intercepts, thresholds, scales and composites."""
    covariances = [term for term in terms if term.op == "~~"]
    names = [term.lhs for term in covariances] + [term.rhs for term in covariances]
    names += [term.lhs for term in terms if term.op in ("~1", "|", "~*~")]
    return unique(names + [term.rhs for term in terms if term.op == "<~"])


def _check_measured(terms: Sequence[Term], latent: tuple[str, ...], composite: tuple[str, ...]) -> None:
    """Every latent variable must be measured, in the end, by something observed."""
    for name in latent:
        if name in composite:
            raise ValueError(f"'{name}' is both a latent variable (=~) and a composite (<~); choose one.")
    measured: set[str] = set()
    for _ in latent:
        measured |= {t.lhs for t in terms if t.op == "=~" and (t.rhs not in latent or t.rhs in measured)}
    for name in latent:
        if name not in measured:
            raise ValueError(f"The latent variable '{name}' has no observed indicator, directly or through others.")
