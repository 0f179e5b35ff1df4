"""Options, data and reports of the benchmarks.

    python -m pytest benchmarks                       everything, about a quarter of an hour
    python -m pytest benchmarks --quick               a hundredth of the samples: a look, no figures to quote
    REGCORE_BENCH_SCALE=0.1 python -m pytest benchmarks

Every group holds regcore and the NumPy reference on the same data, and every benchmark checks its answer.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import pytest
from cases import Problem, Shape, dense_problem, sparse_problem

QUICK_SCALE = 0.01

# The threads of a BLAS spin for some time after a call, in case another follows, and take a core from whoever
# comes next: 0.1 s is too short a pause for OpenBLAS, 0.2 s is enough.
SETTLE_SECONDS = 0.3

_report = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="shrink the data, and assert no figures of speed")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "operation(*names): the public operations that a benchmark measures")
    config.stash[_report] = []


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if config.stash[_report]:
        terminalreporter.section("measured besides")
        for line in config.stash[_report]:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def scale(pytestconfig: pytest.Config) -> float:
    """Factor on the number of samples: 1 unless --quick or REGCORE_BENCH_SCALE says otherwise."""
    if pytestconfig.getoption("--quick"):
        return QUICK_SCALE
    return float(os.environ.get("REGCORE_BENCH_SCALE", "1"))


@pytest.fixture(scope="session")
def full_size(scale: float) -> bool:
    """Whether figures of speed and memory mean something."""
    return scale == 1


@pytest.fixture(scope="session")
def settle(full_size: bool) -> Callable[[], None]:
    """A function that waits until the threads of what ran before sleep; call it before something is timed."""
    return (lambda: time.sleep(SETTLE_SECONDS)) if full_size else (lambda: None)


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """A function that adds a line to the end of the run."""
    return pytestconfig.stash[_report].append


@pytest.fixture(scope="session")
def dense(scale: float) -> Iterator[Callable[..., Problem]]:
    """A function that makes a dense problem, and keeps the last one: the largest has more than a gigabyte."""

    @lru_cache(maxsize=1)
    def make(shape: Shape, dtype: str, storage: str | None = None) -> Problem:
        return dense_problem(shape.scaled(scale), dtype, storage)

    yield make
    make.cache_clear()


@pytest.fixture(scope="session")
def csr(scale: float) -> Iterator[Callable[[Shape, str], Problem]]:
    """A function that makes a CSR problem, and keeps the last one."""

    @lru_cache(maxsize=1)
    def make(shape: Shape, dtype: str) -> Problem:
        return sparse_problem(shape.scaled(scale), dtype)

    yield make
    make.cache_clear()


@pytest.fixture(scope="session")
def expected() -> Iterator[Callable[..., Any]]:
    """A function that calls another with a problem, and keeps its last answer."""
    last: dict[str, Any] = {}

    def answer(key: Any, function: Callable[[], Any]) -> Any:
        if last.get("key") != key:
            last.clear()
            last.update(key=key, value=function())
        return last["value"]

    yield answer
    last.clear()
