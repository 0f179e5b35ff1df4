"""What the estimators cost beyond the core: time of fit and predict, memory, and the import."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cases import Shape
from test_bench_memory import CLEAR_REFS, GIVE_BACK

import regcore
from regcore import _core

LinearClassifier = pytest.importorskip("regcore.estimators").LinearClassifier

LARGE, SMALL = Shape(60_000, 784, 10), Shape(100, 20, 3)
STRENGTH = 1e-4


def samples(shape: Shape, dtype: str):
    rng = np.random.default_rng(5)
    X = rng.standard_normal((shape.n_samples, shape.n_features), dtype=np.float32).astype(dtype)
    return X, rng.integers(0, shape.n_classes, shape.n_samples)


def in_turn(first, second, n_rounds):
    """Seconds of each call, of two functions in turn: the machine's speed drifts."""
    seconds: tuple[list[float], list[float]] = [], []
    for _ in range(n_rounds):
        for function, spent in zip((first, second), seconds, strict=True):
            start = time.perf_counter()
            function()
            spent.append(time.perf_counter() - start)
    return seconds


@pytest.mark.parametrize(("shape", "tol", "n_rounds"), [(SMALL, 1e-4, 300), (LARGE, 1e-2, 7)], ids=str)
def test_overhead_of_fit(report, settle, scale, full_size, shape, tol, n_rounds):
    is_small = shape is SMALL
    shape = shape if is_small else shape.scaled(scale)
    X, y = samples(shape, "float64" if is_small else "float32")
    estimator = LinearClassifier(alpha=STRENGTH, tol=tol)

    def core():
        objective = regcore.Objective(X, y, penalty=regcore.L2(STRENGTH / 2))
        return regcore.fit(objective, tol=tol, random_state=0)

    np.testing.assert_array_equal(estimator.fit(X, y).coef_, core().W)
    settle()
    of_fit, of_core = in_turn(lambda: estimator.fit(X, y), core, n_rounds if full_size else 2)
    extra = statistics.median(a - b for a, b in zip(of_fit, of_core, strict=True))
    share = extra / statistics.median(of_core)
    report(f"LinearClassifier.fit over regcore.fit, {shape}: {extra * 1e6:.0f} us more, {share:.2%}")
    if full_size:
        assert extra < 300e-6 if is_small else share < 0.02


def to_predict(shape: Shape, kind: str):
    """New data of a kind, and an estimator as if it were fitted to such data."""
    rng = np.random.default_rng(5)
    if kind == "csr":
        sparse = pytest.importorskip("scipy.sparse")
        indices = rng.integers(0, shape.n_features, 40 * shape.n_samples).astype(np.int32)
        ends = np.arange(0, len(indices) + 1, 40, dtype=np.int32)
        parts = rng.standard_normal(len(indices), dtype=np.float32), indices, ends
        X = sparse.csr_array(parts, shape=(shape.n_samples, shape.n_features))
    else:
        X, _ = samples(shape, "float32")
        X = X if kind == "float32" else np.clip(60 * np.abs(X), 0, 255).astype(np.uint8)
    n_rows = 1 if shape.n_classes == 2 else shape.n_classes
    estimator = LinearClassifier()
    estimator.coef_ = rng.standard_normal((n_rows, shape.n_features), dtype=np.float32)
    estimator.intercept_ = np.zeros(n_rows, np.float32)
    estimator.classes_, estimator.n_features_in_ = np.arange(shape.n_classes), shape.n_features
    return X, estimator


@pytest.mark.parametrize("method", ["predict", "decision_function", "predict_proba", "predict_log_proba"])
@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        (LARGE, "float32"),
        (LARGE, "uint8"),
        (Shape(400_000, 64, 2), "float32"),
        (Shape(20_000, 512, 1000), "float32"),
        (Shape(100_000, 50_000, 20), "csr"),
    ],
    ids=str,
)
def test_prediction(benchmark, report, scale, method, shape, kind):
    """In multiples of what one product takes at least: to read X, or to multiply."""
    shape = shape.scaled(scale)
    X, estimator = to_predict(shape, kind)
    benchmark.group = f"predict {shape} {kind}"
    found = benchmark.pedantic(getattr(estimator, method), (X,), rounds=9, warmup_rounds=1)
    scores = X[:500] @ estimator.coef_.T + estimator.intercept_
    if method == "predict":
        expected = (scores[:, 0] > 0) if shape.n_classes == 2 else scores.argmax(axis=1)
        assert (found[:500] == expected).mean() > 0.99
    elif method == "decision_function":
        scores = scores[:, 0] if shape.n_classes == 2 else scores
        np.testing.assert_allclose(found[:500], scores, rtol=1e-3, atol=1e-3 * np.abs(scores).max())
    if benchmark.stats is None:
        return
    if kind == "csr":
        n_bytes, n_numbers = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes, X.nnz
    else:
        n_bytes, n_numbers = X.nbytes, X.size
    bandwidth, peak = _core.measure_limits(np.float32, os.cpu_count() or 1)
    limit = max(n_bytes / bandwidth, 2 * n_numbers * len(estimator.coef_) / peak)
    took = benchmark.stats.stats.median
    report(f"{method} {shape} {kind}: {took * 1e3:.2f} ms, {took / limit:.2f} x the limit of one product")


# Runs in a process of its own; the small fit before loads what is loaded once, and starts the threads.
MEASURE = """
import json, sys, warnings
from pathlib import Path
import numpy as np
from regcore.estimators import LinearClassifier
kind, n_samples, n_features, n_classes, fits = json.loads(sys.argv[1])
warnings.simplefilter("ignore")

def resident(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024

def samples(n_samples):
    rng = np.random.default_rng(5)
    y = rng.integers(0, n_classes, n_samples)
    if kind == "csr":
        from scipy import sparse
        n = 80 * n_samples
        indices = rng.integers(0, n_features, n).astype(np.int32)
        parts = rng.standard_normal(n, dtype=np.float32), indices, np.arange(0, n + 1, 80, dtype=np.int32)
        return sparse.csr_array(parts, shape=(n_samples, n_features)), y
    X = np.empty((n_samples, n_features), kind)
    for start in range(0, n_samples, 4096):
        rows = X[start : start + 4096]
        rows[...] = 30 * rng.random(rows.shape, dtype=np.float32)
    return X, y

def run(X, y):
    if fits:
        estimator.fit(X, y)
    estimator.predict(X)

estimator = LinearClassifier(solver="fista", tol=None, max_iter=3).fit(*samples(2 * n_classes + 256))
run(*samples(256))
X, y = samples(n_samples)
Path("/proc/self/clear_refs").write_text("5")
before = resident("VmRSS:")
run(X, y)
sys.stdout.write(str(resident("VmHWM:") - before))
"""


def extra_memory(shape: Shape, kind: str, *, fits: bool) -> int:
    """Bytes beyond the data at the peak of a fit and a prediction, or of a prediction alone."""
    size = (shape.n_samples, shape.n_features, shape.n_classes)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, json.dumps([kind, *size, fits])],
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
@pytest.mark.parametrize("kind", ["float32", "float64", "uint8", "csr"])
def test_fit_and_predict_copy_no_data(report, scale, full_size, kind):
    shape = LARGE.scaled(scale)
    n_bytes = extra_memory(shape, kind, fits=True)
    per_number = {"float32": 4, "float64": 8, "uint8": 1, "csr": 8 * 80 / shape.n_features}[kind]
    of_data = per_number * shape.n_samples * shape.n_features
    report(
        f"peak extra memory of fit and predict, {kind} {shape}: {n_bytes / 2**20:.1f} MiB "
        f"(X has {of_data / 2**20:.0f})"
    )
    if full_size:
        assert n_bytes < 16 * 2**20


@pytest.mark.skipif(
    not CLEAR_REFS.exists(), reason="the high-water mark of memory can be reset on Linux alone"
)
def test_predict_holds_no_scores_of_all_samples(report, scale, full_size):
    shape = Shape(20_000, 512, 1000).scaled(scale)
    n_bytes = extra_memory(shape, "float32", fits=False)
    of_scores = 4 * shape.n_samples * shape.n_classes
    report(
        f"peak extra memory of predict, float32 {shape}: {n_bytes / 2**20:.1f} MiB "
        f"(the scores would have {of_scores / 2**20:.0f})"
    )
    if full_size:
        assert n_bytes < 8 * 2**20


def test_import(report, full_size):
    """Seconds to start Python and import: the interpreter's own start is taken away from both."""

    def spent(code):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start

    rounds = [
        [spent(code) for code in ("", "import numpy", "import regcore")]
        for _ in range(15 if full_size else 1)
    ]
    nothing, numpy, ours = (statistics.median(times) for times in zip(*rounds, strict=True))
    report(
        f"import regcore: {(ours - nothing) / (numpy - nothing):.2f} x import numpy ({numpy - nothing:.3f} s)"
    )
    if full_size:
        assert ours - nothing < 1.3 * (numpy - nothing)
