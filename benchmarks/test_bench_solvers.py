"""Time to the optimum: smooth losses with each penalty, beside scikit-learn on the same objective."""

from __future__ import annotations

import numpy as np
import pytest
from cases import Shape
from convergence import judged
from convergence_curves import LEVELS, seconds_to
from convergence_ours import optimum, our_curve
from convergence_peers import PEERS
from convergence_tasks import Problem

import regcore

pytestmark = pytest.mark.operation("fit")

SECONDS = 60.0  # of one of our fits
PEER_SECONDS = 10.0  # of all fits of a peer
SHAPE = Shape(20_000, 256, 10)
PENALTIES = {
    "none": None,
    "l2": regcore.L2(5e-4),
    "elasticnet": regcore.ElasticNet.from_l1_ratio(1e-3, 0.5),
    "l1": regcore.L1(1e-3),
    "group_l1": regcore.GroupL1(2e-3),
}
PEER_OF = {
    "fashion-l2": "scikit-learn lbfgs float32",
    "fashion-elasticnet": "scikit-learn saga float32",
    "fashion-l1": "scikit-learn saga float32",
    "covtype-l2": "scikit-learn lbfgs float32",
    "histograms-l2": "scikit-learn newton-cg float64",
    "histograms-l1": "scikit-learn saga float32",
}


@pytest.mark.parametrize("name", PEER_OF)
def test_time_to_the_optimum(name, report, full_size, settle):
    """``convergence.py`` has all tasks and all peers; this is what must never get lost."""
    peer = next(peer for peer in PEERS if peer.name == PEER_OF[name])
    if not peer.is_installed:
        pytest.skip(f"{peer.package} is not installed")
    try:
        problem = Problem(name, quick=not full_size)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    settle()
    curve = judged(*our_curve(problem, SECONDS if full_size else 2.0), problem)
    least = min(optimum(problem, SECONDS if full_size else 2.0), *curve.values)
    distances = curve.distances(least)
    reached = [
        f"{level:g} never"
        if (seconds := seconds_to(level, curve.seconds, distances)) is None
        else f"{level:g} after {seconds:.2f} s"
        for level in LEVELS
    ]
    report(f"{name}: {', '.join(reached)}; {curve.extra['n_passes']:.0f} passes, {curve.note}")
    assert distances[-1] < distances[0]
    if not full_size:
        return
    assert min(distances) <= LEVELS[0]
    settle()
    for point in peer.points(problem, PEER_SECONDS):
        theirs = problem.value(point.W, point.b) / least - 1
        aim = max(theirs, LEVELS[-1])  # closer than that we were not asked to come
        ours = seconds_to(aim, curve.seconds, distances)
        assert ours is not None
        assert ours <= point.seconds
    report(
        f"{name}: {peer.name} {point.seconds:.2f} s to {theirs:.1e}, we at {aim:.1e} after {ours:.2f} s: "
        f"{point.seconds / ours:.0f} times as fast"
    )


@pytest.mark.filterwarnings("ignore::regcore.ConvergenceWarning")  # few samples are separable
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_hinge"])
def test_lbfgs(benchmark, scale, loss, penalty):
    rng = np.random.default_rng(7)
    shape = SHAPE.scaled(scale)
    W = rng.standard_normal((shape.n_classes, shape.n_features))
    X = rng.standard_normal((shape.n_samples, shape.n_features), dtype=np.float32)
    y = (X @ W.T / 8 + rng.gumbel(size=(shape.n_samples, shape.n_classes))).argmax(axis=1)
    objective = regcore.Objective(X, y, loss=loss, penalty=PENALTIES[penalty], n_classes=shape.n_classes)
    result = benchmark.pedantic(
        regcore.fit, (objective,), {"tol": 1e-3, "max_iter": 300}, rounds=2, warmup_rounds=1
    )
    assert result.value < objective.value(np.zeros_like(result.W))


@pytest.mark.operation("regularization_path")
@pytest.mark.parametrize("penalty", ["l1", "elasticnet", "group_l1"])
def test_path(benchmark, scale, penalty):
    rng = np.random.default_rng(7)
    X = rng.standard_normal((max(100, int(2000 * scale)), 100))
    y = (X[:, :4].sum(axis=1) + rng.standard_normal(len(X)) > 0).astype(int)
    path = benchmark.pedantic(
        regcore.regularization_path,
        (X, y),
        {"penalty": penalty, "n_alphas": 20, "binary": True, "alpha_ratio": 0.02, "tol": 1e-3},
        rounds=2,
        warmup_rounds=1,
    )
    assert path.converged.all()
    assert not path.coefs[0].any()
