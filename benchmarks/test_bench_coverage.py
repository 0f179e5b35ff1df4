"""A public operation without a benchmark is an error, and so is a benchmark of an operation that is gone."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import regcore

# What computes nothing over samples or weights, and why.
NOT_OPERATIONS = {
    "ElasticNet.from_l1_ratio": "converts two numbers",
    "EarlyStopping.load_state_dict": "takes what is there",
    "EarlyStopping.state_dict": "hands out what is there",
    "Progress.finish": "writes a line",
}


def public_operations() -> set[str]:
    """Return the functions of regcore, and the methods of its classes as `Class.method`."""
    found = set()
    for name in regcore.__all__:
        member = getattr(regcore, name)
        if inspect.isclass(member):
            found |= set(public_methods(member))
        elif callable(member):
            found.add(name)
    return found - set(NOT_OPERATIONS)


def public_methods(member: type) -> Iterator[str]:
    for name in dir(member):
        if name.startswith("_"):
            continue
        # inherited from regcore, not from scikit-learn, enum or the like
        owner = next(base for base in member.__mro__ if name in vars(base))
        if owner.__module__.startswith("regcore") and callable(getattr(member, name)):
            yield f"{owner.__name__}.{name}"


def benchmarked_operations() -> set[str]:
    """Return the arguments of all marks `operation` in this directory."""
    found: set[str] = set()
    for path in Path(__file__).parent.glob("test_bench_*.py"):
        module = importlib.import_module(path.stem)
        holders = [module, *(test for name, test in vars(module).items() if name.startswith("test_"))]
        for holder in holders:
            marks = getattr(holder, "pytestmark", [])
            for mark in marks if isinstance(marks, list) else [marks]:
                if mark.name == "operation":
                    found |= set(mark.args)
    return found


def test_every_public_operation_has_a_benchmark():
    missing = public_operations() - benchmarked_operations()
    assert not missing, f"no benchmark is marked with operation(...) for {sorted(missing)}"


def test_every_benchmark_is_of_a_public_operation():
    gone = benchmarked_operations() - public_operations()
    assert not gone
