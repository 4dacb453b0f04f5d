"""p(x): the distribution of the latent variables. Users pass jl.latent.Normal(), Flow(...), ... to a face."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxlatent.latent.autoregressive import Autoregressive
    from jaxlatent.latent.flow import Flow
    from jaxlatent.latent.histogram import Histogram
    from jaxlatent.latent.layers import Layers
    from jaxlatent.latent.mixture import Mixture
    from jaxlatent.latent.normal import Normal

_WHERE = {
    "Autoregressive": "autoregressive", "Flow": "flow", "Histogram": "histogram", "Layers": "layers",
    "Mixture": "mixture", "Normal": "normal",
}  # fmt: skip

__all__ = ["Autoregressive", "Flow", "Histogram", "Layers", "Mixture", "Normal"]


def __getattr__(name: str) -> Any:
    """Import a family when it is first used."""
    if name not in _WHERE:
        raise AttributeError(f"module 'jaxlatent.latent' has no attribute {name!r}")
    value = getattr(import_module(f"jaxlatent.latent.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
