"""Persons spread over devices: the same log-likelihood and gradient as on one."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import jaxlatent as jl

assert jax.device_count() == 2
rng = np.random.default_rng(0)
y = (rng.logistic(size=(400, 6)) < 1.3 * rng.standard_normal((400, 1))).astype(float)
y[rng.random(y.shape) < 0.2] = np.nan
y[:, 0] = np.where(np.isnan(y).all(1), 1, y[:, 0])
with jax.enable_x64(True):
    bound = jl.IRT("2pl").bind(y)
    people = NamedSharding(Mesh(np.array(jax.devices()), ("person",)), PartitionSpec("person"))
    model, rule = bound.model, jl.GaussHermite(15)

    def total(free, arrays):
        each = rule.log_marginal(model, model.layout.unpack(free), arrays)
        return (arrays.weight * each).sum()

    free = jnp.asarray(model.layout.start)
    both = jax.jit(jax.value_and_grad(total))
    spread = jax.device_put(bound.arrays, people)
    assert len(spread.y.sharding.device_set) == 2 and spread.y.addressable_shards[0].data.shape == (200, 6)
    program = both.lower(free, spread).compile().as_text()
    assert "all-reduce" in program
    one, two = both(free, bound.arrays), both(free, spread)
    np.testing.assert_allclose(two[0], one[0], rtol=1e-12)
    np.testing.assert_allclose(two[1], one[1], rtol=1e-9, atol=1e-9)
    assert np.isfinite(float(one[0]))
print("same")
"""


def test_two_devices_give_what_one_gives():
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "same\n"
