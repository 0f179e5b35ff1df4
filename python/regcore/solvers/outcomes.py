"""How fits end that came to what `tol` asks for."""

from __future__ import annotations

from typing import Any

from regcore.solvers.protocol import ObjectiveLike, Outcome

__all__ = ["NO_MINIMUM", "proven", "stationary"]

NO_MINIMUM = Outcome(
    False,
    "every sample is on its own side: the loss falls for ever as W grows, and without a penalty there is no "
    "minimum; add a penalty",
)


def proven(gap: float, value: float) -> Outcome:
    """Return the end of a fit whose duality gap is small beside the value."""
    share = gap / abs(value) if value else 0.0
    return Outcome(True, f"the duality gap fell to {share:.2g} of the objective")


def stationary(objective: ObjectiveLike, W: Any, b: Any, residual: float) -> Outcome:
    """Return the end of a fit without a penalty, whose gradient may vanish at infinity alone. One pass."""
    if objective._separates(W, b):
        return NO_MINIMUM
    return Outcome(True, f"the gradient fell to {residual:.2g} of that at zero")
