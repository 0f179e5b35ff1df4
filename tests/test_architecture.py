"""The rules of the house, checked in its sources: who may know what, and which way imports run."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import regcore
from regcore import _core

# A module imports only from layers below its own; `command` may import everything.
LAYERS = {
    "_core": 0,
    "losses": 1,
    "penalties": 1,
    "weights": 1,
    "certificate": 1,
    "arguments": 2,
    "second_derivatives": 2,
    "reference": 2,
    "matrix": 3,
    "row_space": 4,
    "objective": 5,
    "solvers": 6,
    "sweeps": 7,
    "path": 8,
    "estimators": 9,
    "interop": 9,
    "command": 10,
    "__main__": 11,
}
KNOW_SKLEARN = {"estimators", "command"}
OPTIONAL = ("scipy", "sklearn", "matplotlib", "rich", "PIL", "joblib", "pandas", "torch", "jax")


# --------------------------------------------------------------------------------------------------
# C
# --------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def c_sources(repository) -> dict[str, str]:
    """Every C source and header by its path in src/regcore, without comments, strings and line joins."""
    root = repository / "src" / "regcore"
    paths = [path for suffix in ("*.c", "*.h") for path in root.rglob(suffix)]
    assert paths
    return {path.relative_to(root).as_posix(): strip(path.read_text()) for path in paths}


def strip(source: str) -> str:
    source = source.replace("\\\n", " ")
    tokens = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL)

    def blank(match: re.Match[str]) -> str:
        start = source.rfind("\n", 0, match.start()) + 1
        is_include = re.match(r"\s*#\s*include\b", source[start : match.start()])
        return match[0] if is_include else '""' if match[0].startswith('"') else " "

    return tokens.sub(blank, source)


def included(source: str) -> set[str]:
    return set(re.findall(r"#\s*include\s*[<\"]([^>\"]+)[>\"]", source))


def users_of(sources: dict[str, str], pattern: str) -> set[str]:
    return {name for name, source in sources.items() if re.search(pattern, source)}


def statements(source: str) -> Iterator[tuple[int, str]]:
    """Yield (depth of braces, text) of every piece of code between semicolons and braces."""
    code = re.sub(r"(?m)^\s*#.*$", "", source)
    depth = start = 0
    for match in re.finditer(r"[;{}]", code):
        text = " ".join(code[start : match.start()].split())
        if text:
            yield depth, text
        depth += {"{": 1, "}": -1, ";": 0}[match[0]]
        start = match.end()


@pytest.fixture(scope="module")
def kernel_sources(c_sources) -> dict[str, str]:
    """kernels.c and what it includes, save the public header."""
    found: dict[str, str] = {}
    pending = ["kernels.c"]
    while pending:
        name = pending.pop()
        if name in c_sources and name not in found and not name.startswith("include/"):
            found[name] = c_sources[name]
            pending += included(c_sources[name])
    assert len(found) > 1
    return found


def test_c_knows_no_python(c_sources):
    assert not {name for name, source in c_sources.items() if "Python.h" in included(source)}
    assert not users_of(c_sources, r"\bPyObject\b|\bPy_\w+|\bPyErr_\w+")


def test_one_file_knows_threads(c_sources):
    by_include = {name for name, s in c_sources.items() if included(s) & {"omp.h", "pthread.h"}}
    assert by_include == {"threads.c"}
    assert users_of(c_sources, r"#\s*pragma\s+omp\b|\bomp_\w+\(|\bpthread_\w+\(|\bfork\(") == {"threads.c"}


def test_one_file_knows_cpu_levels(c_sources):
    knowledge = r"\b__builtin_cpu_(supports|init|is)\b|\b__(get_)?cpuid\w*\b|\bgetauxval\b|\b_xgetbv\b"
    assert len(users_of(c_sources, knowledge)) == 1
    assert not {
        name for name, s in c_sources.items() if included(s) & {"cpuid.h", "sys/auxv.h", "asm/hwcap.h"}
    } - (users_of(c_sources, knowledge))


def test_kernels_allocate_nothing_and_know_no_threads(kernel_sources):
    assert not users_of(
        kernel_sources, r"\b(malloc|calloc|realloc|free|alloca|aligned_alloc|posix_memalign)\s*\("
    )
    assert not {
        name for name, s in kernel_sources.items() if included(s) & {"stdlib.h", "stdatomic.h", "threads.h"}
    }
    assert not users_of(kernel_sources, r"\b(_Atomic|_Thread_local|__thread|thread_local)\b|\batomic_\w+")


def test_kernels_hold_no_state(kernel_sources):
    assert not {name: state for name, source in kernel_sources.items() if (state := mutable_state(source))}


def mutable_state(source: str) -> list[str]:
    """Return what is declared at file scope, or outlives its function, and may change."""
    found = []
    for depth, text in statements(source):
        declared = text.split("=")[0]
        if depth:
            lasts = re.match(r"(.*\s)?static\s", declared)
        else:  # neither a function nor a type; a pointer to a function may be a variable
            lasts = re.match(r"(?!typedef|extern|enum|struct \w+$|union)\w+\s[^()]*(\(\s*\*|$)", declared)
        # of a pointer it is the last star that must be const
        if lasts and not re.search(r"\bconst\b", declared.partition(")")[0].rpartition("*")[2]):
            found.append(text)
    return found


@pytest.mark.parametrize(
    ("code", "n_found"),
    [
        ("static double cache[4];", 1),
        ("int counter = 0; static struct pair *head;", 2),
        ("void f(void) { static int calls; calls++; }", 1),
        ("static const char *name; static void (*hook)(void);", 2),
        ("static const double table[] = {1, 2};", 0),
        ("static kernel *const table[2] = {f, g}; static void (*const hook)(char *) = f;", 0),
        ("typedef struct { double a; } pair; extern const pair p;", 0),
        ("static inline int f(int a) { int b = a; return b; }", 0),
        ("static int f(int); enum { FOUR = 4, FIVE };", 0),
    ],
)
def test_mutable_state_is_recognised(code, n_found):
    assert len(mutable_state(code)) == n_found


# --------------------------------------------------------------------------------------------------
# Python
# --------------------------------------------------------------------------------------------------
def modules() -> dict[tuple[str, ...], ast.Module]:
    """Every module of the installed package, by its path below regcore, parsed."""
    root = Path(regcore.__file__).parent
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[parts] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


MODULES = modules()
MODULE_IDS = [".".join(parts) for parts in MODULES]


def imports(parts: tuple[str, ...], tree: ast.Module) -> Iterator[tuple[str, ...]]:
    """Yield the full dotted path of everything a module imports, wherever in it the import stands."""
    package = ("regcore", *parts[:-1])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield tuple(alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            for alias in node.names:
                yield (*base, alias.name)


@pytest.mark.parametrize(("parts", "tree"), MODULES.items(), ids=MODULE_IDS)
def test_imports_run_one_way(parts, tree):
    room = parts[0]
    if room == "__init__":
        return
    assert room in LAYERS, f"give regcore.{room} its layer"
    for target in imports(parts, tree):
        if target[0] != "regcore":
            continue
        assert len(target) > 1, f"regcore.{room} imports the whole package"
        if target[1] == room:
            continue
        assert target[1] in LAYERS, (
            f"regcore.{room} imports {'.'.join(target)}: name the module it comes from"
        )
        assert LAYERS[target[1]] < LAYERS[room], f"regcore.{room} imports {'.'.join(target)}"
        assert target[1] != "reference" or room == "command", "the reference is for tests and benchmarks"


@pytest.mark.parametrize(("parts", "tree"), MODULES.items(), ids=MODULE_IDS)
def test_only_the_estimators_and_the_command_know_scikit_learn(parts, tree):
    if parts[0] not in KNOW_SKLEARN:
        assert not [target for target in imports(parts, tree) if target[0] == "sklearn"]


def test_import_needs_numpy_alone():
    code = f"""
import sys
for name in {OPTIONAL}:
    sys.modules[name] = None  # an import of it raises ImportError
import regcore, regcore.reference, numpy as np
value, grad_W, grad_b = regcore.loss_and_grad(np.eye(3), np.arange(3), np.zeros((3, 3)))
assert abs(value - np.log(3)) < 1e-12
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_import_loads_nothing_optional():
    code = f"import sys, regcore; sys.stdout.write(' '.join(n for n in {OPTIONAL} if n in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""


# of the standard library, what takes milliseconds and is for checkpoints, files and the command
NOT_FOR_THE_IMPORT = (
    *("argparse", "asyncio", "concurrent.futures", "csv", "email", "hashlib", "http", "importlib.metadata"),
    *(
        "json",
        "logging",
        "multiprocessing",
        "shutil",
        "socket",
        "subprocess",
        "tempfile",
        "unittest",
        "urllib",
    ),
    *("urllib", "xml", "zipfile"),
)


def test_import_costs_little_beyond_numpy():
    code = """
import sys, numpy
before = set(sys.modules)
import regcore
sys.stdout.write(" ".join(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "regcore.solvers.checkpoint" in loaded
    assert not loaded & set(NOT_FOR_THE_IMPORT)
    assert not {name for name in loaded if name.startswith(("regcore.estimators.", "regcore.command"))}


def public_definitions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Yield the public functions and classes of a module, and the public methods of the classes."""
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in tree.body:
        if isinstance(node, definitions) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                for member in node.body:
                    if isinstance(member, definitions) and not member.name.startswith("_"):
                        yield member


@pytest.mark.parametrize(("parts", "tree"), MODULES.items(), ids=MODULE_IDS)
def test_everything_public_has_a_docstring(parts, tree):
    assert ast.get_docstring(tree), f"{'.'.join(parts)} has no docstring"
    missing = [node.name for node in public_definitions(tree) if not ast.get_docstring(node)]
    assert not missing


@pytest.mark.parametrize("module", [regcore, _core])
def test_everything_public_has_a_docstring_at_run_time(module):
    names = getattr(module, "__all__", [name for name in dir(module) if not name.startswith("_")])
    members = {name: getattr(module, name) for name in names}
    described = {name: member for name, member in members.items() if callable(member)}
    assert described
    assert not [name for name, member in described.items() if not inspect.getdoc(member)]


def test_every_public_name_is_there():
    assert sorted(set(regcore.__all__)) == sorted(regcore.__all__)
    assert not [name for name in regcore.__all__ if not hasattr(regcore, name)]


def test_the_stub_of_the_core_lists_what_the_core_has():
    stub = ast.parse((Path(regcore.__file__).parent / "_core.pyi").read_text(encoding="utf-8"))

    def listed(body: list[ast.stmt]) -> set[str]:
        functions = {n.name for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        attributes = {
            n.target.id for n in body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
        }
        return {name for name in functions | attributes if not name.startswith("_")}

    def defined(holder: object) -> set[str]:
        names = {name for name in dir(holder) if not name.startswith("_")}
        return {name for name in names if not inspect.ismodule(getattr(holder, name))}

    assert listed(stub.body) == defined(_core)
    for node in stub.body:
        if isinstance(node, ast.ClassDef):
            assert listed(node.body) == defined(getattr(_core, node.name))
