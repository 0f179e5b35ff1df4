"""Names, codes and abilities of the losses."""

from __future__ import annotations

import pytest

from regcore.losses import Loss, resolve_loss


def test_codes_are_those_of_the_core():
    assert [(loss.label, int(loss)) for loss in Loss] == [
        ("cross_entropy", 0),
        ("hinge", 1),
        ("squared_hinge", 2),
        ("crammer_singer", 3),
    ]


def test_abilities():
    assert {loss.label for loss in Loss if loss.has_binary_form} == {
        "cross_entropy",
        "hinge",
        "squared_hinge",
    }
    assert {loss.label for loss in Loss if loss.is_smooth} == {"cross_entropy", "squared_hinge"}


@pytest.mark.parametrize("loss", list(Loss))
def test_names_and_members_resolve(loss):
    assert resolve_loss(loss.label) is loss
    assert resolve_loss(loss) is loss


def test_an_unknown_name_lists_what_is_allowed():
    with pytest.raises(ValueError, match=r"^objective must be one of 'cross_entropy', .*; got 'log'$"):
        resolve_loss("log", argument="objective")


@pytest.mark.parametrize("loss", [None, 0, b"hinge"])
def test_what_is_no_string_is_a_type_error(loss):
    with pytest.raises(TypeError, match=r"^loss must be a string, one of 'cross_entropy', .*; got "):
        resolve_loss(loss)


def test_only_some_losses_have_a_binary_form():
    assert resolve_loss("hinge", binary=True) is Loss.HINGE
    with pytest.raises(ValueError, match=r"'crammer_singer' has no binary form.*'squared_hinge'$"):
        resolve_loss("crammer_singer", binary=True)
