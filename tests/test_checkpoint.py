"""Checkpoints: bit for bit, whole or not at all, of this model and these data only."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlatent.inference.checkpoint import Checkpoints, difference, fingerprint

ABOUT = {"model": {"item_type": "2pl", "factors": 2}, "data": {"persons": 100, "values": "ab"}, "settings": {"R": 5}}


class State(NamedTuple):
    params: dict
    key: jax.Array
    moments: tuple
    steps: int
    rate: float
    nothing: None = None


def state_of(seed=0):
    rng = np.random.default_rng(seed)
    params = {
        "w": jnp.asarray(rng.standard_normal((3, 4)), jnp.float32),
        "half": jnp.asarray(rng.standard_normal(5), jnp.bfloat16),
        "wide": rng.standard_normal((2, 2)),
        "special": np.array([np.nan, np.inf, -0.0, 5e-324]),
        "flags": np.array([True, False]),
        "count": np.asarray(7, np.int8),
    }
    keys = jax.random.split(jax.random.key(seed), 3)
    return State(params, keys, optax.adam(1e-3).init({"w": params["w"]}), 12 + seed, 0.1)


def bits(leaf):
    if jax.dtypes.issubdtype(getattr(leaf, "dtype", np.dtype(float)), jax.dtypes.prng_key):
        return str(jax.random.key_impl(leaf)), np.asarray(jax.random.key_data(leaf)).tobytes()
    return str(np.asarray(leaf).dtype), np.shape(leaf), np.asarray(leaf).tobytes()


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    return [bits(leaf) for leaf in jax.tree.leaves(a)] == [bits(leaf) for leaf in jax.tree.leaves(b)]


def test_round_trip_is_bit_for_bit(tmp_path):
    store = Checkpoints.at(tmp_path / "run", ABOUT)
    assert store.latest(state_of()) is None
    store.save(12, state_of(1), {"epoch": 3})
    found = store.latest(state_of(0))
    assert same(found.tree, state_of(1)) and not same(found.tree, state_of(2))
    assert (found.step, found.notes, found.skipped) == (12, {"epoch": 3}, ())
    assert type(found.tree.steps) is int and type(found.tree.rate) is float
    draw = lambda state: np.asarray(jax.random.normal(state.key[2], (4,)))  # noqa: E731
    np.testing.assert_array_equal(draw(found.tree), draw(state_of(1)))


def test_keys_keep_their_kind(tmp_path):
    store = Checkpoints.at(tmp_path, ABOUT)
    store.save(1, {"key": jax.random.key(3, impl="rbg")})
    found = store.latest({"key": jax.random.key(0, impl="rbg")}).tree["key"]
    np.testing.assert_array_equal(jax.random.bits(found), jax.random.bits(jax.random.key(3, impl="rbg")))
    with pytest.raises(ValueError, match="other arrays"):
        store.latest({"key": jax.random.key(0)})


def test_the_last_two_are_kept(tmp_path):
    store = Checkpoints.at(tmp_path, ABOUT)
    for step in (5, 40, 300, 2000):
        store.save(step, {"x": np.full(3, step)})
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "step-000000000300.checkpoint",
        "step-000000002000.checkpoint",
    ]
    assert store.latest({"x": np.zeros(3, int)}).step == 2000


@pytest.mark.parametrize("damage", ["half", "empty", "flipped", "text", "other zip"])
def test_a_damaged_one_is_passed_over(tmp_path, damage):
    store = Checkpoints.at(tmp_path, ABOUT)
    like = {"x": np.arange(1000.0)}
    store.save(1, like)
    path = store.save(2, like)
    whole = path.read_bytes()
    if damage == "other zip":
        np.savez(path.with_suffix(".npz"), x=1)
        path.with_suffix(".npz").replace(path)
    else:
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 1
        path.write_bytes({"half": whole[: len(whole) // 2], "empty": b"", "flipped": flipped, "text": b"no"}[damage])
    found = store.latest(like)
    assert found.step == 1 and found.skipped == (path.name,)
    np.testing.assert_array_equal(found.tree["x"], like["x"])


def test_every_truncation_is_noticed(tmp_path):
    store = Checkpoints.at(tmp_path, ABOUT)
    path = store.save(1, {"x": np.arange(3)})
    whole = path.read_bytes()
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        assert store.latest({"x": np.arange(3)}) is None, n


PROGRAM = """
import sys, numpy as np
from jaxlatent.inference.checkpoint import Checkpoints
store = Checkpoints.at(sys.argv[1], {"model": 1})
print("go", flush=True)
step = 0
while True:
    step += 1
    store.save(step, {"x": np.full(200_000, step), "step": step})
"""


def test_a_killed_run_leaves_a_good_one(tmp_path):
    for k in range(3):
        folder = tmp_path / str(k)
        with subprocess.Popen([sys.executable, "-c", PROGRAM, folder], stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout.readline() == "go\n"
            store = Checkpoints.at(folder, {"model": 1})
            end = time.monotonic() + 60
            while not any(folder.glob("*.checkpoint")) and time.monotonic() < end:
                time.sleep(0.01)
            time.sleep(0.05 + 0.013 * k)
            run.send_signal(signal.SIGKILL)
        found = store.latest({"x": np.zeros(200_000, int), "step": 0})
        assert not found.skipped and found.step == found.tree["step"] > 0
        assert (found.tree["x"] == found.step).all()
        store.save(found.step + 1, found.tree)
        assert not list(folder.glob("*.part"))


@pytest.mark.parametrize(
    ("part", "change", "sentence"),
    [
        ("model", {"item_type": "graded", "factors": 2}, "of another model: item_type was '2pl' there and is 'graded'"),
        ("model", {"item_type": "2pl", "factors": [1]}, "factors was 2 there and is \\[1\\] here"),
        ("data", {"persons": 101, "values": "ab"}, "of other data: persons was 100 there and is 101 here"),
        ("settings", {"R": 5, "rate": 0.1}, "of other settings: rate was not given there and is 0.1 here"),
    ],
)
def test_another_run_is_refused_and_told_why(tmp_path, part, change, sentence):
    Checkpoints.at(tmp_path, ABOUT).save(1, {"x": np.zeros(2)})
    with pytest.raises(ValueError, match=sentence):
        Checkpoints.at(tmp_path, ABOUT | {part: change}).latest({"x": np.zeros(2)})


@pytest.mark.parametrize("like", [{"x": np.zeros(3)}, {"x": np.zeros(2, np.float32)}, {"x": 0.0}])
def test_other_arrays_are_refused(tmp_path, like):
    store = Checkpoints.at(tmp_path, ABOUT)
    store.save(1, {"x": np.zeros(2)})
    with pytest.raises(ValueError, match=r"number 1 is float64\[2\] there"):
        store.latest(like)


def test_other_structures_are_refused(tmp_path):
    store = Checkpoints.at(tmp_path, ABOUT)
    store.save(1, {"x": np.zeros(2)})
    with pytest.raises(ValueError, match="another kind of state"):
        store.latest({"y": np.zeros(2)})


def test_bad_input(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        Checkpoints.at(tmp_path / "file", ABOUT)
    with pytest.raises(ValueError, match="numbers, text, lists and mappings"):
        Checkpoints.at(tmp_path, {"model": object()})
    with pytest.raises(ValueError, match="describe model, data, settings; got spec"):
        Checkpoints.at(tmp_path, {"spec": 1})
    with pytest.raises(ValueError, match="arrays, random keys and numbers"):
        Checkpoints.at(tmp_path, {}).save(1, {"x": "text"})
    assert not list(tmp_path.glob("step-*"))


def test_fingerprint_and_difference():
    x = np.arange(6.0)
    assert fingerprint(x, None) == fingerprint(x.copy(), None)
    others = [(x, x), (x.astype(int), None), (x.reshape(2, 3), None), (x + 1e-16, None), (None, x)]
    assert len({fingerprint(*each) for each in [(x, None), *others]}) == 6
    assert difference({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}) == ("a[1].b", 2, 3)
    assert difference({"a": [1.0, float("nan")]}, {"a": [1.0, float("nan")]}) is None
