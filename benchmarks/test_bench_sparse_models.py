"""Models with few weights: fits and paths where features outnumber samples, beside peers.

Each peer runs in turn with us, on the machine's cores as it likes. Its own tolerance is set so that it ends
about as near to the optimum as we do; the report says how near, and the assertion compares times only where
the peer is no nearer.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest
from test_bench_dual import real_data

import regcore
from regcore.penalties import from_estimator

Array: TypeAlias = np.ndarray
Models: TypeAlias = "list[tuple[Array, Array]]"  # (W, b) of each strength

TOL = 1e-4
N_ALPHAS, ALPHA_RATIO = 100, 1e-2
PENALTIES = {"l1": 1.0, "elasticnet": 0.5}


def genes() -> tuple[Array, Array]:
    d = real_data("golub.npz")
    X = d["X"].astype(np.float64)
    return np.asfortranarray((X - X.mean(axis=0)) / X.std(axis=0)), d["y"].astype(np.int32)


def texts() -> tuple[Any, Array]:
    sparse = pytest.importorskip("scipy.sparse")
    d = real_data("20newsgroups.npz")
    parts = tuple(d[f"X_train_{name}"] for name in ("data", "indices", "indptr"))
    return sparse.csr_matrix(parts, shape=tuple(d["X_train_shape"])), d["y_train"].astype(np.int32)


def strengths(X: Array, y: Array, l1_ratio: float) -> Array:
    """Geometric, from the least strength without weights."""
    largest = np.abs(X.T @ (y.mean() - y)).max() / len(y) / l1_ratio
    return largest * np.geomspace(1, ALPHA_RATIO, N_ALPHAS)


# ---------------------------------------------------------------------- peers: a fit for each strength


def scikit_learn(X: Array, y: Array, alphas: Array, l1_ratio: float, intercept: bool) -> Models:
    linear_model = pytest.importorskip("sklearn.linear_model")
    if l1_ratio == 1:
        arguments = {"solver": "liblinear", "intercept_scaling": 1e3, "tol": 1e-5, "max_iter": 1000}
    else:
        arguments = {"solver": "saga", "tol": 1e-4, "max_iter": 200, "warm_start": True}
    model = linear_model.LogisticRegression(
        l1_ratio=l1_ratio, fit_intercept=intercept, random_state=0, **arguments
    )
    models = []
    for alpha in alphas:
        model.C = 1 / (alpha * len(y))
        model.fit(X, y)
        models.append((model.coef_.copy(), np.atleast_1d(model.intercept_).copy()))
    return models


def skglm(X: Array, y: Array, alphas: Array, l1_ratio: float, intercept: bool) -> Models:
    package = pytest.importorskip("skglm")
    penalty = package.penalties.L1_plus_L2(alphas[0], l1_ratio)
    solver = package.solvers.ProxNewton(tol=1e-5, fit_intercept=intercept, warm_start=True, max_iter=100)
    model = package.GeneralizedLinearEstimator(package.datafits.Logistic(), penalty, solver)
    signs = np.where(y == 1, 1.0, -1.0)
    models = []
    for alpha in alphas:
        model.penalty.alpha = alpha
        model.fit(X, signs)
        models.append((model.coef_.reshape(1, -1).copy(), np.atleast_1d(model.intercept_).astype(float)))
    return models


def celer(X: Array, y: Array, alphas: Array, l1_ratio: float, intercept: bool) -> Models:
    package = pytest.importorskip("celer")
    if intercept or l1_ratio != 1:
        pytest.skip("celer's logistic regression has the L1 penalty alone, and no intercept")
    signs = np.where(y == 1, 1.0, -1.0)
    sums = alphas * len(y)  # of a sum over the samples
    _, coefs, _ = package.celer_path(X, signs, pb="logreg", alphas=sums, tol=1e-4, max_epochs=50_000)
    return [(coefs[:, i][None].copy(), np.zeros(1)) for i in range(len(alphas))]


def adelie(X: Array, y: Array, alphas: Array, l1_ratio: float, intercept: bool) -> Models:
    package = pytest.importorskip("adelie")
    path = package.grpnet(
        package.matrix.dense(X, method="naive", n_threads=1),
        package.glm.binomial(y.astype(np.float64)),
        alpha=l1_ratio,
        lmda_path=alphas,
        intercept=intercept,
        early_exit=False,
        progress_bar=False,
        adev_tol=1.0,
        ddev_tol=0.0,
    )
    if len(path.lmdas) != len(alphas):
        pytest.skip("adelie left strengths out")
    betas = path.betas.toarray()
    return [(betas[i][None], np.atleast_1d(path.intercepts[i])) for i in range(len(alphas))]


PEERS: dict[str, Callable[..., Models]] = {
    "scikit-learn": scikit_learn,
    "skglm": skglm,
    "celer": celer,
    "adelie": adelie,
}


def timed(function: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """The least of some times, and the last answer."""
    least = np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(repeats):
            start = time.perf_counter()
            answer = function()
            least = min(least, time.perf_counter() - start)
    return least, answer


def compare(
    X: Array,
    y: Array,
    alphas: Array,
    penalty: str,
    intercept: bool,
    peer: str,
    repeats: int,
    settle: Callable[[], None],
) -> tuple[float, float, float, float]:
    """(our seconds, the peer's, our largest distance from the optimum, the peer's)."""
    arguments = {"penalty": penalty, "l1_ratio": 0.5, "binary": True, "fit_intercept": intercept}
    arguments |= {"alphas": alphas, "dtype": np.float64}
    l1_ratio = PENALTIES[penalty]
    if peer != "scikit-learn":
        PEERS[peer](X, y, alphas[:2], l1_ratio, intercept)  # what compiles, compiles
    own = np.ascontiguousarray(X)  # the peers want columns, we rows
    best = regcore.regularization_path(own, y, tol=1e-8, **arguments)
    settle()
    ours, path = timed(lambda: regcore.regularization_path(own, y, tol=TOL, **arguments), repeats)
    settle()
    theirs, models = timed(lambda: PEERS[peer](X, y, alphas, l1_ratio, intercept), repeats)
    ours_far = float((path.values / best.values - 1).max())
    values = [
        regcore.Objective(own, y, penalty=from_estimator(penalty, alpha, 0.5), binary=True).value(W, b)
        for alpha, (W, b) in zip(alphas, models, strict=True)
    ]
    return ours, theirs, ours_far, float((np.array(values) / best.values - 1).max())


def conclude(
    report: Callable[[str], None], name: str, peer: str, figures: tuple[float, float, float, float]
) -> None:
    ours, theirs, ours_far, theirs_far = figures
    report(
        f"{name}: we {1e3 * ours:.1f} ms to {ours_far:.1e}, {peer} {1e3 * theirs:.1f} ms "
        f"to {theirs_far:.1e}: {theirs / ours:.1f} times as fast"
    )


@pytest.mark.operation("regularization_path")
@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("intercept", [True, False], ids=["intercept", "no-intercept"])
def test_gene_path(report, settle, full_size, penalty, intercept, peer):
    if not full_size:
        pytest.skip("the data has its size")
    X, y = genes()
    alphas = strengths(X, y, PENALTIES[penalty])
    repeats = 1 if peer == "scikit-learn" else 3
    figures = compare(X, y, alphas, penalty, intercept, peer, repeats, settle)
    conclude(report, f"golub, {penalty} path of {N_ALPHAS}", peer, figures)
    assert figures[2] <= TOL
    assert figures[0] < figures[1] or figures[3] > figures[2]


@pytest.mark.operation("fit")
@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("share", [0.3, 0.03])
def test_gene_fit(report, settle, full_size, penalty, share, peer):
    """A path of one strength: no start but zero."""
    if not full_size:
        pytest.skip("the data has its size")
    X, y = genes()
    alphas = share * strengths(X, y, PENALTIES[penalty])[:1]
    figures = compare(X, y, alphas, penalty, peer != "celer", peer, 5, settle)
    conclude(report, f"golub, {penalty} at {share} of the largest strength", peer, figures)
    assert figures[2] <= TOL
    assert figures[0] < figures[1]


# ---------------------------------------------------------------------- text


def text_peer(X: Any, y: Array, alpha: float, penalty: str, peer: str, max_iter: int) -> tuple[Array, Array]:
    if peer == "cyanure":
        cyanure = pytest.importorskip("cyanure.estimators")
        model = cyanure.Classifier(
            loss="multiclass-logistic",
            penalty=penalty,
            lambda_1=alpha,
            max_iter=max_iter,
            tol=1e-6,
            duality_gap_interval=max_iter,
            verbose=False,
            fit_intercept=True,
        )
        model.fit(X, y)
        W, b = model.coef_, np.ravel(model.intercept_)
        return (W if len(W) == len(b) else W.T), b
    linear_model = pytest.importorskip("sklearn.linear_model")
    model = linear_model.LogisticRegression(
        C=1 / (alpha * len(y)),
        l1_ratio=1.0 if penalty == "l1" else 0.0,
        solver=peer,
        max_iter=max_iter,
        tol=1e-9,
        random_state=0,
    )
    model.fit(X, y)
    return model.coef_, model.intercept_


@pytest.mark.operation("fit")
@pytest.mark.parametrize(
    ("penalty", "alpha", "peer", "max_iter"),
    [
        ("l1", 1e-4, "saga", 30),
        ("l1", 1e-4, "cyanure", 30),
        ("l2", 1e-5, "lbfgs", 100),
        ("l2", 1e-5, "cyanure", 30),
        ("l2", 1e-5, "newton-cg", 10),
    ],
)
def test_text_fit(report, settle, full_size, penalty, alpha, peer, max_iter):
    if not full_size:
        pytest.skip("the data has its size")
    X, y = texts()
    objective = regcore.Objective(X, y, penalty=from_estimator(penalty, alpha))
    best = regcore.fit(objective, tol=1e-6, dtype=np.float64).value
    settle()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = regcore.fit(objective, tol=1e-6, dtype=np.float32, max_iter=400)
        settle()
        theirs, (W, b) = timed(lambda: text_peer(X, y, alpha, penalty, peer, max_iter), 1)
    value = objective.value(np.ascontiguousarray(W, np.float64), np.asarray(b, np.float64))
    aim = max(value, best * (1 + 1e-6))
    ours = next((h.seconds for h in result.history if h.value <= aim), np.inf)
    report(
        f"20newsgroups, {penalty}: {peer} {theirs:.2f} s to {value / best - 1:.1e}, we there after "
        f"{ours:.2f} s: {theirs / ours:.1f} times as fast; in all {result.history[-1].seconds:.2f} s "
        f"to {result.value / best - 1:.1e}, {np.count_nonzero(result.W)} weights, by {result.solver}"
    )
    assert result.value <= best * (1 + TOL)


@pytest.mark.operation("regularization_path")
@pytest.mark.parametrize("n_epochs", [10])
def test_text_path(report, settle, full_size, n_epochs):
    """Thirty strengths, beside a loop over saga with warm start and too few epochs."""
    if not full_size:
        pytest.skip("the data has its size")
    linear_model = pytest.importorskip("sklearn.linear_model")
    X, y = texts()
    ours, path = timed(
        lambda: regcore.regularization_path(X, y, n_alphas=30, alpha_ratio=ALPHA_RATIO, dtype=np.float32), 1
    )
    assert path.converged.all()
    settle()
    model = linear_model.LogisticRegression(
        l1_ratio=1, solver="saga", max_iter=n_epochs, tol=1e-9, random_state=0, warm_start=True
    )

    def loop() -> list[float]:
        values = []
        for alpha in path.alphas:
            model.C = 1 / (alpha * len(y))
            model.fit(X, y)
            objective = regcore.Objective(X, y, penalty=regcore.L1(alpha))
            values.append(objective.value(model.coef_, model.intercept_))
        return values

    theirs, values = timed(loop, 1)
    far = float((np.array(values) / path.values - 1).max())
    report(
        f"20newsgroups, l1 path of 30: we {ours:.1f} s, saga with {n_epochs} epochs a strength "
        f"{theirs:.1f} s to {far:.1e}: {theirs / ours:.1f} times as fast"
    )


@pytest.mark.filterwarnings("ignore::regcore.ConvergenceWarning")
@pytest.mark.operation("fit")
@pytest.mark.parametrize("penalty", ["l1", "elasticnet", "group_l1"])
@pytest.mark.parametrize("n_outputs", [1, 5])
def test_newton_cd(benchmark, scale, n_outputs, penalty):
    rng = np.random.default_rng(7)
    n_samples, n_features = max(40, int(400 * scale)), 4000
    X = rng.standard_normal((n_samples, n_features), dtype=np.float32)
    y = (X[:, : max(2, n_outputs)] + rng.gumbel(size=(n_samples, max(2, n_outputs)))).argmax(axis=1)
    objective = regcore.Objective(
        X, y, penalty=from_estimator(penalty, 0.03), n_classes=max(2, n_outputs), binary=n_outputs == 1
    )
    result = benchmark.pedantic(regcore.fit, (objective,), {"tol": TOL}, rounds=3, warmup_rounds=1)
    assert result.solver == "newton-cd"
    assert result.converged
