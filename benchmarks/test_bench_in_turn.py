"""regcore against the reference, timed in turn, so that a machine whose speed drifts treats both alike."""

from __future__ import annotations

import statistics
import time

import pytest
from cases import Shape, assert_agree

import regcore
from regcore import reference

ROUNDS = 11


def medians_in_turn(settle, *functions):
    """Return the median seconds of each function, called one after the other ROUNDS times."""
    seconds = [[] for _ in functions]
    for _ in range(ROUNDS):
        for function, times in zip(functions, seconds, strict=True):
            settle()
            function()  # wakes its threads
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in seconds]


@pytest.mark.operation("loss_and_grad")
@pytest.mark.parametrize("loss", ["cross_entropy", "hinge"])
def test_three_times_faster_than_the_reference(dense, report, settle, full_size, loss):
    p = dense(Shape(60_000, 784, 10), "float32")
    arguments = (p.X, p.y, p.W, p.b)
    ours = regcore.loss_and_grad(*arguments, loss=loss)
    assert_agree(ours, reference.loss_and_grad(*arguments, loss=loss), "float32")
    core, numpy = medians_in_turn(
        settle,
        lambda: regcore.loss_and_grad(*arguments, loss=loss),
        lambda: reference.loss_and_grad(*arguments, loss=loss),
    )
    report(
        f"loss_and_grad {loss} float32 {p.shape}: {core * 1e3:.2f} ms, reference {numpy * 1e3:.2f} ms, "
        f"{numpy / core:.2f} times faster"
    )
    if full_size:
        assert numpy >= 3 * core
