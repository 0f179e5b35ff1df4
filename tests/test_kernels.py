"""The kernels in C alone: strict plain C on this machine, and NEON where its compiler and an emulator are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from kernel_cases import dual_ascent, evaluations, write_cases

TOOLS = {"plain": ("cmake", "cc"), "neon": ("cmake", "aarch64-linux-gnu-gcc", "qemu-aarch64")}


def build_and_check(repository: Path, target: str) -> tuple[str, Path]:
    """Build the driver for a target and run it on all cases; return what it prints, and where it is."""
    command = repository / ".ci" / "kernels"
    if not command.is_file():
        pytest.skip(".ci/kernels is not here, only the tests")
    missing = [tool for tool in TOOLS[target] if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    run = subprocess.run(
        [command, target],
        env=os.environ | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout, repository / "build" / "kernels" / target / "check_kernels"


@pytest.fixture(scope="module")
def plain(repository) -> tuple[str, Path]:
    return build_and_check(repository, "plain")


def test_plain_c(plain):
    printed, _ = plain
    assert printed.startswith("check_kernels: plain (")
    assert ", 0 failures;" in printed


def test_neon(repository):
    printed, _ = build_and_check(repository, "neon")
    assert printed.startswith("check_kernels: neon, plain (")
    assert ", 0 failures;" in printed


@pytest.mark.parametrize("wrong", [None, "value", "grad_W", "grad_b"])
def test_the_driver_sees_what_is_wrong(plain, tmp_path, wrong):
    case = next(evaluations(np.random.default_rng(0)))
    if wrong:
        case[wrong] = np.array(case[wrong])
        case[wrong].flat[-1] += 1e-4 * np.abs(case[wrong]).max()
    write_cases(tmp_path / "cases", [case, *islice(dual_ascent(np.random.default_rng(0)), 1)])
    run = subprocess.run([plain[1], tmp_path / "cases"], capture_output=True, text=True, check=False)
    assert run.returncode == (1 if wrong else 0)
    assert run.stdout.count("FAILED") == {None: 0, "value": 2}.get(wrong, 1)
    assert (f": {wrong}[" in run.stdout or f" {wrong} " in run.stdout) == bool(wrong)


def test_the_driver_refuses_another_file(plain, tmp_path):
    (tmp_path / "cases").write_bytes(b"no cases")
    run = subprocess.run([plain[1], tmp_path / "cases"], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "another byte order or is damaged" in run.stderr
