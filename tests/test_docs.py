"""The documentation: its code runs, its commands exist, its pages are all in it."""

from __future__ import annotations

import ast
import doctest
import importlib
import pkgutil
import re
import shlex
import textwrap
from pathlib import Path

import pytest

import regcore
from regcore.command.arguments import parser

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.rst") if not {"gallery", "generated"} & set(path.parts))
EXAMPLES = sorted((DOCS / "examples").glob("plot_*.py"))

pytestmark = pytest.mark.skipif(not (DOCS / "conf.py").is_file(), reason="the documentation is not here")


def blocks(text: str, directive: str) -> list[tuple[int, str]]:
    """The line and the content of each block of a directive."""
    found = []
    lines = text.splitlines()
    for i, line in enumerate(lines):
        match = re.fullmatch(rf"( *)\.\. {directive}", line)
        if match is None:
            continue
        body, k = [], i + 1
        while k < len(lines) and (not lines[k].strip() or lines[k].startswith(match[1] + "   ")):
            body.append(lines[k])
            k += 1
        content = re.sub(r"\A\s*(:\w+:.*\n)*", "", textwrap.dedent("\n".join(body)).strip() + "\n")
        found.append((i + 1, content))
    return found


def identify(path: Path) -> str:
    return path.relative_to(DOCS).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=identify)
def test_code_of_a_page(page, tmp_path, monkeypatch):
    code = blocks(page.read_text(encoding="utf-8"), "code-block:: python")
    if not code:
        pytest.skip("no code on this page")
    if any("sklearn" in block or "LinearClassifier" in block for _, block in code):
        pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    # The blocks of a page are one program, as a reader types it.
    namespace: dict[str, object] = {"__name__": "page"}
    for line, block in code:
        tree = ast.increment_lineno(ast.parse(block), line)
        exec(compile(tree, str(page), "exec"), namespace)


def commands() -> list[str]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [line.strip().removeprefix("$ ").removeprefix(".. command:: ") for line in text.splitlines()]
        found += [line for line in lines if re.match(r"regcore [a-z]+( |$)", line)]
    return sorted(set(found))


@pytest.mark.parametrize("line", commands())
def test_command_of_a_page(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line.partition(" > ")[0], comments=True)
    assert parser().parse_args(words[1:]).command == words[1]


def test_there_is_an_example_of_each_kind():
    assert [path.stem for path in EXAMPLES] == [
        "plot_embeddings",
        "plot_genomics",
        "plot_images",
        "plot_text",
    ]
    for path in EXAMPLES:
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))).count("\n===") == 1


def test_every_public_name_is_in_the_api(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.syspath_prepend(DOCS / "_ext")
    api_page = importlib.import_module("api_page")
    api_page.write(tmp_path / "api.rst")
    text = (tmp_path / "api.rst").read_text(encoding="utf-8")
    listed = set(re.findall(r"^   ([\w.]+)$", text, re.MULTILINE))
    assert {*regcore.__all__, *regcore.estimators.__all__} - {"reference"} <= listed
    assert {"reference.loss_and_grad", "solvers.FitState"} <= listed


def modules() -> list[str]:
    return [
        found.name
        for found in pkgutil.walk_packages(regcore.__path__, "regcore.")
        if not found.name.startswith(("regcore.command", "regcore._core", "regcore.__main__"))
    ]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", modules())
def test_examples_of_docstrings(name):
    if "estimators" in name:
        pytest.importorskip("sklearn")
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
