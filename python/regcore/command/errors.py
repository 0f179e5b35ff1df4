"""What can go wrong in a command, and the exit code of each."""

from __future__ import annotations

import os
import sys
from enum import IntEnum
from importlib.util import find_spec


class ExitCode(IntEnum):
    """Exit codes of the ``regcore`` command."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    DATA = 3
    INTERRUPTED = 130


class CommandError(Exception):
    """An error that ends a command with a message of one line and an exit code."""

    exit_code = ExitCode.FAILURE


class UsageError(CommandError):
    """An argument or a combination of arguments that the command does not take."""

    exit_code = ExitCode.USAGE


class DataError(CommandError):
    """Data that cannot be used.

    Parameters
    ----------
    where : str or path-like
        The file or folder, and where it helps the line and column in it.
    problem : str
        What is wrong with it and what would be right.
    """

    exit_code = ExitCode.DATA

    def __init__(self, where: str | os.PathLike[str], problem: str) -> None:
        super().__init__(f"{os.fspath(where)}: {problem}")
        self.where = os.fspath(where)
        self.problem = problem


class MissingExtraError(CommandError, ImportError):
    """An optional package is not installed."""


_DISTRIBUTIONS = {"PIL": "Pillow", "sklearn": "scikit-learn"}


def require(*modules: str, purpose: str, extra: str = "command") -> None:
    """Raise `MissingExtraError` naming the extra unless all of `modules` can be imported."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        names = " and ".join(_DISTRIBUTIONS.get(module, module) for module in missing)
        raise MissingExtraError(f'{purpose} needs {names}: pip install "regcore[{extra}]"')


def printable(text: str, encoding: str | None = None) -> str:
    """Make `text` (a path, say) one line that a stream of this encoding can take."""
    encoding = encoding or getattr(sys.stderr, "encoding", None) or "utf-8"
    encoded = text.encode(encoding, "backslashreplace").decode(encoding)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in encoded)
