"""The folder of reference answers, a rule (where it is there, no parity test may be skipped), and how to compile.

Tests spend most of their time compiling: the compiler optimises little here, also for the programs of pages and
notebooks. Examples, commands and benchmarks are compiled as for users; so is everything that runs in the tests' own
processes if XLA_FLAGS is set (to nothing, say).
"""

from __future__ import annotations

import gc
import itertools
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import jax
import pytest

QUICK = " ".join((
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_disable_hlo_passes=while-loop-invariant-code-motion",
))  # fmt: skip
if "XLA_FLAGS" not in os.environ:
    os.environ["XLA_FLAGS"] = QUICK
    jax.devices()  # reads them
    del os.environ["XLA_FLAGS"]  # not for the processes that tests start

ROOT = Path(__file__).resolve().parents[1]
MAPS = 25_000  # memory maps from which compiled programs are dropped; Linux gives a process 65,530, then XLA aborts
_tests_run = itertools.count(1)


def shared_folder() -> Path | None:
    """Folder with data/ and reference/: JAXLATENT_SHARED, else shared/ beside this checkout, else None."""
    named = os.environ.get("JAXLATENT_SHARED")
    folder = Path(named) if named else ROOT.parent / "shared"
    return folder if (folder / "reference").is_dir() else None


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference answers; the test is skipped where there is none."""
    folder = shared_folder()
    if folder is None:
        pytest.skip("no shared folder with reference answers (set JAXLATENT_SHARED)")
    return folder


class _Names(logging.Handler):
    """Names of the functions that JAX says it compiles."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.names: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        found = re.match(r"Compiling (?:jit\()?([\w.<>]+)\)? with", record.getMessage())
        if found:
            self.names.append(found[1])


@pytest.fixture
def compiled() -> Callable[[], AbstractContextManager[list[str]]]:
    """``with compiled() as names``: the names of functions compiled inside, each as often as it was.

    Sizes of the caches of compiled functions don't tell: old entries of other functions leave them.
    """

    @contextmanager
    def watch() -> Iterator[list[str]]:
        handler, logger = _Names(), logging.getLogger("jax._src.interpreters.pxla")
        level, propagate = logger.level, logger.propagate
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        try:
            yield handler.names
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate

    return watch


def _must_not_skip(report: pytest.TestReport | pytest.CollectReport) -> bool:
    if not (report.skipped and os.environ.get("JAXLATENT_CI") == "1" and shared_folder() is not None):
        return False
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return "shared" in reason.lower() and not hasattr(report, "wasxfail")


def _fail(report: pytest.TestReport | pytest.CollectReport) -> None:
    report.outcome = "failed"
    report.longrepr = f"skipped although the shared folder is there (JAXLATENT_CI=1): {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if _must_not_skip(report):
        _fail(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    if _must_not_skip(report):
        _fail(report)
    return report


def _n_maps() -> int:
    """Memory maps of this process; 0 where the system does not say."""
    maps = Path("/proc/self/maps")
    return maps.read_bytes().count(b"\n") if maps.exists() else 0


def pytest_runtest_teardown(item):
    """Every compiled program holds memory maps: thousands of tests in one process would use up what there are."""
    if next(_tests_run) % 10 == 0 and _n_maps() > MAPS:
        jax.clear_caches()
        gc.collect()


def pytest_collection_modifyitems(items):
    """The scripts first: the longest of them takes minutes, and nothing should wait for it at the end."""
    items.sort(key=lambda item: item.path.name != "test_examples.py")
