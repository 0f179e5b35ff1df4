"""Progress bars on stderr, for people who look at a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

Report = Callable[..., None]


@contextmanager
def progress_bar(console: Console, what: str, *, enabled: bool) -> Iterator[Report | None]:
    """Show a bar while the block runs, and leave nothing behind.

    Yields
    ------
    callable or None
        ``report(n_done, n_total, detail="")``; None when the bar is off or the console no terminal.
    """
    if not enabled or not console.is_terminal:
        yield None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None, detail="")

        def report(n_done: int, n_total: int, detail: str = "") -> None:
            bar.update(task, completed=n_done, total=n_total, detail=detail)

        yield report
