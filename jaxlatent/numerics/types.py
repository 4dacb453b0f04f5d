"""One name for arrays that are NumPy's on the host and JAX's (or tracers) in compiled code."""

from __future__ import annotations

from typing import Any, TypeAlias

Array: TypeAlias = Any
