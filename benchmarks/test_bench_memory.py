"""Peak memory of a call beyond its inputs, as the operating system counts it: Python is blind to C."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cases import LOSSES, Shape

CLEAR_REFS = Path("/proc/self/clear_refs")

# Runs in a process of its own: the high-water mark of the call less what was resident before it. The small
# call before that loads what is loaded once, and starts the threads.
MEASURE = """
import json, sys
from pathlib import Path
import regcore
from regcore import reference
from cases import Shape, dense_problem, sparse_problem

kind, implementation, loss, dtype, *size = json.loads(sys.argv[1])
function = {"regcore": regcore.loss_and_grad, "reference": reference.loss_and_grad}[implementation]
make = {"dense": dense_problem, "csr": sparse_problem}[kind]

def resident(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024

small = make(Shape(64, 8, size[2]), dtype)
function(small.X, small.y, small.W, small.b, loss=loss)
p = make(Shape(*size), dtype)
p.W.sum(), p.y.sum()
Path("/proc/self/clear_refs").write_text("5")
before = resident("VmRSS:")
result = function(p.X, p.y, p.W, p.b, loss=loss)
sys.stdout.write(str(resident("VmHWM:") - before))
"""


# Freed memory goes back at once, so that no call runs on what another has left in the heap (glibc).
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_TOP_PAD_": "0"}


def peak_extra_bytes(*arguments) -> int:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, json.dumps(arguments)],
        cwd=Path(__file__).parent,
        env=os.environ | GIVE_BACK,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(
    not CLEAR_REFS.exists(), reason="the high-water mark of memory can be reset on Linux alone"
)
@pytest.mark.parametrize(
    ("kind", "shape", "dtype", "most_mebibytes"),
    [
        ("dense", Shape(60_000, 784, 10), "float32", 32),
        ("dense", Shape(60_000, 784, 10), "float64", 32),
        ("dense", Shape(60_000, 784, 1), "float32", 32),
        ("dense", Shape(8_192, 2048, 5000), "float32", 128),
        # CSR: W transposed and two partial gradients, 3.8 MiB each here, beside the result
        ("csr", Shape(100_000, 50_000, 20), "float32", 24),
    ],
    ids=str,
)
@pytest.mark.parametrize("loss", LOSSES)
def test_peak_memory(report, scale, full_size, kind, shape, dtype, most_mebibytes, loss):
    if shape.n_classes == 1 and loss == "crammer_singer":
        pytest.skip(f"{loss} has no binary form")
    shape = shape.scaled(scale)
    size = (shape.n_samples, shape.n_features, shape.n_classes)
    ours, numpy = (peak_extra_bytes(kind, name, loss, dtype, *size) for name in ("regcore", "reference"))
    mebibytes = f"{ours / 2**20:.1f} MiB, reference {numpy / 2**20:.1f} MiB"
    report(f"peak extra memory {kind} {loss} {dtype} {shape}: {mebibytes}")
    if full_size:
        assert ours < most_mebibytes * 2**20
