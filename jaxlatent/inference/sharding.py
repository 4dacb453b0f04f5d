"""Persons of a step over the devices that JAX sees, those of other processes included; parameters are the same on all.

Every process holds the same data, computes its devices' share of each step, and gets the sum of all gradients. Between
epochs every process has the state on a device of its own, so that whatever is decided there needs no other process.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxlatent.inference.checkpoint import fingerprint

AXIS = "person"

Epoch = Callable[[Any, Any], tuple[Any, float]]


@dataclass(frozen=True)
class Devices:
    """Devices among which the persons of a step are divided; mesh None: each process has one device do all of them.

    n_processes: as many run this program (``jax.distributed``), each with devices of its own.
    """

    mesh: Mesh | None
    n_processes: int

    def persons(self, tree: Any) -> Any:
        """Arrays [step, person, ...] laid out, persons over the devices."""
        if self.mesh is None:
            return tree
        sharding = NamedSharding(self.mesh, PartitionSpec(None, AXIS))
        if self.n_processes == 1:
            return jax.device_put(tree, sharding)
        return jax.tree.map(lambda a: _placed(a, sharding), tree)

    def everywhere(self, tree: Any) -> Any:
        """Arrays and keys on every device of every process; as they are where there is one process."""
        if self.mesh is None or self.n_processes == 1:
            return tree
        sharding = NamedSharding(self.mesh, PartitionSpec())
        return jax.tree.map(lambda a: _placed(a, sharding), tree)

    def here(self, tree: Any) -> Any:
        """What all devices have, on one of this process."""
        if self.mesh is None or self.n_processes == 1:
            return tree
        return jax.tree.map(lambda a: a.addressable_data(0), _the_same_on_all(self.mesh)(tree))

    def around(self, epoch: Epoch) -> Epoch:
        """An epoch on everywhere's arrays as one from here to here."""

        def one(state: Any, course: Any) -> tuple[Any, float]:
            state, loss = epoch(self.everywhere(state), course)
            return self.here(state), loss

        return one

    def agreed(self, tree: Any) -> Any:
        """What the first process has, in all: processors of other kinds round differently."""
        if self.n_processes == 1:
            return tree
        plain = jax.tree.map(lambda a: jax.random.key_data(a) if _is_key(a) else a, tree)
        told = multihost_utils.broadcast_one_to_all(plain)
        return jax.tree.map(lambda new, old: _like(new, old), told, tree)

    def first_says(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """A function whose results are those of the first process, in all."""
        return lambda given: self.agreed(function(given))

    def check_same(self, what: str, *arrays: Any) -> None:
        """Raises ValueError, in every process, where arrays are not the same in all."""
        if self.n_processes == 1:
            return
        own = np.frombuffer(bytes.fromhex(fingerprint(*arrays)), np.uint8)
        all_of_them = np.asarray(multihost_utils.process_allgather(own))
        other = (all_of_them != all_of_them[0]).any(1)
        if other.any():
            raise ValueError(
                f"Expected the same {what} in all {self.n_processes} processes; number {int(other.argmax())} has"
                " others than number 0."
            )


def over_devices(batch_size: int) -> Devices:
    """The devices that JAX sees, where persons of a step can be divided among them evenly. Warns where several
    processes can't share, and all do the same work.
    """
    devices, n_processes = jax.devices(), jax.process_count()
    if len(devices) > 1 and batch_size % len(devices) == 0:
        return Devices(Mesh(np.array(devices), (AXIS,)), n_processes)
    if n_processes > 1:
        warnings.warn(
            f"{len(devices)} devices can't share {batch_size} persons a step evenly, and each of {n_processes}"
            f" processes does all the work: choose batch_size as a multiple of {len(devices)}.",
            stacklevel=2,
        )
    return Devices(None, n_processes)


@cache
def _the_same_on_all(mesh: Mesh) -> Callable[[Any], Any]:
    """What is given, on every device of the mesh; compiled once for each kind of tree."""
    return jax.jit(lambda tree: tree, out_shardings=NamedSharding(mesh, PartitionSpec()))


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _placed(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """An array or key of this process, the same in all, as one array of all processes."""
    if _is_key(leaf):
        data = _placed(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    array = np.asarray(leaf)
    return jax.make_array_from_callback(array.shape, sharding, lambda at: array[at])


def _like(new: Any, old: Any) -> Any:
    """What was told, as the array or key that this process had."""
    if _is_key(old):
        return jax.random.wrap_key_data(jax.numpy.asarray(new), impl=jax.random.key_impl(old))
    told = np.asarray(new).astype(np.asarray(old).dtype)
    return jax.numpy.asarray(told) if isinstance(old, jax.Array) else told
