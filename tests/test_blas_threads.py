"""One thread for linear algebra, and the number there was before afterwards."""

from __future__ import annotations

import pytest

from jaxlatent.numerics import blas_threads as module


@pytest.fixture
def pools(monkeypatch):
    """Two pools of 4 and 2 threads, as numbers."""
    numbers = [4, 2]

    def pool(k):
        return module.Pool(lambda: numbers[k], lambda n: numbers.__setitem__(k, n))

    monkeypatch.setattr(module, "_pools", lambda: (pool(0), pool(1)))
    return numbers


def test_one_inside_and_as_before_afterwards(pools):
    with module.one_thread():
        assert pools == [1, 1]
        with module.one_thread():
            assert pools == [1, 1]
        assert pools == [1, 1]
    assert pools == [4, 2]


def test_as_before_after_an_error(pools):
    @module.one_thread()
    def fails():
        assert pools == [1, 1]
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            fails()
        assert pools == [4, 2]


def test_the_libraries_of_this_process():
    """Every OpenBLAS found is set and restored; what is no library is passed over."""
    before = [pool.get() for pool in module._pools()]
    with module.one_thread():
        assert [pool.get() for pool in module._pools()] == [1] * len(before)
    assert [pool.get() for pool in module._pools()] == before
    assert not list(module._pools_of("/no/such/library"))
