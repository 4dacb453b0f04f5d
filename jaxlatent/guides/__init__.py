"""Guides: families of approximate posteriors q(x | y)."""

from jaxlatent.guides.amortized import Amortized
from jaxlatent.guides.free import Free
from jaxlatent.guides.guide import BoundGuide, Guide
from jaxlatent.guides.recurrent import Recurrent
from jaxlatent.guides.semi_amortized import SemiAmortized

__all__ = ["Amortized", "BoundGuide", "Free", "Guide", "Recurrent", "SemiAmortized"]
