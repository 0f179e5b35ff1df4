"""``.. command:: regcore compare``: run when the page is built, and shown with what it prints."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive, directives

from regcore.command import main


class Command(Directive):
    """Run ``regcore`` in this process; another exit code than the one expected is an error."""

    required_arguments = 1
    final_argument_whitespace = True
    option_spec = {"exit": directives.nonnegative_int}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        line = self.arguments[0]
        words = shlex.split(line)
        if words[0] != "regcore":
            raise self.error(f"{line!r} is not a regcore command")
        output = io.StringIO()
        os.environ["COLUMNS"] = "84"  # what the theme shows without scrolling
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            code = main(words[1:])
        if code != self.options.get("exit", 0):
            raise self.error(f"{line!r} ended with exit code {code}:\n{output.getvalue()}")
        shown = "\n".join(text.rstrip() for text in output.getvalue().strip("\n").splitlines())
        block = nodes.literal_block(text=f"$ {line}\n{shown}")
        block["language"] = "text"
        return [block]


def setup(app: Any) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("command", Command)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
