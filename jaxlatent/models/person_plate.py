"""The plate of persons, for models and guides alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import jax
import jax.numpy as jnp
import numpyro
from numpyro import handlers

from jaxlatent.data.arrays import Arrays

PLATE = "person"


@contextmanager
def person_plate(
    arrays: Arrays, persons: jax.Array | None = None, size: int | None = None, batch_size: int | None = None
) -> Iterator[tuple[Arrays, jax.Array]]:
    """The plate ``person`` with the persons' weights as scale; gives the rows at hand and where they are in the data.

    Three ways: the rows are all persons; they are the ``persons`` (positions) of a data set of ``size``; or the plate
    draws ``batch_size`` of them, the same ones in model and guide. The plate's scale is then size / rows.

    Raises
    ------
    ValueError
        Only one of persons and size is given, or they don't go together with the rows.
    """
    n = arrays.n_persons
    if (persons is None) != (size is None):
        raise ValueError("Expected persons (positions of these rows) and size (number of all persons) together.")
    with ExitStack() as stack:
        if persons is None and batch_size is not None and batch_size < n:
            persons = stack.enter_context(numpyro.plate(PLATE, n, subsample_size=batch_size, dim=-1))
            arrays = jax.tree.map(lambda a: a[persons], arrays)
        else:
            if persons is not None and (jnp.shape(persons) != (n,) or (size or 0) < n):
                raise ValueError(
                    f"Expected {n} positions in persons, one for each row, of at least as many persons; got shape"
                    f" {jnp.shape(persons)} and size {size}."
                )
            persons = jnp.arange(n) if persons is None else jnp.asarray(persons)
            stack.enter_context(handlers.substitute(data={PLATE: persons}))
            stack.enter_context(numpyro.plate(PLATE, size or n, subsample_size=n, dim=-1))
        stack.enter_context(handlers.scale(scale=arrays.weight))
        yield arrays, persons
