"""Options, data and reports of the benchmarks.

    python -m pytest benchmarks                       everything, some minutes
    python -m pytest benchmarks --quick               a hundredth of the samples: a look, no figures to quote
    REGCORE_BENCH_SCALE=0.1 python -m pytest benchmarks

Every group holds regcore and the NumPy reference on the same data, and every benchmark checks its answer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import pytest
from cases import Problem, Shape, dense_problem, sparse_problem

QUICK_SCALE = 0.01

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
