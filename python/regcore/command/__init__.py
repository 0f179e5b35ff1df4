"""The ``regcore`` command: arguments in, a table or JSON out, an exit code that means something.

`arguments` knows what may be asked for and `run` what is then done; the layers below know nothing of either.
`data` and its kinds (`archives`, `tables`, `images`, `texts`) read; `compare` and `search` are the
experiments; `report`, `picture`, `tune`, `predict` and `page` show; `models` keeps. For ``regcore bench``,
`cases` and `peers` say what is measured, `bench` measures, `bench_report` and `roofline` show it. Only what a
command needs is imported, so that ``regcore info`` runs with NumPy alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from .errors import CommandError, ExitCode, UsageError, printable

__all__ = ["main"]


def _complain(message: str) -> None:
    sys.stderr.write(f"regcore: error: {printable(message)}\n")


def _check_environment() -> None:
    from regcore._core import check_isa

    try:
        check_isa()
    except ValueError as error:
        raise UsageError(str(error)) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; ``sys.argv[1:]`` by default.

    Returns
    -------
    int
        0 done, 1 failed otherwise, 2 wrong usage, 3 unusable data, 130 interrupted.
    """
    from .arguments import parser

    words = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments = parser().parse_args(words)
    except SystemExit as leave:  # argparse has said why
        return int(leave.code or 0)
    arguments.words = words
    try:
        _check_environment()
        from .run import COMMANDS

        COMMANDS[arguments.command](arguments)
        sys.stdout.flush()
    except CommandError as error:
        _complain(str(error))
        return int(error.exit_code)
    except MemoryError as error:
        _complain(f"not enough memory ({error})" if str(error) else "not enough memory")
        return int(ExitCode.FAILURE)
    except BrokenPipeError:
        # The reader of a pipe has left. What is still buffered has nowhere to go, at exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.FAILURE)
    except KeyboardInterrupt:
        _complain("interrupted")
        return int(ExitCode.INTERRUPTED)
    return int(ExitCode.OK)
