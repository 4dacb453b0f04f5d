"""Compiled programs: with less to compile, and without memory left behind."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any

import jax

# What is the same in every step of a loop would be moved before the loop, an instruction at a time: at the size of our
# loops that takes as long as all the rest of compiling, and what is gained does not show.
OPTIONS = {"xla_disable_hlo_passes": "while-loop-invariant-code-motion"}


def jit(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """jax.jit with less to compile; within another program, where JAX takes no such options, jax.jit as it is."""
    outer = jax.jit(function, compiler_options=OPTIONS, **options)
    inner = jax.jit(function, **options)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        within = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((args, kwargs)))
        return (inner if within else outer)(*args, **kwargs)

    call._cache_size = outer._cache_size  # type: ignore[attr-defined]
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
