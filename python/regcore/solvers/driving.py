"""How a solver's generator is driven: from step to step, with its requests passed on or answered."""

from __future__ import annotations

import inspect
import math
from collections.abc import Generator
from typing import Any, TypeVar

from regcore.solvers.protocol import ObjectiveLike, Outcome, ProblemToSolve, Request, Step

__all__ = ["answered", "last_step", "next_step"]

T = TypeVar("T")


def next_step(steps: Generator[Step | Request, Any, Outcome]) -> Generator[Request, Any, Step | Outcome]:
    """Go on to a solver's next step, or its outcome if there is none; yield its requests on the way."""
    try:
        given = next(steps)
        while not isinstance(given, Step):
            try:
                answer = yield given
            except OverflowError as error:
                given = steps.throw(error)
            else:
                given = steps.send(answer)
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome
    return given


def last_step(
    steps: Generator[Step | Request, Any, Outcome], problem: ProblemToSolve
) -> Generator[Request, Any, Step]:
    """Run a solver for at most `max_iter` steps; return the last, yield its requests on the way."""
    last = Step(problem.W, problem.b, math.nan, 0.0)
    for _ in range(problem.max_iter):
        given = yield from next_step(steps)
        if isinstance(given, Outcome):
            break
        last = given
    return last


def answered(requests: Generator[Request, Any, T], objective: ObjectiveLike) -> T:
    """Run a generator to its end, answering its requests at once; return what it returns."""
    answer: Any = None
    error: BaseException | None = None
    while True:
        try:
            request = requests.send(answer) if error is None else requests.throw(error)
            error = None
            answer = request.answer(objective)
        except StopIteration as end:
            found: T = end.value
            return found
        except BaseException as raised:  # is the generator's, as if it had made the call itself
            if inspect.getgeneratorstate(requests) == inspect.GEN_CLOSED:
                raise
            answer, error = None, raised
