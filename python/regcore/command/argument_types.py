"""Words of the command line into values, or into a sentence on what is allowed."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .cases import Shape

_PICTURES = (".png", ".svg", ".pdf")
PEERS = ("numpy", "sklearn", "torch", "jax")


def positive_int(text: str) -> int:
    """A whole number of at least 1."""
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return value


def number(text: str, accept: Callable[[float], bool], allowed: str) -> float:
    """A number that `accept` takes; `allowed` says which these are."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not accept(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number {allowed}")
    return value


def seed(text: str) -> int:
    """A whole number from 0 on."""
    value = int(text) if text.isdecimal() else -1
    if not 0 <= value < 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return value


def folds(text: str) -> int:
    """A number of folds."""
    value = positive_int(text)
    if value < 2:
        raise argparse.ArgumentTypeError(f"{text!r}: at least 2 folds are needed")
    return value


def strengths(text: str) -> int | tuple[float, ...]:
    """A number of strengths, or strengths of the user's own."""
    if text.isdecimal():
        return positive_int(text)
    return tuple(alpha(item.strip()) for item in text.split(",") if item.strip())


def names(text: str) -> tuple[str, ...]:
    """Names of columns, separated by commas."""
    found = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r}: give names of columns, separated by commas")
    return found


def powers(text: str) -> tuple[float, ...]:
    """Powers above 0 and up to 1, separated by commas."""
    found = tuple(dict.fromkeys(positive_ratio(item.strip()) for item in text.split(",") if item.strip()))
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r}: give powers such as 1,0.5, separated by commas")
    return found


def positive_ratio(text: str) -> float:
    """A share above 0 and up to 1."""
    return number(text, lambda value: 0 < value <= 1, "between 0 and 1, and not 0")


def alpha(text: str) -> float:
    """A strength."""
    return number(text, lambda value: 0 < value < float("inf"), "above 0")


def l1_ratio(text: str) -> float:
    """A share from 0 to 1."""
    return number(text, lambda value: 0 <= value <= 1, "between 0 and 1")


def test_size(text: str) -> float:
    """A share between 0 and 1."""
    return number(text, lambda value: 0 < value < 1, "between 0 and 1, both excluded")


def times(n: int, example: str) -> Callable[[str], tuple[int, ...]]:
    """A parser of `n` numbers such as ``8x8x8``."""

    def parse(text: str) -> tuple[int, ...]:
        parts = text.lower().split("x")
        if len(parts) != n or not all(part.isdecimal() and 0 < int(part) <= 4096 for part in parts):
            raise argparse.ArgumentTypeError(f"{text!r} is not of the form {example}")
        return tuple(map(int, parts))

    return parse


def listed(allowed: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """A parser of some of the `allowed` words, separated by commas."""

    def parse(text: str) -> tuple[str, ...]:
        found = tuple(dict.fromkeys(name.strip().lower() for name in text.split(",") if name.strip()))
        if not found or not set(found) <= set(allowed):
            raise argparse.ArgumentTypeError(
                f"{text!r}: give some of {', '.join(allowed)}, separated by commas"
            )
        return found

    return parse


def bench_peers(text: str) -> tuple[str, ...]:
    """Other libraries, all of them or none."""
    if text.strip().lower() in ("all", "none"):
        return PEERS if text.strip().lower() == "all" else ()
    return listed(PEERS)(text)


def shapes(text: str) -> tuple[Shape, ...]:
    """Shapes such as ``60000x784x10,4000x64x2``."""
    from .cases import Shape

    found = []
    for item in filter(None, (item.strip().lower() for item in text.split(","))):
        parts = item.split("x")
        if len(parts) != 3 or not all(part.isdecimal() and int(part) > 0 for part in parts):
            raise argparse.ArgumentTypeError(f"{item!r} is not of the form 60000x784x10")
        found.append(Shape(*map(int, parts)))
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r}: give shapes such as 60000x784x10, separated by commas")
    return tuple(dict.fromkeys(found))


def picture(text: str) -> Path:
    """A picture to write."""
    if Path(text).suffix.lower() not in _PICTURES:
        raise argparse.ArgumentTypeError(f"{text!r} does not end in {', '.join(_PICTURES)}")
    return output(text)


def output(text: str) -> Path:
    """A file to write, in a folder that is there."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a folder")
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {str(path.parent)!r} to save in")
    if not os.access(folder, os.W_OK):
        raise argparse.ArgumentTypeError(f"the folder {str(path.parent)!r} is not writable")
    return path
