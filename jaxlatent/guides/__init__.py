"""Guides: families of approximate posteriors q(x | y)."""

from jaxlatent.guides.amortized import Amortized
from jaxlatent.guides.guide import BoundGuide, Guide

__all__ = ["Amortized", "BoundGuide", "Guide"]
