"""The losses of regcore: their names, the codes the compiled core knows them by, and what each can do.

=================  ====  ==================================================  ======  ===========
name               code  loss of one sample with scores s and label y        smooth  binary form
=================  ====  ==================================================  ======  ===========
cross_entropy      0     -log(exp(s_y) / sum_j exp(s_j))                     yes     yes
hinge              1     sum_{j != y} max(0, s_j - s_y + 1)                  no      yes
squared_hinge      2     sum_{j != y} max(0, s_j - s_y + 1)**2               yes     yes
crammer_singer     3     max(0, 1 + max_{j != y} s_j - s_y)                  no      no
=================  ====  ==================================================  ======  ===========

A binary form has one score s for the label 1 against the label 0. With z = s for the label 1 and z = -s for
the label 0 it is log(1 + exp(-z)), max(0, 1 - z) or max(0, 1 - z)**2.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Loss", "resolve_loss"]


class Loss(IntEnum):
    """A loss; its integer value is the code of the loss in the compiled core."""

    CROSS_ENTROPY = 0
    HINGE = 1
    SQUARED_HINGE = 2
    CRAMMER_SINGER = 3

    @property
    def label(self) -> str:
        """The name that users write."""
        return self.name.lower()

    @property
    def has_binary_form(self) -> bool:
        """Whether a W of one row (label 1 against label 0) is defined."""
        return self is not Loss.CRAMMER_SINGER

    @property
    def is_smooth(self) -> bool:
        """Whether the gradient in the scores is Lipschitz continuous."""
        return self in (Loss.CROSS_ENTROPY, Loss.SQUARED_HINGE)


def resolve_loss(loss: str | Loss, *, binary: bool = False, argument: str = "loss") -> Loss:
    """Return the `Loss` that a user's string names.

    Parameters
    ----------
    loss : str or Loss
        One of ``"cross_entropy"``, ``"hinge"``, ``"squared_hinge"`` and ``"crammer_singer"``.
    binary : bool, default=False
        Whether the binary form (a W of one row) is wanted.
    argument : str, default="loss"
        How the error names the argument.

    Returns
    -------
    Loss

    Raises
    ------
    TypeError
        If `loss` is neither a string nor a `Loss`.
    ValueError
        If no loss has that name, or the binary form is wanted of a loss that has none.
    """
    if isinstance(loss, Loss):
        resolved = loss
    elif isinstance(loss, str):
        try:
            resolved = _BY_LABEL[loss]
        except KeyError:
            raise ValueError(f"{argument} must be one of {_listed(list(Loss))}; got {loss!r}") from None
    else:
        raise TypeError(
            f"{argument} must be a string, one of {_listed(list(Loss))}; got {type(loss).__name__}"
        )
    if binary and not resolved.has_binary_form:
        allowed = [member for member in Loss if member.has_binary_form]
        raise ValueError(
            f"{argument}={resolved.label!r} has no binary form: give W one row per class, "
            f"or use one of {_listed(allowed)}"
        )
    return resolved


_BY_LABEL = {member.label: member for member in Loss}


def _listed(losses: list[Loss]) -> str:
    return ", ".join(repr(loss.label) for loss in losses)
