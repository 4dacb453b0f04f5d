"""Persons of a step over the devices that JAX sees; parameters are the same on all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "person"


def over_devices(batch_size: int) -> Callable[[Any], Any]:
    """A function that lays arrays [step, person, ...] out, persons over the devices; as they are if they don't divide.

    One program then computes each device's share and sums gradients over devices.
    """
    devices = jax.devices()
    if len(devices) == 1 or batch_size % len(devices):
        return lambda tree: tree
    sharding = NamedSharding(Mesh(devices, (AXIS,)), PartitionSpec(None, AXIS))
    return lambda tree: jax.device_put(tree, sharding)
