"""Compiled programs: with less to compile, and without memory left behind."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from functools import cache, wraps
from typing import Any

import jax

# Kernels by XLA's older emitter: as fast, and compiled sooner.
OPTIONS = {"xla_cpu_use_fusion_emitters": False}


@cache
def _options() -> dict[str, bool]:
    """OPTIONS where this version of XLA knows them, else none."""
    try:
        jax.jit(lambda: 0, compiler_options=OPTIONS).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return OPTIONS


def jit(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """jax.jit that compiles sooner; within another program, where JAX takes no compiler's options, jax.jit as it is."""
    inner = jax.jit(function, **options)

    @cache
    def outer() -> Callable[..., Any]:
        return jax.jit(function, compiler_options=_options(), **options)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        within = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((args, kwargs)))
        return (inner if within else outer())(*args, **kwargs)

    call._cache_size = lambda: outer()._cache_size()  # type: ignore[attr-defined]
    return call


def program(function: Callable[..., Any]) -> Callable[..., Any]:
    """jax.jit, for functions called from the host; freed memory goes back to the system before and after compiling.

    What the compiler takes does not depend on the size of the data, and it leaves that in the C library's hands.
    """
    traced = []

    @wraps(function)
    def noted(*args: Any) -> Any:
        give_back()
        traced.append(True)
        return function(*args)

    compiled = jit(noted)

    @wraps(function)
    def call(*args: Any) -> Any:
        out = compiled(*args)
        if traced:
            traced.clear()
            give_back()
        return out

    return call


def give_back() -> None:
    """Return freed memory to the system where the C library (glibc) would keep it; nothing elsewhere."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
