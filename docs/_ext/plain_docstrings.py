"""Docstrings are written for a terminal: |W| is an absolute value there, not a substitution of RST's."""

from __future__ import annotations

import re
from typing import Any

_CONTINUED = re.compile(r"\s+= ")
_BARS = re.compile(r"(``.*?``)|\|")
_REFERENCE = re.compile(r"(?<=\()(\w+)_(?=[,)])")


def _escape(line: str) -> str:
    line = _BARS.sub(lambda match: match[1] or r"\|", line)
    return _REFERENCE.sub(r"\1\\_", line)


def _rewrite(lines: list[str]) -> list[str]:
    found: list[str] = []
    literal = False
    for i, line in enumerate(lines):
        following = lines[i + 1] if i + 1 < len(lines) else ""
        if _CONTINUED.match(following) and line.strip() and not literal:
            # An equation over two lines and more stays as it is set.
            found += ["", "::", "", "    " + line]
            literal = True
        elif literal and _CONTINUED.match(line):
            found.append("    " + line)
        else:
            if literal:
                found.append("")
            literal = False
            found.append(_escape(line))
    return found


def _process(app: Any, what: str, name: str, holder: Any, options: Any, lines: list[str]) -> None:
    if name.startswith("regcore"):
        lines[:] = _rewrite(lines)


def _skip(app: Any, what: str, name: str, holder: Any, skip: bool, options: Any) -> bool | None:
    # scikit-learn makes these for its metadata routing, and documents them itself.
    return True if re.fullmatch(r"set_\w+_request|get_metadata_routing", name) else None


def setup(app: Any) -> dict[str, bool]:
    """Run after numpydoc, which has made sections of the rest."""
    app.connect("autodoc-process-docstring", _process, priority=900)
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
