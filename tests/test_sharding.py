"""Persons spread over devices and processes: the same log-likelihood, gradient and fit as on one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from subprocess import PIPE

import numpy as np

import jaxlatent as jl
from jaxlatent.inference.sharding import Devices

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


PROCESS = """
import json, os, sys, warnings
import jax, numpy as np
import jaxlatent as jl
from jaxlatent.inference.sharding import over_devices

port, number, folder = sys.argv[1:]
jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=int(number), initialization_timeout=120)
lsat = jl.datasets.load("lsat7")
engine = jl.AmortizedVI(guide=jl.guides.Amortized(hidden=(8,)), polish=False, max_epochs=2, se="none")
assert over_devices(32).mesh.size == 2 and len(jax.local_devices()) == 1
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    assert over_devices(33).mesh is None
refused = ""
try:
    jl.IRT("2pl").fit(lsat[::-1] if number == "1" else lsat, engine, progress=False)
except ValueError as error:
    refused = str(error)
fits = [jl.IRT("2pl").fit(lsat, engine, progress=False, checkpoint=folder) for _ in range(2)]
estimates = [list(fit.parameters["est"]) + [fit.log_likelihood] for fit in fits]
print(json.dumps([estimates, refused, [str(each.message) for each in said]]))
"""


def test_two_processes_give_what_one_gives(tmp_path):
    """Each does half of every step, on loopback; training goes on where one process has written a checkpoint."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", PROCESS, str(port)]
    flags = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    both = [
        subprocess.Popen([*command, number, str(tmp_path)], env=environment, stdout=PIPE, stderr=PIPE, text=True)
        for number in "01"
    ]
    try:
        ends = [each.communicate(timeout=300) for each in both]
    finally:
        for each in both:
            each.kill()
    assert [each.returncode for each in both] == [0, 0], ends[0][1][-3000:] + ends[1][1][-3000:]
    found = [json.loads(out.splitlines()[-1]) for out, _ in ends]
    engine = jl.AmortizedVI(guide=jl.guides.Amortized(hidden=(8,)), polish=False, max_epochs=2, se="none")
    alone = jl.IRT("2pl").fit(jl.datasets.load("lsat7"), engine)
    for estimates, refused, said in found:
        np.testing.assert_allclose(estimates[0][:-1], alone.parameters["est"], atol=1e-5)
        assert abs(estimates[0][-1] - alone.log_likelihood) < 1e-3
        assert estimates[0] == estimates[1] == found[0][0][0]
        assert "same model, data and settings in all 2 processes; number 1 has others" in refused
        assert len(said) == 1 and "choose batch_size as a multiple of 2" in said[0]
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_one_process_needs_nobody():
    """Everything stays where it is, and whatever is asked is so."""
    devices = Devices(None, 1)
    tree = {"a": np.arange(3)}
    assert devices.everywhere(tree) is tree and devices.here(tree) is tree and devices.agreed(tree) is tree
    devices.check_same("data", np.arange(3))
