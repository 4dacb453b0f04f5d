"""One thread for linear algebra, and the number there was before afterwards."""

from __future__ import annotations

import numpy  # noqa: F401  its BLAS is one of those limited
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from jaxlatent.numerics.blas_threads import one_thread


def threads() -> list[int]:
    """Threads of every BLAS of this process."""
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.fixture(autouse=True)
def two_threads():
    """Two threads, whatever the environment says."""
    with one_thread():
        pass  # loads the libraries
    with threadpool_limits(limits=2, user_api="blas"):
        yield


def test_one_inside_and_as_before_afterwards():
    before = threads()
    assert before and set(before) == {2}
    with one_thread():
        assert set(threads()) == {1}
        with one_thread():
            assert set(threads()) == {1}
        assert set(threads()) == {1}
    assert threads() == before


def test_as_before_after_an_error():
    before = threads()

    @one_thread()
    def fails():
        assert set(threads()) == {1}
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            fails()
        assert threads() == before
