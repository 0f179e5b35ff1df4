"""Soft targets and label smoothing: -sum_c t_c log p_c, in the core, the reference and in fits."""

from __future__ import annotations

import numpy as np
import pytest
from problems import BINARY_LOSSES, MULTICLASS_LOSSES, relative_error
from scipy import sparse

import regcore
from regcore import L1, L2, ElasticNet, Objective, _core, fit, loss_and_grad, reference
from regcore.solvers import SOLVERS

TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}


@pytest.fixture(params=_core.available_isas())
def isa(request):
    """Run a test at every CPU level of this machine."""
    _core.select_isa(request.param)
    yield request.param
    _core.select_isa(None)


def distributions(rng, n_samples, n_classes, dtype=np.float64):
    """Random probabilities, some of them zero, some rows whole labels."""
    T = rng.dirichlet(np.full(n_classes, 0.3), n_samples)
    T[T < 0.01] = 0
    T /= T.sum(axis=1, keepdims=True)
    whole = rng.random(n_samples) < 0.1
    T[whole] = np.eye(n_classes)[rng.integers(0, n_classes, whole.sum())]
    return T.astype(dtype)


def textbook(X, T, W, b, weights=None):
    """The definition, in longdouble, with its gradient; W of one row: scores 0 and s."""
    X, T, W, b = (np.asarray(a, np.longdouble) for a in (X, T, W, b))
    w = np.ones(len(X), np.longdouble) if weights is None else weights.astype(np.longdouble)
    S = X @ W.T + b
    if len(W) == 1:
        S = np.hstack([np.zeros_like(S), S])
    S = S - S.max(axis=1, keepdims=True)
    log_p = S - np.log(np.exp(S).sum(axis=1, keepdims=True))
    slopes = (np.exp(log_p) * T.sum(axis=1, keepdims=True) - T) * w[:, None] / w.sum()
    if len(W) == 1:
        slopes = slopes[:, 1:]
    return -(w[:, None] * T * log_p).sum() / w.sum(), slopes.T @ X, slopes.sum(axis=0)


def assert_close(actual, expected, tolerance):
    gradients = [np.concatenate([grad_W.ravel(), grad_b]) for _, grad_W, grad_b in (actual, expected)]
    assert relative_error(actual[0], expected[0]) < tolerance
    assert relative_error(*gradients) < tolerance


def laid_out(T, how):
    """The same numbers in another order in memory."""
    match how:
        case "F":
            return np.asfortranarray(T)
        case "strided":
            return np.repeat(np.repeat(T, 2, axis=0), 3, axis=1)[::2, ::3]
        case "reversed":
            return np.ascontiguousarray(T[::-1, ::-1])[::-1, ::-1]
        case "misaligned":
            copy = np.frombuffer(bytearray(T.nbytes + 1), T.dtype, T.size, offset=1).reshape(T.shape)
            copy[...] = T
            return copy
        case "read-only":
            T = T.copy()
            T.flags.writeable = False
    return T


# --------------------------------------------------------------------------------------------------
# the loss
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("matrix", ["C", "F", "csr", "uint8"])
def test_value_and_gradient(isa, rng, matrix, dtype):
    for n_classes in (1, 2, 3, 8, 10, 17, 33, 129):
        for n_samples, n_features in ((1, 3), (17, 1), (64, 20), (300, 100)):
            X = rng.standard_normal((n_samples, n_features)).astype(dtype)
            if matrix == "uint8":
                X = rng.integers(0, 5, X.shape, np.uint8)
            dense = X
            if matrix == "csr":
                X[rng.random(X.shape) < 0.7] = 0
                X = sparse.csr_array(X)
            T = distributions(rng, n_samples, max(2, n_classes), rng.choice([np.float32, np.float64]))
            W = (rng.standard_normal((n_classes, n_features)) / np.sqrt(n_features)).astype(dtype)
            b, w = rng.standard_normal(n_classes).astype(dtype), rng.uniform(0.1, 1, n_samples).astype(dtype)
            given = np.asfortranarray(X) if matrix == "F" else X
            expected = textbook(dense, T, W, b, w)
            T = laid_out(T, rng.choice(["C", "F", "strided", "reversed", "misaligned", "read-only"]))
            assert_close(loss_and_grad(given, T, W, b, sample_weight=w), expected, TOLERANCE[dtype])
            if n_classes == 1:  # the probability of label 1 will do
                t = T[:, 1].astype(np.float64)
                expected = textbook(dense, np.stack([1 - t, t], axis=1), W, b, w)
                assert_close(loss_and_grad(given, T[:, 1], W, b, sample_weight=w), expected, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_classes", [1, 2, 7, 40])
def test_label_smoothing(isa, rng, n_classes, dtype):
    n_labels = max(2, n_classes)
    X = rng.standard_normal((90, 20)).astype(dtype)
    W, b = (
        rng.standard_normal((n_classes, 20)).astype(dtype) / 4,
        rng.standard_normal(n_classes).astype(dtype),
    )
    y, T = rng.integers(0, n_labels, 90), distributions(rng, 90, n_labels)
    for e in (0.0, 0.1, 0.9):
        smooth = textbook(X, (1 - e) * np.eye(n_labels)[y] + e / n_labels, W, b)
        assert_close(loss_and_grad(X, y, W, b, label_smoothing=e), smooth, TOLERANCE[dtype])
        smoother = textbook(X, (1 - e) * T + e / n_labels, W, b)
        assert_close(loss_and_grad(X, T, W, b, label_smoothing=e), smoother, TOLERANCE[dtype])


@pytest.mark.parametrize("n_classes", [1, 2, 5])
def test_the_reference_is_the_definition(rng, n_classes):
    n_labels = max(2, n_classes)
    X, W, b = (
        rng.standard_normal((50, 4)),
        rng.standard_normal((n_classes, 4)),
        rng.standard_normal(n_classes),
    )
    w, y, T = rng.uniform(0, 1, 50), rng.integers(0, n_labels, 50), distributions(rng, 50, n_labels)
    expected = textbook(X, T, W, b, w)
    assert_close(reference.loss_and_grad(X, T, W, b, sample_weight=w), expected, 1e-12)
    smooth = textbook(X, 0.8 * np.eye(n_labels)[y] + 0.2 / n_labels, W, b, w)
    assert_close(reference.loss_and_grad(X, y, W, b, sample_weight=w, label_smoothing=0.2), smooth, 1e-12)
    losses = reference.sample_losses(X, T, W, b)
    assert losses @ w / w.sum() == pytest.approx(float(expected[0]), rel=1e-12)
    if n_classes == 1:
        assert_close(reference.loss_and_grad(X, T[:, 1], W, b, sample_weight=w), expected, 1e-12)
    with pytest.raises(ValueError, match=r"soft targets .* are for 'cross_entropy'; got 'hinge'"):
        reference.loss_and_grad(X, T, W, b, loss="hinge")
    with pytest.raises(ValueError, match="must be probabilities"):
        reference.loss_and_grad(X, 2 * T, W, b)
    with pytest.raises(ValueError, match="soft targets must be floats of shape"):
        reference.loss_and_grad(X, T[:, :1], W, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_classes", [1, 2, 30])
def test_whole_labels_are_hard_labels(rng, n_classes, dtype):
    n_labels = max(2, n_classes)
    X, y = rng.standard_normal((200, 12)).astype(dtype), rng.integers(0, n_labels, 200)
    W = rng.standard_normal((n_classes, 12)).astype(dtype)
    hard = loss_and_grad(X, y, W)
    assert_close(loss_and_grad(X, np.eye(n_labels)[y], W), hard, 10 * TOLERANCE[dtype])
    unsmoothed = loss_and_grad(X, y, W, label_smoothing=0.0)
    for a, e in zip(unsmoothed, hard, strict=True):
        np.testing.assert_array_equal(a, e)


@pytest.mark.parametrize("weights", ["none", "shared", "each"])
@pytest.mark.parametrize("matrix", ["dense", "csr"])
def test_stacks(rng, matrix, weights):
    X = rng.standard_normal((150, 9))
    T = distributions(rng, 150, 4)
    W, b = rng.standard_normal((3, 4, 9)), rng.standard_normal((3, 4))
    w = {"none": None, "shared": rng.random(150), "each": rng.random((3, 150))}[weights]
    given = sparse.csr_array(X) if matrix == "csr" else X
    stack = Objective(given, T, sample_weight=w, n_models=3).value_and_grad(W, b)
    for m in range(3):
        own = w[m] if weights == "each" else w
        assert_close([part[m] for part in stack], textbook(X, T, W[m], b[m], own), 1e-12)


def test_rows_and_standardisation(rng):
    X, T = 3 + rng.standard_normal((120, 5)) * [1, 2, 3, 4, 5], distributions(rng, 120, 3)
    W, b = rng.standard_normal((3, 5)), rng.standard_normal(3)
    objective = Objective(X, T, standardize=True)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    for rows in (slice(None), slice(100, 3, -7), rng.integers(0, 120, 40)):
        assert_close(objective.value_and_grad(W, b, rows=rows), textbook(Z[rows], T[rows], W, b), 1e-11)


@pytest.mark.parametrize("soft", ["targets", "smoothing"])
@pytest.mark.parametrize("shape", [(3000, 100, 5), (700, 300, 4000)])
def test_bits_do_not_depend_on_threads(rng, shape, soft):
    n_samples, n_features, n_classes = shape  # the second shares one gradient among the threads
    X = rng.standard_normal((n_samples, n_features), np.float32)
    W = 0.03 * rng.standard_normal((n_classes, n_features), np.float32)
    y = rng.integers(0, n_classes, n_samples)
    T = (rng.random((n_samples, n_classes), np.float32) + 0.1).astype(np.float32)
    T /= T.sum(axis=1, keepdims=True)
    arguments = (X, T, W) if soft == "targets" else (X, y, W)
    options = {} if soft == "targets" else {"label_smoothing": 0.1}
    first = loss_and_grad(*arguments, **options, n_threads=1)
    for n_threads in (2, 3):
        for a, e in zip(loss_and_grad(*arguments, **options, n_threads=n_threads), first, strict=True):
            np.testing.assert_array_equal(a, e)
    rows = slice(0, 40)
    expected = textbook(
        X[rows],
        T[rows] if soft == "targets" else 0.9 * np.eye(n_classes)[y[rows]] + 0.1 / n_classes,
        W,
        np.zeros(n_classes),
    )
    objective = Objective(arguments[0], arguments[1], n_classes=n_classes, **options)
    assert_close(objective.value_and_grad(W, rows=rows), expected, 1e-5)


@pytest.mark.parametrize("n_classes", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_scores(isa, dtype, n_classes):
    large = dtype(np.finfo(dtype).max / 2)
    X = np.array([[1.0], [-1.0]], dtype)
    W = np.linspace(1, -1, n_classes).astype(dtype)[:, None] * large
    T = np.eye(max(2, n_classes), dtype=dtype)[[1, 0] if n_classes == 1 else [0, 2]]
    value, grad_W, _ = loss_and_grad(X, T, W)  # every sample far on its own side
    assert value == 0
    assert not grad_W.any()
    T = np.full((2, max(2, n_classes)), dtype(1 / max(2, n_classes)))
    for x in (1e4, 1.0):
        X = np.array([[x], [-x]], dtype)
        W = np.linspace(1, -1, n_classes).astype(dtype)[:, None]
        assert_close(loss_and_grad(X, T, W), textbook(X, T, W, np.zeros(n_classes)), TOLERANCE[dtype])


def test_probabilities_are_those_of_the_model(rng):
    X, T = rng.standard_normal((60, 4)), distributions(rng, 60, 3)
    W = rng.standard_normal((3, 4))
    hard = Objective(X, T.argmax(axis=1), n_classes=3)
    for soft in (Objective(X, T), Objective(X, T.argmax(axis=1), label_smoothing=0.3, n_classes=3)):
        np.testing.assert_array_equal(soft.predict(W), hard.predict(W))
        np.testing.assert_array_equal(soft.predict_proba(W), hard.predict_proba(W))
        np.testing.assert_array_equal(soft.scores(W), hard.scores(W))


# --------------------------------------------------------------------------------------------------
# fits
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize(
    "penalty", [L2(0.01), L1(0.01), ElasticNet(0.01, 0.5)], ids=["l2", "l1", "elasticnet"]
)
def test_a_soft_sample_is_weighted_copies_of_it(rng, penalty, binary):
    n_classes = 2 if binary else 4
    X, T = rng.standard_normal((60, 5)), distributions(rng, 60, n_classes)
    copies, labels = np.repeat(X, n_classes, axis=0), np.tile(np.arange(n_classes), 60)
    repeated = Objective(
        copies, labels, penalty=penalty, sample_weight=T.ravel(), n_classes=n_classes, binary=binary
    )
    soft = Objective(X, T, penalty=penalty, binary=binary)
    first, second = (fit(o, solver="fista", tol=1e-7, max_iter=10_000) for o in (soft, repeated))
    assert first.converged
    assert first.value == pytest.approx(second.value, rel=1e-9)
    np.testing.assert_allclose(first.W, second.W, atol=1e-5)


@pytest.mark.parametrize("matrix", ["dense", "csr"])
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_comes_to_the_minimum(rng, solver, binary, matrix):
    n_classes = 2 if binary else 3
    X, T = rng.standard_normal((200, 4)), distributions(rng, 200, n_classes)
    given = sparse.csr_array(X) if matrix == "csr" else X
    for y, e in ((T, 0.0), (T.argmax(axis=1), 0.3)):
        objective = Objective(given, y, penalty=L2(0.05), binary=binary, label_smoothing=e)
        if not SOLVERS[solver].handles(objective):
            pytest.skip(f"{solver} does not handle this")
        best = fit(objective, solver="fista", tol=1e-6, max_iter=5000).value
        found = fit(objective, solver=solver, tol=1e-6, max_iter=2000, random_state=0).value
        assert best <= found + 1e-12
        assert found < best + (2e-3 if solver == "sgd" else 1e-6) * best


def test_weights_are_repetition(rng):
    X, T = rng.standard_normal((40, 4)), distributions(rng, 40, 3)
    weights = rng.integers(0, 4, 40)
    rows = np.repeat(np.arange(40), weights)
    W, b = rng.standard_normal((3, 4)), rng.standard_normal(3)
    for e in (0.0, 0.2):
        weighted = loss_and_grad(X, T, W, b, sample_weight=weights, label_smoothing=e)
        assert_close(loss_and_grad(X[rows], T[rows], W, b, label_smoothing=e), weighted, 1e-12)


def test_early_stopping_and_checkpoints(rng, tmp_path):
    X, T = rng.standard_normal((90, 30)), distributions(rng, 90, 3)
    objective = Objective(X, T, label_smoothing=0.1)
    stopping = regcore.EarlyStopping(0.3, patience=3)
    stopped = fit(objective, tol=None, early_stopping=stopping)
    assert stopped.n_iter == stopping.best_iteration + 3
    fit(objective, tol=None, max_iter=3, checkpoint=tmp_path / "fit")
    resumed = fit(objective, tol=None, max_iter=6, resume=tmp_path / "fit")
    assert resumed.W.tobytes() == fit(objective, tol=None, max_iter=6).W.tobytes()
    with pytest.raises(ValueError, match=r"label_smoothing is 0.1 there, 0.2 here"):
        fit(Objective(X, T, label_smoothing=0.2), resume=tmp_path / "fit")
    with pytest.raises(ValueError, match="labels is"):
        fit(Objective(X, T[::-1], label_smoothing=0.1), resume=tmp_path / "fit")


# --------------------------------------------------------------------------------------------------
# what is refused
# --------------------------------------------------------------------------------------------------
def test_targets_that_are_no_probabilities(rng):
    X, T = rng.standard_normal((20, 4)), distributions(rng, 20, 3)
    for bad, message in (
        (-1e-9, r"y must hold probabilities >= 0; got -1e-09 in row 7, column 1"),
        (np.nan, r"y must hold probabilities >= 0; got NaN in row 7, column 1"),
        (np.inf, r"y must hold probabilities >= 0; got inf in row 7, column 1"),
    ):
        wrong = T.copy()
        wrong[7, 1] = bad
        with pytest.raises(ValueError, match=message):
            Objective(X, wrong)
    wrong = T.copy()
    wrong[7] *= 1.001
    with pytest.raises(
        ValueError, match=r"y must hold probabilities that sum to 1 in each row; got 1\.001 in row 7"
    ):
        Objective(X, wrong)
    for bad in (-0.1, 1.1, np.nan):
        t = np.full(20, 0.5)
        t[7] = bad
        with pytest.raises(
            ValueError, match=r"y must hold probabilities of label 1, in \[0, 1\]; got .* in row 7"
        ):
            Objective(X, t, binary=True)


@pytest.mark.parametrize("n_classes", [2, 10, 1000])
def test_probabilities_rounded_to_float32_are_taken(rng, n_classes):
    T = rng.random((200, n_classes)).astype(np.float32)
    T /= T.sum(axis=1, keepdims=True)
    Objective(np.ones((200, 2)), T)
    with pytest.raises(ValueError, match="sum to 1"):
        Objective(np.ones((200, 2)), T * np.float32(1.001))


@pytest.mark.parametrize(
    ("y", "arguments", "error", "message"),
    [
        (np.full((20, 3), 1 / 3), {"loss": "hinge"}, ValueError, "soft targets are for 'cross_entropy'"),
        (
            np.full((20, 1), 1.0),
            {},
            ValueError,
            r"a column for each of at least two classes; got shape \(20, 1\)",
        ),
        (
            np.full((20, 3), 1 / 3),
            {"n_classes": 4},
            ValueError,
            r"y must have n_classes=4 columns; got shape \(20, 3\)",
        ),
        (np.full((20, 3), 1 / 3), {"binary": True}, ValueError, "binary=True needs two classes"),
        (
            np.full((19, 3), 1 / 3),
            {},
            ValueError,
            r"y must have 20 rows, one a row of X; got shape \(19, 3\)",
        ),
        (np.full((20, 3, 1), 1 / 3), {}, ValueError, r"y must have shape \(20,\)"),
        (
            np.eye(2, dtype=int)[np.zeros(20, int)],
            {},
            TypeError,
            "y must hold float32 or float64 if it has two",
        ),
        (
            np.full((20, 2), 0.5, np.float16),
            {},
            TypeError,
            "y must hold float32 or float64 .*got dtype float16",
        ),
        (np.full((20, 2), 0.5, ">f8"), {}, TypeError, "y must hold .*got dtype >f8"),
        (np.full(20, 0.5), {}, TypeError, "y must hold integers 0 .. n_classes - 1; got dtype float64"),
        (
            np.full(20, 0.5),
            {"binary": True, "loss": "hinge"},
            ValueError,
            "soft targets are for 'cross_entropy'",
        ),
        (
            np.zeros(20, int),
            {"label_smoothing": 1.0},
            ValueError,
            r"label_smoothing must be in \[0, 1\); got 1.0",
        ),
        (
            np.zeros(20, int),
            {"label_smoothing": -0.1},
            ValueError,
            r"label_smoothing must be in \[0, 1\); got -0.1",
        ),
        (
            np.zeros(20, int),
            {"label_smoothing": np.nan},
            ValueError,
            r"label_smoothing must be in \[0, 1\); got nan",
        ),
        (
            np.zeros(20, int),
            {"label_smoothing": True},
            TypeError,
            "label_smoothing must be a real number; got bool",
        ),
        (
            np.zeros(20, int),
            {"label_smoothing": 0.1, "loss": "hinge"},
            ValueError,
            "label_smoothing is for loss='cross_entropy'; got loss='hinge'",
        ),
    ],
    ids=str,
)
def test_wrong_targets(y, arguments, error, message):
    with pytest.raises(error, match=message):
        Objective(np.ones((20, 4)), y, **arguments)


@pytest.mark.parametrize("loss", sorted({*MULTICLASS_LOSSES, *BINARY_LOSSES} - {"cross_entropy"}))
def test_other_losses_take_no_soft_targets(loss):
    with pytest.raises(ValueError, match="soft targets"):
        loss_and_grad(np.ones((4, 2)), np.full((4, 3), 1 / 3), np.zeros((3, 2)), loss=loss)


# --------------------------------------------------------------------------------------------------
# certificates
# --------------------------------------------------------------------------------------------------
def as_copies(X, T, **arguments):
    """The hard problem that soft targets stand for: every sample once for each label, with its weight."""
    n_samples, n_classes = T.shape
    labels = np.tile(np.arange(n_classes), n_samples)
    return Objective(np.repeat(X, n_classes, axis=0), labels, sample_weight=T.ravel(), **arguments)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize(
    "penalty", [L2(0.01), L1(0.02), ElasticNet(0.01, 0.5)], ids=["l2", "l1", "elasticnet"]
)
def test_the_gap_is_that_of_weighted_copies(isa, rng, penalty, binary):
    n_classes = 2 if binary else 4
    X, T = rng.standard_normal((70, 6)), distributions(rng, 70, n_classes)
    soft = Objective(X, T, penalty=penalty, binary=binary)
    copies = as_copies(X, T, penalty=penalty, n_classes=n_classes, binary=binary)
    best = fit(soft, solver="fista", tol=1e-9, max_iter=20_000)
    alone = fit(soft, solver="fista", tol=1e-9, max_iter=20_000, fit_intercept=False)
    for size in (0.0, 0.01, 0.3, 1.0):
        W = size * rng.standard_normal(best.W.shape) + (1 - size) * best.W
        b = size * rng.standard_normal(best.b.shape) + (1 - size) * best.b
        gap = soft.dual_gap(W, b)
        assert soft.value(W, b) - best.value - 1e-9 <= gap <= copies.dual_gap(W, b) + 1e-9
        W = size * rng.standard_normal(best.W.shape) + (1 - size) * alone.W
        gap = soft.dual_gap(W)
        assert soft.value(W) - alone.value - 1e-9 <= gap <= copies.dual_gap(W) + 1e-9
        if penalty.l1 == 0 and size <= 0.01:  # neither shifted nor scaled: the same bound
            assert gap == pytest.approx(copies.dual_gap(W), rel=1e-6, abs=1e-12)
    assert soft.dual_gap(best.W, best.b) < 1e-6
    assert soft.dual_gap(alone.W) < 1e-6


@pytest.mark.parametrize("matrix", ["dense", "csr"])
@pytest.mark.parametrize("labels", ["soft", "smoothed", "both", "binary"])
def test_the_gap_vanishes_at_the_minimum(rng, labels, matrix):
    binary = labels == "binary"
    X, T = 1 + rng.standard_normal((150, 5)), distributions(rng, 150, 2 if binary else 3)
    y = {"soft": T, "smoothed": T.argmax(axis=1), "both": T, "binary": T[:, 1]}[labels]
    given = sparse.csr_array(X) if matrix == "csr" else X
    objective = Objective(
        given,
        y,
        penalty=L2(0.02),
        label_smoothing=0.0 if labels == "soft" else 0.2,
        sample_weight=rng.random(150),
        standardize=(X.mean(axis=0), X.std(axis=0)),
        binary=binary,
    )
    result = fit(objective, solver="fista", tol=1e-8, max_iter=5000)
    assert 0 <= objective.dual_gap(result.W, result.b) < 1e-8
    W, b = (
        result.W + 0.1 * rng.standard_normal(result.W.shape),
        result.b + rng.standard_normal(result.b.shape),
    )
    gap = objective.dual_gap(W, b)
    assert objective.value(W, b) - result.value <= gap < objective.value(W, b)
    loose = fit(objective, solver="fista", tol=1e-2)
    assert loose.value - result.value <= objective.dual_gap(loose.W, loose.b) < 0.1 * loose.value


def test_any_dual_point_of_soft_targets_is_moved_into_the_domain(rng):
    for n_classes, binary in ((3, False), (2, True)):
        X, T = rng.standard_normal((80, 4)), distributions(rng, 80, n_classes)
        objective = Objective(X, T, penalty=L2(0.05), binary=binary)
        best = fit(objective, solver="fista", tol=1e-8, max_iter=5000)
        P = objective.predict_proba(best.W, best.b)
        slopes = (P - T)[:, 1:] if binary else P - T
        assert objective.dual_gap(best.W, best.b, dual=slopes) < 1e-7
        for size in (1e-3, 1.0, 100.0, 1e30):
            dual = slopes + size * rng.standard_normal(slopes.shape)
            W, b = best.W + 0.1, best.b - 0.2
            gap = objective.dual_gap(W, b, dual=dual)
            assert objective.value(W, b) - best.value <= gap <= objective.value(W, b) + 1e-12


def test_gaps_of_stacks_of_soft_targets(rng):
    X, T = rng.standard_normal((60, 4)), distributions(rng, 60, 3)
    weights = rng.random((2, 60))
    W, b = rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 3))
    gaps = Objective(X, T, penalty=L1(0.05), sample_weight=weights).dual_gap(W, b)
    for m in range(2):
        own = Objective(X, T, penalty=L1(0.05), sample_weight=weights[m]).dual_gap(W[m], b[m])
        assert gaps[m] == pytest.approx(own, rel=1e-12)


@pytest.mark.parametrize("form", ["soft", "binary", "one column"])
def test_intercepts_are_centred(rng, form):
    n_classes = 3 if form == "soft" else 2
    binary = form != "soft"
    X, T = rng.standard_normal((90, 4)), distributions(rng, 90, n_classes)
    objective = Objective(X, T[:, 1] if form == "one column" else T, penalty=L2(0.02), binary=binary)
    copies = as_copies(X, T, penalty=L2(0.02), n_classes=n_classes, binary=binary)
    W, b = 0.3 * rng.standard_normal((objective.n_outputs, 4)), rng.standard_normal(objective.n_outputs)
    slopes = objective.value_and_grad(W, b).grad_b
    centred = objective._centred(W, b, slopes)
    np.testing.assert_allclose(centred, copies._centred(W, b, slopes), rtol=1e-9)
    after = objective.value_and_grad(W, centred).grad_b
    assert np.abs(after).max() < 0.3 * np.abs(slopes).max()
