"""Write the page of the API from what the package offers, so that nothing public can be missing."""

from __future__ import annotations

import inspect
from pathlib import Path

import regcore

# By the module that a name comes from; the first that fits.
_SECTIONS = (
    ("Objectives", ("regcore.objective", "regcore.losses", "regcore.weights", "regcore.certificate")),
    ("Penalties", ("regcore.penalties",)),
    ("Solvers", ("regcore.solvers",)),
    ("Paths and sweeps", ("regcore.path", "regcore.sweep")),
    ("Estimators", ("regcore.estimators",)),
    ("Other libraries", ("regcore.interop",)),
    ("More", ("regcore",)),
)
# Public, but not at the top of the package.
_BESIDES = ("solvers.FitState", "solvers.HistoryEntry", "solvers.fista.fista", "solvers.sgd.sgd")
_REFERENCE = "The reference"


def resolve(name: str) -> object:
    """The object of a dotted name below ``regcore``."""
    holder: object = regcore
    for part in name.split("."):
        holder = getattr(holder, part)
    return holder


def sections() -> dict[str, list[str]]:
    """Names by section."""
    found: dict[str, list[str]] = {title: [] for title, _ in _SECTIONS}
    for name in (*regcore.__all__, *regcore.estimators.__all__, *_BESIDES):
        thing = resolve(name)
        if inspect.ismodule(thing):
            continue
        module = getattr(thing, "__module__", "regcore")
        title = next(title for title, homes in _SECTIONS if module.startswith(homes))
        found[title].append(name)
    found[_REFERENCE] = [f"reference.{name}" for name in regcore.reference.__all__]
    return {title: names for title, names in found.items() if names}


def write(path: Path) -> None:
    """Write the page, if it has changed."""
    lines = ["API", "===", "", ".. currentmodule:: regcore", ""]
    for title, names in sections().items():
        lines += [
            title,
            "-" * len(title),
            "",
            ".. autosummary::",
            "   :toctree: generated",
            "   :nosignatures:",
            "",
        ]
        lines += [f"   {name}" for name in names] + [""]
    text = "\n".join(lines)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
