"""Programs that are called from the host: compiled once per shape, memory given back around that and only then."""

from __future__ import annotations

import numpy as np
import pytest

from jaxlatent.numerics import program as module


@pytest.fixture
def trims(monkeypatch):
    """A record of every time memory is given back."""
    found = []
    monkeypatch.setattr(module, "give_back", lambda: found.append(True))
    return found


def test_memory_is_given_back_around_a_compilation(trims):
    traced = []

    def double(x):
        traced.append(x.shape)
        return 2 * x

    doubled = module.program(double)
    for size, times in ((3, 1), (3, 1), (4, 2), (3, 2)):
        np.testing.assert_array_equal(doubled(np.arange(size)), 2 * np.arange(size))
        assert (len(traced), len(trims)) == (times, 2 * times)
    assert doubled.__name__ == "double"


def test_errors_pass_and_the_next_call_works(trims):
    summed = module.program(lambda x, y: x + y)
    with pytest.raises(TypeError, match="incompatible shapes"):
        summed(np.ones(2), np.ones(3))
    np.testing.assert_array_equal(summed(np.ones(2), np.ones(2)), [2, 2])
    assert trims


def test_giving_back_is_harmless_where_it_cannot_be_done(monkeypatch):
    def no_library(name):
        raise OSError(name)

    monkeypatch.setattr(module.ctypes, "CDLL", no_library)
    module.give_back()
    monkeypatch.setattr(module.ctypes, "CDLL", lambda name: object())
    module.give_back()
