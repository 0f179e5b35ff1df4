"""What people see while a command runs: consoles, progress, remarks, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any

from .errors import printable
from .progress import Report, progress_bar


def console_of(stream: Any, width: int = 100) -> Any:
    """A rich console that takes text as it is."""
    from rich.console import Console

    console = Console(file=stream, markup=False, highlight=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = width  # a file or a pipe has no width of its own
    return console


class Terminal:
    """Standard error, for people.

    Parameters
    ----------
    quiet : bool
        Show nothing but errors.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._console = console_of(sys.stderr)
        self._quiet = quiet

    def remark(self, *texts: str) -> None:
        """Print one line for each."""
        if not self._quiet:
            for text in texts:
                self._console.print(f"note: {printable(text)}", soft_wrap=True)

    def progress(self, what: str, *, enabled: bool = True) -> AbstractContextManager[Report | None]:
        """A bar while a block runs; see `progress_bar`."""
        return progress_bar(self._console, what, enabled=enabled and not self._quiet)

    @staticmethod
    @contextmanager
    def interrupts() -> Iterator[threading.Event]:
        """Remember a Ctrl-C, besides raising it: a trainer may take it as the wish to stop early."""
        pressed = threading.Event()
        if threading.current_thread() is not threading.main_thread():
            yield pressed
            return

        def handler(signum: int, frame: FrameType | None) -> None:
            pressed.set()
            signal.default_int_handler(signum, frame)

        previous = signal.signal(signal.SIGINT, handler)
        try:
            yield pressed
        finally:
            signal.signal(signal.SIGINT, signal.SIG_DFL if previous is None else previous)
