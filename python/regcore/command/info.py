"""``regcore info``: what this installation is and what it uses. Needs NumPy alone."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any

OPTIONAL = (
    *("scipy", "scikit-learn", "rich", "pillow", "matplotlib", "jinja2", "safetensors", "shtab", "pyarrow"),
    *("torch", "jax"),
)


def collect() -> dict[str, Any]:
    """What the compiled core says of itself, and the versions of Python and of the packages."""
    import regcore._core as core

    packages: dict[str, str | None] = {}
    for name in ("numpy", *OPTIONAL):
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            packages[name] = None
    return {
        "version": metadata.version("regcore"),
        "core": dict(core.info()),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "executable": sys.executable,
        "packages": packages,
    }


_LABELS = {
    "isa": "CPU level in use",
    "available": "CPU levels available",
    "threads": "threads",
    "threading": "threading",
    "openmp": "OpenMP",
    "compiler": "compiler",
    "build": "build type",
    "sanitize": "sanitizers",
    "api_version": "C API version",
}


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def lines(info: Mapping[str, Any]) -> list[str]:
    """`collect`'s answer as lines of a label and a value; what is empty is left out."""
    core = info["core"]
    keys = [key for key in _LABELS if key in core] + [key for key in core if key not in _LABELS]
    rows = [("regcore", str(info["version"]))]
    rows += [
        (_LABELS.get(str(key), str(key)), _value(core[key])) for key in keys if core[key] not in ("", None)
    ]
    rows.append(("Python", f"{info['python']} on {info['platform']}"))
    rows += [(name, found or "not installed") for name, found in info["packages"].items()]
    width = max(len(label) for label, _ in rows)
    return [f"{label:<{width}}  {value}" for label, value in rows]
