"""The item types by name: which family each has, and what holds for its slopes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from jaxlatent.measurement.cloglog import ComplementaryLogLog
from jaxlatent.measurement.counts import NegativeBinomial, Poisson
from jaxlatent.measurement.family import Family
from jaxlatent.measurement.four_parameter import FourParameter
from jaxlatent.measurement.graded import Graded
from jaxlatent.measurement.ideal import Ideal
from jaxlatent.measurement.logistic import Logistic
from jaxlatent.measurement.lognormal import LogNormal
from jaxlatent.measurement.nominal import Nominal
from jaxlatent.measurement.normal_item import NormalItem
from jaxlatent.measurement.ogive import Ogive, OrderedOgive
from jaxlatent.measurement.partial_credit import PartialCredit
from jaxlatent.measurement.rating_scale import GradedRatingScale, RatingScale

Slopes = Literal["free", "one", "common"]


@dataclass(frozen=True)
class ItemType:
    """A family and the model around it.

    Parameters
    ----------
    family_for
        The family of an item with so many categories (any number if the family is not categorical).
    slopes
        Loadings of a factor's items: free, fixed at 1, or free and equal.
    variance_free
        Whether latent variances are free (slopes at 1), or fixed at 1.
    simple
        Whether an item may have one loading only: the family reads its slope.
    """

    family_for: Callable[[int], Family]
    slopes: Slopes = "free"
    variance_free: bool = False
    simple: bool = False


def _always(family: Family) -> Callable[[int], Family]:
    return lambda n_categories: family


def _by_size(binary: Family, larger: Family) -> Callable[[int], Family]:
    return lambda n_categories: binary if n_categories == 2 else larger


ITEM_TYPES: dict[str, ItemType] = {
    "rasch": ItemType(_by_size(Logistic(), PartialCredit()), "one", variance_free=True),
    "1pl": ItemType(_always(Logistic()), "common"),
    "2pl": ItemType(_always(Logistic())),
    "3pl": ItemType(_always(FourParameter(upper=1.0))),
    "4pl": ItemType(_always(FourParameter())),
    "graded": ItemType(_by_size(Logistic(), Graded())),
    "grsm": ItemType(_always(GradedRatingScale()), simple=True),
    "gpcm": ItemType(_by_size(Logistic(), PartialCredit())),
    "pcm": ItemType(_by_size(Logistic(), PartialCredit()), "one", variance_free=True),
    "rsm": ItemType(_always(RatingScale()), "one", variance_free=True),
    "nominal": ItemType(_always(Nominal())),
    "ideal": ItemType(_always(Ideal())),
    "cloglog": ItemType(_always(ComplementaryLogLog()), "one"),
    "ogive": ItemType(_by_size(Ogive(), OrderedOgive())),
    "poisson": ItemType(_always(Poisson())),
    "negative_binomial": ItemType(_always(NegativeBinomial())),
    "normal": ItemType(_always(NormalItem())),
    "lognormal": ItemType(_always(LogNormal())),
}


def item_type(name: str) -> ItemType:
    """The item type of this name.

    Raises
    ------
    ValueError
        There is none.
    """
    if name not in ITEM_TYPES:
        raise ValueError(f"Expected an item type among {', '.join(ITEM_TYPES)}; got {name!r}.")
    return ITEM_TYPES[name]


def family_of(name: str, n_categories: int) -> Family:
    """The family of an item of type ``name`` with so many categories.

    Raises
    ------
    ValueError
        There is no such type, or it takes binary items only and the item is not binary.
    """
    family = item_type(name).family_for(n_categories)
    if family.categorical and n_categories < 2:
        raise ValueError(f"Expected at least two categories for item type {name!r}; got {n_categories}.")
    if family.fixed_categories not in (None, n_categories):
        raise ValueError(
            f"Expected {family.fixed_categories} categories for item type {name!r}; got {n_categories}. "
            "Types for more are 'graded', 'gpcm', 'nominal', 'ogive' and the rating scales."
        )
    return family
