"""`dual`: the optimum of the hinges against linear programming, and certificates that hold."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from scipy import optimize, sparse

import regcore
from regcore import L1, L2, ElasticNet, GroupL1, Objective, _core, fit
from regcore.solvers import dual, multipliers

PENALTIES = {
    "none": None,
    "l1": L1(0.03),
    "l2": L2(0.02),
    "elastic_net": ElasticNet(0.02, 0.7),
    "group_l1": GroupL1(0.05),
}
FORMS = [("hinge", 1), ("hinge", 3), ("crammer_singer", 3)]


@pytest.fixture
def data(rng):
    """A few samples of three overlapping classes, with weights of which some are 0."""
    y = np.arange(21) % 3
    X = rng.standard_normal((21, 3)) + 0.8 * rng.standard_normal((3, 3))[y]
    sample_weight = rng.uniform(0.2, 2.0, 21)
    sample_weight[::7] = 0.0
    return X, y, sample_weight


def make_objective(X, y, loss, n_outputs=3, **arguments):
    y = np.minimum(y, 1) if n_outputs == 1 else y
    return Objective(X, y, loss=loss, n_classes=max(2, n_outputs), binary=n_outputs == 1, **arguments)


class LinearProgram:
    """The optimum by linear programs: W, b, slacks, and variables for what the penalty adds.

    W**2 and the groups' norms are not linear: they are bounded below by tangents, more of them in each round,
    so that the optimum of the program is a lower bound of the minimum and approaches it.
    """

    def __init__(self, X, y, loss, n_outputs, penalty, sample_weight, fit_intercept):
        self.shape = n_outputs, X.shape[1]
        self.l1, self.l2, self.group = (
            (0.0, 0.0, 0.0) if penalty is None else (penalty.l1, penalty.l2, penalty.group)
        )
        n_W, n = n_outputs * X.shape[1], len(y)
        per_sample = n_outputs if loss == "hinge" else 1
        # columns: W, b, slacks, |W|, W**2, norms
        starts = np.cumsum([0, n_W, n_outputs, n * per_sample, n_W, n_W, X.shape[1]])
        self.W, self.b, self.slack, self.size, self.square, self.norm = (
            slice(a, e) for a, e in itertools.pairwise(starts)
        )
        self.n = starts[-1]
        w = np.ones(n) if sample_weight is None else sample_weight
        self.cost = np.zeros(self.n)
        self.cost[self.slack] = np.repeat(w / w.sum(), per_sample)
        self.cost[self.size], self.cost[self.square], self.cost[self.norm] = self.l1, self.l2, self.group
        self.free = np.zeros(self.n, bool)
        self.free[self.W] = True
        self.free[self.b] = fit_intercept
        self.rows, self.bounds = [], []
        for i in range(n):
            for j in range(n_outputs):
                if n_outputs > 1 and j == y[i]:
                    continue
                row = np.zeros(self.n)
                if n_outputs == 1:
                    sign = 1 - 2 * min(y[i], 1)
                    row[self.W], row[self.b] = sign * X[i], sign
                else:
                    scores = np.zeros(self.shape)
                    scores[j], scores[y[i]] = X[i], -X[i]
                    row[self.W] = scores.ravel()
                    row[self.b.start + j], row[self.b.start + y[i]] = 1, -1
                row[self.slack.start + i * per_sample + (j if per_sample > 1 else 0)] = -1
                self._add(row, -1)
        for k in range(n_W):
            for sign in (1, -1):
                row = np.zeros(self.n)
                row[self.W.start + k], row[self.size.start + k] = sign, -1
                self._add(row, 0)

    def _add(self, row, bound):
        self.rows.append(row)
        self.bounds.append(bound)

    def minimum(self, tol=1e-9):
        """Return (lower, upper), bounds of the minimum."""
        for _ in range(300):
            found = optimize.linprog(
                self.cost,
                A_ub=np.array(self.rows),
                b_ub=self.bounds,
                bounds=[
                    (-1e3, 1e3) if free else (0, 0) if k in range(self.b.start, self.b.stop) else (0, None)
                    for k, free in enumerate(self.free)
                ],
                options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
            )
            assert found.status == 0
            W = found.x[self.W].reshape(self.shape)
            norms = np.linalg.norm(W, axis=0)
            upper = found.fun + self.l2 * ((W**2).sum() - found.x[self.square].sum())
            upper += self.group * (norms - found.x[self.norm]).sum()
            if upper - found.fun <= tol:
                break
            for k in range(W.size):
                if self.l2 > 0:
                    row = np.zeros(self.n)
                    row[self.W.start + k], row[self.square.start + k] = 2 * W.flat[k], -1
                    self._add(row, W.flat[k] ** 2)
            for d in range(W.shape[1]):
                if self.group > 0 and norms[d] > 0:
                    row = np.zeros(self.n)
                    row[self.W.start : self.W.stop].reshape(self.shape)[:, d] = W[:, d] / norms[d]
                    row[self.norm.start + d] = -1
                    self._add(row, 0)
        return found.fun, upper


# --------------------------------------------------------------------------------------------------
# the optimum
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize(("loss", "n_outputs"), FORMS)
def test_optimum(data, loss, n_outputs, penalty, fit_intercept):
    X, y, sample_weight = data
    penalty = PENALTIES[penalty]
    program = LinearProgram(X, y, loss, n_outputs, penalty, sample_weight, fit_intercept)
    lower, upper = program.minimum()
    objective = make_objective(X, y, loss, n_outputs, penalty=penalty, sample_weight=sample_weight)
    result = fit(
        objective, solver="dual", tol=1e-7, max_iter=20000, fit_intercept=fit_intercept, random_state=0
    )
    assert result.converged, result.message
    assert result.value == pytest.approx(upper, rel=2e-6, abs=1e-9)
    assert result.value >= lower - 1e-9
    assert result.value == pytest.approx(objective.value(result.W, result.b), rel=1e-12)
    if not fit_intercept:
        assert not result.b.any()
    if penalty is None:
        assert result.residual <= 1e-7
    else:
        # a bound from first to last
        assert all(entry.dual_gap >= entry.value - upper - 1e-9 for entry in result.history)
        assert result.dual_gap <= 1e-7 * result.value


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize(("loss", "n_outputs"), FORMS)
@pytest.mark.parametrize("level", _core.available_isas())
def test_every_cpu_level(data, level, loss, n_outputs, penalty, dtype):
    X, y, sample_weight = data
    active = _core.info()["isa"]
    # linear programs are hard for float32
    tol = 1e-3 if dtype == np.float32 and penalty == "none" else 1e-5
    values = []
    try:
        _core.select_isa(level)
        for matrix in (X, sparse.csr_matrix(X)):
            objective = make_objective(
                matrix, y, loss, n_outputs, penalty=PENALTIES[penalty], sample_weight=sample_weight
            )
            result = fit(objective, tol=tol, max_iter=5000, dtype=dtype, random_state=0)
            assert result.converged, result.message
            assert result.solver == "dual"
            assert result.W.dtype == dtype
            values.append(result.value)
    finally:
        _core.select_isa(active)
    assert values[0] == pytest.approx(values[1], rel=3 * tol)


@pytest.mark.parametrize("matrix", ["dense", "csr"])
@pytest.mark.parametrize("loss", ["hinge", "crammer_singer"])
@pytest.mark.parametrize("n_classes", [2, 5, 13, 40, 150])
def test_numbers_of_classes(rng, loss, n_classes, matrix):
    X = rng.standard_normal((2 * n_classes + 10, 33))
    X[rng.random(X.shape) < 0.3] = 0
    y = rng.integers(0, n_classes, len(X))
    objective = make_objective(
        X if matrix == "dense" else sparse.csr_matrix(X), y, loss, n_classes, penalty=L2(0.01)
    )
    result = fit(objective, tol=1e-5, max_iter=5000, random_state=0)
    assert result.converged
    # the minimum of a strongly convex function: no direction leads down
    for _ in range(5):
        dW, db = rng.standard_normal(result.W.shape), rng.standard_normal(result.b.shape)
        assert objective.value(result.W + 1e-2 * dW, result.b + 1e-2 * db) > result.value - result.dual_gap


# --------------------------------------------------------------------------------------------------
# the compiled loop
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("matrix", ["dense", "csr"])
@pytest.mark.parametrize(("loss", "n_outputs"), FORMS)
def test_sums_of_a_certificate(data, loss, n_outputs, matrix, dtype):
    """Slopes within their bounds, and the sums over them that the core returns."""
    X, y, sample_weight = data
    X = X.astype(dtype)
    objective = make_objective(
        X if matrix == "dense" else sparse.csr_matrix(X),
        y,
        loss,
        n_outputs,
        penalty=L1(0.03),
        sample_weight=sample_weight,
    )
    loop = objective._dual_ascent(dtype, None, proximal=True, metric=np.array([1.0, 0.5, 2.0]), seed=0)
    loop.set_centre(np.zeros((n_outputs, 3), dtype), np.zeros(n_outputs), 3.0, 2.0)
    _, n_visits = loop.run(2, 3, 1)
    assert 18 < n_visits <= 6 * 18  # three have no weight
    V, r = np.empty((n_outputs, 3)), np.empty(n_outputs)
    linear, largest = loop.refresh(V, r, 1)
    slopes = loop.state()["slopes"]
    assert slopes.dtype == dtype
    w = sample_weight / sample_weight.sum()
    labels = np.minimum(y, 1) if n_outputs == 1 else y
    u = slopes.astype(float)
    if n_outputs == 1:
        u *= np.where(labels == 1, -1, 1)[:, None]
    else:
        np.testing.assert_allclose(u.sum(axis=1), 0, atol=1e-6)
        u[np.arange(21), y] = 0
    bounded = u.sum(axis=1) if loss == "crammer_singer" else u
    assert (u >= 0).all()
    assert bounded.max() <= 1 + 1e-6
    assert u.sum() > 1
    np.testing.assert_allclose(V, (w[:, None] * slopes).T @ X, atol=1e-7)
    np.testing.assert_allclose(r, w @ slopes.astype(float), atol=1e-7)
    assert linear == pytest.approx(w @ u.sum(axis=1), rel=1e-6)
    assert largest == pytest.approx(u.sum(axis=1).max(), rel=1e-6)

    shares, sums = np.empty(max(2, n_outputs)), np.empty((max(2, n_outputs), 3))
    loop.class_sums(shares, sums, 1)
    one_hot = labels[:, None] == np.arange(len(shares))
    np.testing.assert_allclose(shares, w @ one_hot)
    np.testing.assert_allclose(sums, (w[:, None] * one_hot).T @ X, atol=1e-7)


def test_arguments_of_the_loop(data):
    objective = make_objective(*data[:2], "hinge", penalty=L1(0.1))
    with pytest.raises(TypeError, match="dtype must be float32 or float64; got int64"):
        objective._dual_ascent(np.int64, None, proximal=True, seed=0)
    with pytest.raises(ValueError, match="penalty must have an L2 part where no proximal step is taken"):
        objective._dual_ascent(np.float64, None, proximal=False, seed=0)
    loop = objective._dual_ascent(np.float64, None, proximal=True, seed=0)
    with pytest.raises(ValueError, match="W must be C-contiguous and writeable, 9 numbers of float64"):
        loop.set_centre(np.zeros((3, 3), np.float32), np.zeros(3), 1.0, 1.0)
    with pytest.raises(ValueError, match="b must be C-contiguous and writeable, 3 numbers of float64"):
        loop.parameters(np.zeros((3, 3)), np.zeros(2), False)
    with pytest.raises(ValueError, match="loss must be hinge, crammer_singer or cross_entropy"):
        make_objective(*data[:2], "squared_hinge")._dual_ascent(np.float64, None, proximal=True, seed=0)


# --------------------------------------------------------------------------------------------------
# the same problem in other clothes
# --------------------------------------------------------------------------------------------------
def optimum(X, y, sample_weight=None, loss="hinge", penalty=PENALTIES["elastic_net"], tol=1e-7, **arguments):
    objective = make_objective(X, y, loss, sample_weight=sample_weight, penalty=penalty, **arguments)
    result = fit(objective, tol=tol, max_iter=20000, dtype=np.float64, random_state=1)
    assert result.converged, result.message
    return result


@pytest.mark.parametrize("loss", ["hinge", "crammer_singer"])
def test_weights_equal_repetition(data, loss):
    X, y, _ = data
    counts = np.arange(len(y)) % 4
    weighted = optimum(X, y, counts.astype(float), loss)
    repeated = optimum(np.repeat(X, counts, axis=0), np.repeat(y, counts), None, loss)
    assert weighted.value == pytest.approx(repeated.value, rel=2e-7)
    np.testing.assert_allclose(weighted.W, repeated.W, atol=2e-3)


def test_order_of_the_samples(data, rng):
    X, y, sample_weight = data
    order = rng.permutation(len(y))
    first = optimum(X, y, sample_weight)
    second = optimum(X[order], y[order], sample_weight[order])
    assert first.value == pytest.approx(second.value, rel=2e-7)
    np.testing.assert_allclose(first.W, second.W, atol=2e-3)


@pytest.mark.parametrize("dtype", ["float16", "uint8", "int8", "int16", "int64", "float32", "bool"])
@pytest.mark.parametrize("layout", ["C", "F", "strided", "reversed", "csr"])
def test_storage(data, rng, dtype, layout):
    y, sample_weight = data[1:]
    values = (rng.integers(0, 2, (21, 19)) * (1 if dtype == "bool" else rng.integers(1, 4))).astype(float)
    X = values.astype(dtype)
    if layout == "F":
        X = np.asfortranarray(X)
    elif layout == "strided":
        X = np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3]
    elif layout == "reversed":
        X = X[::-1, ::-1].copy()[::-1, ::-1]
    elif layout == "csr":
        X = sparse.csr_matrix(X.astype("float32") if dtype == "float16" else X)
    assert optimum(X, y, sample_weight, tol=1e-6).value == pytest.approx(
        optimum(values, y, sample_weight, tol=1e-6).value, rel=2e-6
    )


def test_unsorted_and_repeated_columns(data):
    X, y, sample_weight = data
    n, d = X.shape
    indices = np.tile([2, 0, 1, 0], n)
    values = np.column_stack([X[:, 2], 0.25 * X[:, 0], X[:, 1], 0.75 * X[:, 0]]).ravel()
    matrix = sparse.csr_matrix((values, indices, 4 * np.arange(n + 1)), shape=(n, d))
    assert optimum(matrix, y, sample_weight).value == pytest.approx(
        optimum(X, y, sample_weight).value, rel=2e-7
    )


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("matrix", ["dense", "csr"])
def test_standardized(data, penalty, matrix):
    X, y, sample_weight = data
    X = X * [1.0, 50.0, 0.02] + [0.0, 20.0, 0.01]
    mean, scale = X.mean(axis=0), X.std(axis=0)
    penalty = PENALTIES[penalty]
    explicit = optimum((X - mean) / scale, y, sample_weight, penalty=penalty, tol=1e-6)
    folded = optimum(
        X if matrix == "dense" else sparse.csr_matrix(X),
        y,
        sample_weight,
        penalty=penalty,
        tol=1e-6,
        standardize=(mean, scale),
    )
    assert folded.value == pytest.approx(explicit.value, rel=3e-6)


def test_standardized_without_intercept(data):
    X, y, _ = data
    mean, scale = X.mean(axis=0), X.std(axis=0)
    values = [
        fit(
            make_objective(matrix, y, "hinge", penalty=L2(0.02), standardize=standardize),
            tol=1e-7,
            fit_intercept=False,
        ).value
        for matrix, standardize in (((X - mean) / scale, False), (X, (mean, scale)))
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    objective = make_objective(sparse.csr_matrix(X), y, "hinge", penalty=L2(0.02), standardize=(mean, scale))
    with pytest.raises(ValueError, match="standardize must not move the features of a CSR matrix"):
        fit(objective, fit_intercept=False)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_seed_determines_the_bits(rng, penalty):
    X, y = rng.standard_normal((300, 40)).astype(np.float32), rng.integers(0, 3, 300)

    def weights(seed, n_threads):
        objective = make_objective(X, y, "hinge", penalty=PENALTIES[penalty], n_threads=n_threads)
        result = fit(objective, tol=None, max_iter=3, random_state=seed)
        return result.W.tobytes() + result.b.tobytes()

    assert weights(0, 1) == weights(0, 1) == weights(0, 2)
    assert weights(0, 1) != weights(1, 1)


# --------------------------------------------------------------------------------------------------
# two blocks of samples, where a CSR matrix is large enough
# --------------------------------------------------------------------------------------------------
@pytest.fixture
def counts(rng):
    """4,000 samples of five classes with 25 nonzeros in 60 features: more than 2**18 multiply-adds."""
    y = rng.integers(0, 5, 4000)
    X = sparse.random(4000, 60, 0.4, format="csr", random_state=1, dtype=np.float32)
    X = X + sparse.csr_matrix((np.ones(4000, np.float32), (np.arange(4000), 7 * y)), X.shape)
    return sparse.csr_matrix(X), y


def blocks_penalty(name):
    return {
        "none": None,
        "l1": L1(3e-3),
        "l2": L2(1e-3),
        "elastic_net": ElasticNet(2e-3, 0.5),
        "group_l1": GroupL1(5e-3),
    }[name]


@pytest.mark.parametrize("penalty", ["l1", "l2", "elastic_net", "group_l1"])
@pytest.mark.parametrize("loss", ["hinge", "crammer_singer"])
def test_blocks_come_to_the_optimum(counts, loss, penalty):
    """The dense solver has one block: the values lie within the gaps of each other."""
    X, y = counts
    results = [
        fit(
            make_objective(matrix, y, loss, 5, penalty=blocks_penalty(penalty)),
            solver="dual",
            tol=1e-3,
            random_state=0,
        )
        for matrix in (X, X.toarray())
    ]
    assert all(result.converged for result in results)
    assert abs(results[0].value - results[1].value) <= max(result.dual_gap for result in results)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_blocks_have_the_same_bits_on_any_number_of_threads(counts, penalty):
    X, y = counts

    def found(n_threads):
        objective = make_objective(X, y, "hinge", 5, penalty=blocks_penalty(penalty), n_threads=n_threads)
        result = fit(objective, solver="dual", tol=None, max_iter=3, random_state=0)
        return result.W.tobytes() + result.b.tobytes()

    assert found(1) == found(2) == found(3)


def test_blocks_go_on_from_a_state(counts):
    X, y = counts
    objective = make_objective(X, y, "crammer_singer", 5, penalty=L2(1e-3))
    loop, other = (
        objective._dual_ascent(np.float32, None, proximal=True, metric=None, seed=0) for _ in range(2)
    )
    loop.set_centre(np.zeros((5, 60), np.float32), np.zeros(5), 3.0, 2.0)
    loop.run(3, 1, 2)
    V, r = np.empty((5, 60)), np.empty(5)
    loop.refresh(V, r, 2)
    state = loop.state()
    assert 1 <= state["spread"] <= 2
    other.set_state(state)
    other.refresh(V, r, 1)
    assert loop.run(2, 2, 1) == other.run(2, 2, 2)
    assert loop.state()["slopes"].tobytes() == other.state()["slopes"].tobytes()


# --------------------------------------------------------------------------------------------------
# where the ascent is slow: Newton's method in the weights
# --------------------------------------------------------------------------------------------------
@pytest.fixture
def overlapping(rng):
    """400 samples of three overlapping classes, correlated features of different scales, weights, some 0."""
    y = rng.integers(0, 3, 400)
    X = rng.standard_normal((400, 12)) @ (np.eye(12) + 0.5 * rng.standard_normal((12, 12)))
    X = (X + rng.standard_normal((3, 12))[y]) * np.geomspace(0.1, 10, 12) + 1
    X[rng.random(X.shape) < 0.3] = 0
    sample_weight = rng.uniform(0.2, 2.0, 400)
    sample_weight[::9] = 0.0
    return X, y, sample_weight


@pytest.fixture
def newton_at_once(monkeypatch):
    """The steps that are taken, of fits that go over to Newton's method after the first iteration."""
    steps = []
    advance = multipliers.Multipliers.advance
    monkeypatch.setattr(dual._Ascent, "_is_slow", lambda self, left, tol: not self._gave_up)
    monkeypatch.setattr(
        multipliers.Multipliers, "advance", lambda self, *args: steps.append(1) or advance(self, *args)
    )
    return steps


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("matrix", ["dense", "csr", "standardized"])
@pytest.mark.parametrize("penalty", [*PENALTIES, "weak_l2"])
@pytest.mark.parametrize(("loss", "n_outputs"), FORMS)
def test_newton_comes_to_the_optimum(
    overlapping, newton_at_once, loss, n_outputs, penalty, matrix, fit_intercept
):
    X, y, sample_weight = overlapping
    objective = make_objective(
        sparse.csr_matrix(X) if matrix == "csr" else X,
        y,
        loss,
        n_outputs,
        penalty=L2(1e-6) if penalty == "weak_l2" else PENALTIES[penalty],
        sample_weight=sample_weight,
        standardize=matrix == "standardized",
    )
    result = fit(objective, tol=1e-9, fit_intercept=fit_intercept, random_state=0)
    assert result.converged, result.message
    assert newton_at_once
    assert result.n_iter < 60
    assert result.value == pytest.approx(objective.value(result.W, result.b), rel=1e-12)
    if penalty == "none":
        assert result.residual <= 1e-9
    else:
        assert result.dual_gap <= 1e-9 * result.value
    if not fit_intercept:
        assert not result.b.any()
    if penalty in ("l1", "elastic_net"):
        assert (result.W == 0).any()


@pytest.mark.parametrize("penalty", ["none", "l1"])
@pytest.mark.parametrize(("loss", "n_outputs"), FORMS)
def test_newton_against_a_linear_program(data, newton_at_once, loss, n_outputs, penalty):
    X, y, sample_weight = data
    lower, _ = LinearProgram(X, y, loss, n_outputs, PENALTIES[penalty], sample_weight, True).minimum()
    objective = make_objective(X, y, loss, n_outputs, penalty=PENALTIES[penalty], sample_weight=sample_weight)
    result = fit(objective, tol=1e-9, random_state=0)
    assert result.converged, result.message
    assert result.value == pytest.approx(lower, rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("loss", ["hinge", "crammer_singer"])
def test_newton_has_the_same_bits_on_any_number_of_threads(overlapping, newton_at_once, loss, penalty):
    X, y, _ = overlapping

    def found(n_threads):
        objective = make_objective(X, y, loss, penalty=PENALTIES[penalty], n_threads=n_threads)
        result = fit(objective, tol=None, max_iter=6, random_state=0)
        return result.W.tobytes() + result.b.tobytes()

    assert found(1) == found(2) == found(3)
    assert newton_at_once


@pytest.mark.parametrize("penalty", ["none", "l1", "group_l1", "l2"])
def test_newton_goes_on_from_a_checkpoint(overlapping, newton_at_once, tmp_path, penalty):
    X, y, _ = overlapping
    objective = make_objective(X, y, "crammer_singer", penalty=PENALTIES[penalty])
    arguments = {"tol": 1e-9, "random_state": 0}
    whole = fit(objective, **arguments)
    assert whole.converged
    assert newton_at_once
    path = tmp_path / "fit"
    for n_iter in range(1, whole.n_iter):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", regcore.ConvergenceWarning)
            fit(objective, **arguments, max_iter=n_iter, checkpoint=path, checkpoint_every=0, resume=True)
        resumed = fit(objective, **arguments, resume=path)
        assert resumed.W.tobytes() == whole.W.tobytes()
        assert resumed.b.tobytes() == whole.b.tobytes()
        assert [entry.n_passes for entry in resumed.history] == [entry.n_passes for entry in whole.history]


def test_the_ascent_takes_over_where_newton_is_stuck(overlapping, newton_at_once, monkeypatch):
    X, y, _ = overlapping
    publish = multipliers.Multipliers._publish

    def elsewhere(self, around, u, V, r, W, b):
        publish(self, around, 0 * u, 0 * V, 0 * r, 0 * W, 0 * b)

    monkeypatch.setattr(multipliers.Multipliers, "_publish", elsewhere)
    result = fit(make_objective(X, y, "hinge", penalty=L2(1e-2)), tol=1e-5, random_state=0)
    assert result.converged
    assert len(newton_at_once) == dual._STALLED_NEWTON


@pytest.mark.parametrize("penalty", [None, L1(1e-3), L2(1e-6), GroupL1(1e-3)], ids=repr)
def test_a_slow_ascent_is_left(overlapping, penalty):
    X, y, _ = overlapping
    result = fit(make_objective(X, y, "hinge", penalty=penalty), tol=1e-6, random_state=0)
    assert result.converged
    assert result.n_passes < 500  # thousands by the ascent alone


def test_separable_data_with_hardly_a_penalty(rng):
    """The largest margin, where all slopes are tiny."""
    y = rng.integers(0, 3, 300)
    X = rng.standard_normal((300, 60)) + 3 * rng.standard_normal((3, 60))[y]
    result = fit(make_objective(X, y, "hinge", penalty=L2(1e-7)), tol=1e-6, random_state=0)
    assert result.converged
    assert result.n_passes < 500


# --------------------------------------------------------------------------------------------------
# few samples: Newton's method for the proximal problems
# --------------------------------------------------------------------------------------------------
@pytest.fixture
def wide(rng):
    """30 samples of 2,000 features, some of them alike."""
    y = np.arange(30) % 2
    X = rng.standard_normal((30, 2000))
    X[:, 1000:1200] = X[:, :200] + 0.05 * rng.standard_normal((30, 200))
    X[:, :20] += y[:, None]
    return X, y


def linear_program(X, y, strength):
    """Minimum of the binary hinge with L1 and a free intercept: W = p - n, b, slacks."""
    n, d = X.shape
    sign = np.where(y == 1, 1.0, -1.0)[:, None]
    A = np.hstack([-sign * X, sign * X, -sign, -np.eye(n)])
    cost = np.concatenate([np.full(2 * d, strength), [0.0], np.full(n, 1 / n)])
    bounds = [(0, None)] * (2 * d) + [(None, None)] + [(0, None)] * n
    found = optimize.linprog(cost, A_ub=A, b_ub=-np.ones(n), bounds=bounds)
    assert found.status == 0
    return found.fun


@pytest.mark.parametrize("strength", [1e-3, 1e-2, 1e-1])
@pytest.mark.parametrize("matrix", ["dense", "csr"])
@pytest.mark.parametrize("standardize", [False, True])
def test_few_samples_against_a_linear_program(wide, matrix, standardize, strength):
    X, y = wide
    scale = np.linspace(0.5, 2.0, X.shape[1])
    mean = X.mean(axis=0) if matrix == "dense" else np.zeros(X.shape[1])
    expected = linear_program((X - mean) / scale if standardize else X, y, strength)
    objective = Objective(
        X if matrix == "dense" else sparse.csr_matrix(X),
        y,
        loss="hinge",
        binary=True,
        penalty=L1(strength),
        standardize=(mean, scale) if standardize else False,
    )
    result = fit(objective, tol=1e-6, dtype=np.float64, random_state=0, max_iter=200)
    assert result.converged, result.message
    assert result.value == pytest.approx(expected, rel=2e-6)
    assert result.value - result.dual_gap <= expected * (1 + 1e-9)
    assert result.n_passes < 3000  # coordinate ascent alone needs tens of thousands


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("penalty", [L1(1e-2), GroupL1(2e-2)])
@pytest.mark.parametrize(("loss", "n_outputs"), [("hinge", 1), ("hinge", 3), ("crammer_singer", 2)])
def test_few_samples_to_a_certificate(wide, loss, n_outputs, penalty, dtype):
    X, _ = wide
    y = np.arange(30) % max(2, n_outputs)
    objective = Objective(
        X.astype(dtype),
        y,
        loss=loss,
        binary=n_outputs == 1,
        penalty=penalty,
        sample_weight=np.linspace(0, 2, 30).astype(dtype),
    )
    result = fit(objective, tol=1e-4, dtype=dtype, random_state=0, max_iter=300)
    assert result.converged, result.message
    assert result.dual_gap <= 1e-4 * result.value
    assert result.value == pytest.approx(objective.value(result.W, result.b), rel=1e-6)
    assert np.count_nonzero(result.W.any(axis=0)) <= 60  # exact zeros


# --------------------------------------------------------------------------------------------------
# edges
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("loss", ["hinge", "crammer_singer"])
def test_class_without_samples(data, loss, penalty, fit_intercept):
    X, y, sample_weight = data
    penalty = PENALTIES[penalty]
    results = [
        fit(
            Objective(X, y, loss=loss, n_classes=n_classes, penalty=penalty, sample_weight=sample_weight),
            tol=1e-6,
            max_iter=20000,
            fit_intercept=fit_intercept,
            random_state=0,
        )
        for n_classes in (3, 4)
    ]
    assert all(result.converged for result in results)
    if fit_intercept:  # pushes the class so far away that it costs nothing
        assert results[1].value == pytest.approx(results[0].value, rel=3e-6)
        assert not results[1].W[3].any()
    else:
        assert results[1].value >= results[0].value * (1 - 1e-6)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("loss", ["hinge", "crammer_singer"])
def test_one_label_alone(rng, loss, penalty):
    result = fit(
        Objective(
            rng.standard_normal((9, 4)), np.ones(9, int), loss=loss, n_classes=3, penalty=PENALTIES[penalty]
        )
    )
    assert result.converged
    assert result.value == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("matrix", ["dense", "csr"])
def test_features_that_say_nothing(data, penalty, matrix):
    X, y, sample_weight = data
    penalty = PENALTIES[penalty]
    more = np.column_stack([X, np.zeros(len(X)), np.full(len(X), 7.0)])
    result = optimum(
        more if matrix == "dense" else sparse.csr_matrix(more), y, sample_weight, penalty=penalty, tol=1e-6
    )
    expected = optimum(X, y, sample_weight, penalty=penalty, tol=1e-6).value
    assert result.value == pytest.approx(expected, rel=3e-6)
    assert not result.W[:, 3].any()


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_nothing_but_zeros(fit_intercept):
    y = np.array([0, 1, 2, 2, 2, 2, 2])
    result = fit(
        make_objective(np.zeros((7, 5)), y, "crammer_singer", penalty=L1(0.1)),
        fit_intercept=fit_intercept,
        tol=1e-6,
    )
    assert result.converged
    assert result.value == pytest.approx(4 / 7 if fit_intercept else 1, rel=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(("loss", "n_outputs"), [*FORMS, ("crammer_singer", 17)])
def test_samples_of_zeros(rng, loss, n_outputs, fit_intercept, dtype):
    # without an intercept nothing bounds their slopes but the domain
    X, y = rng.standard_normal((41, 3)), rng.integers(0, n_outputs, 41)
    X[::4] = 0
    for matrix in (X, sparse.csr_matrix(X)):
        result = fit(
            make_objective(matrix, y, loss, n_outputs, penalty=L2(0.05)),
            solver="dual",
            fit_intercept=fit_intercept,
            dtype=dtype,
            tol=1e-5,
            random_state=0,
        )
        assert result.converged
        assert result.dual_gap <= 1e-5 * result.value


@pytest.mark.parametrize("n_samples", [1, 2])
@pytest.mark.parametrize("n_features", [1, 20])
def test_very_small(rng, n_samples, n_features):
    X = rng.standard_normal((n_samples, n_features))
    result = fit(make_objective(X, np.arange(n_samples), "hinge", penalty=L2(1.0)), tol=1e-6)
    assert result.converged


@pytest.mark.parametrize(("loss", "n_outputs"), FORMS)
def test_separable_data_without_a_penalty(rng, loss, n_outputs):
    y = np.arange(60) % 3
    X = rng.standard_normal((60, 4)) + 20 * np.eye(3, 4)[y]
    result = fit(make_objective(X, y, loss, n_outputs), random_state=0)
    assert result.converged
    assert result.value == result.dual_gap == 0
    assert "beyond its margin" in result.message


def test_zeros_are_exact(rng):
    X, y = rng.standard_normal((80, 30)), rng.integers(0, 3, 80)
    X[:, 0] += 2.0 * y
    for matrix in (X, sparse.csr_matrix(X)):
        for penalty in (L1(0.05), ElasticNet(0.05, 0.1), GroupL1(0.1)):
            W = fit(make_objective(matrix, y, "hinge", penalty=penalty), tol=1e-4).W
            assert 0 < np.count_nonzero(W) < 0.7 * W.size
            if penalty.group:
                assert {0, 3} >= set(np.count_nonzero(W, axis=0))
        strong = fit(make_objective(matrix, y, "hinge", penalty=L1(50.0)), tol=1e-4)
        assert strong.converged
        assert not strong.W.any()


@pytest.mark.parametrize("strength", [1e-6, 1e-3, 1.0, 1e4])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_strengths_and_scales(rng, strength, scale):
    X, y = scale * rng.standard_normal((60, 5)), rng.integers(0, 3, 60)
    objective = make_objective(X, y, "crammer_singer", penalty=L2(strength))
    result = fit(objective, tol=1e-4, max_iter=20000, random_state=0)
    assert result.converged, result.message
    assert result.dual_gap <= 1e-4 * result.value


def test_start(data):
    X, y, sample_weight = data
    objective = make_objective(X, y, "hinge", penalty=L1(0.03), sample_weight=sample_weight)
    first = fit(objective, tol=1e-6, max_iter=20000, random_state=0)
    again = fit(objective, tol=1e-6, max_iter=20000, random_state=0, init=first)
    assert again.converged
    assert again.value == pytest.approx(first.value, rel=2e-6)


# --------------------------------------------------------------------------------------------------
# what it refuses, and how it ends
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"first_step": 0.0}, ValueError, "first_step must be finite and > 0; got 0.0"),
        ({"first_step": np.nan}, ValueError, "first_step must be finite and > 0; got nan"),
        ({"first_step": "short"}, TypeError, "first_step must be a real number; got str"),
        ({"eta0": 1.0}, TypeError, "solver='dual' has no option 'eta0'; its options are first_step"),
    ],
)
def test_bad_options(data, options, error, message):
    with pytest.raises(error, match=message):
        fit(make_objective(*data[:2], "hinge", penalty=L2(0.1)), solver="dual", **options)


def test_smooth_losses_are_for_others(data):
    with pytest.raises(ValueError, match=r"solver='dual' needs a hinge loss \(hinge or crammer_singer\)"):
        fit(make_objective(*data[:2], "squared_hinge"), solver="dual")


def test_needs_the_samples(data):
    class Elsewhere:
        loss, penalty, n_models = regcore.losses.Loss.HINGE, None, None
        n_samples, n_features, n_outputs, data_dtype = 21, 3, 3, np.dtype(np.float64)

    with pytest.raises(TypeError, match="solver='dual' needs the samples themselves"):
        fit(Elsewhere(), solver="dual")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("matrix", ["dense", "csr"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_not_finite_data_is_named(data, bad, matrix, fit_intercept):
    X, y, _ = data
    X[4, 1] = bad
    objective = make_objective(X if matrix == "dense" else sparse.csr_matrix(X), y, "hinge", penalty=L2(0.1))
    with pytest.raises(ValueError, match=r"X must be finite; got .*in row 4, column 1"):
        fit(objective, fit_intercept=fit_intercept)


def test_float32_ends_where_it_can_do_no_more(rng):
    X, y = rng.standard_normal((200, 20)).astype(np.float32), rng.integers(0, 3, 200)
    objective = make_objective(X, y, "hinge", penalty=L2(1e-3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", regcore.ConvergenceWarning)
        result = fit(objective, tol=1e-12, max_iter=3000, dtype=np.float32, random_state=0)
    assert not result.converged
    assert result.dual_gap <= 1e-5 * result.value
    assert "dtype=float64" in result.message


def test_passes_are_counted(data):
    X, y, _ = data
    seen = []
    fit(make_objective(X, y, "hinge", penalty=L2(0.1)), tol=None, max_iter=5, callbacks=seen.append)
    passes = [state.n_passes for state in seen]
    assert passes[0] > 4  # epochs of all samples
    assert all(b > a + 3 for a, b in itertools.pairwise(passes))  # each certificate takes three
