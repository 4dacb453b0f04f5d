"""The guide that is taken where none is given."""

from __future__ import annotations

from jaxlatent.guides.amortized import Amortized
from jaxlatent.guides.guide import Guide
from jaxlatent.guides.recurrent import Recurrent


def default_guide(n_occasions: int = 1) -> Guide:
    """An amortized guide; a recurrent one for several occasions."""
    return Amortized() if n_occasions == 1 else Recurrent()
