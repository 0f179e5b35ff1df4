"""`EarlyStopping` keeps the best weights, `Progress` writes where it is told to, and nothing else writes."""

from __future__ import annotations

import _thread
import io
import itertools
import sys
import threading
import warnings

import numpy as np
import pytest
from problems import loss_of
from scipy import sparse

import regcore
from regcore import L2, EarlyStopping, ElasticNet, Objective, Progress, fit
from regcore.solvers import SOLVERS, ConvergenceWarning
from regcore.solvers.run import Run


def overfitting(rng, n_samples=80, n_features=40, n_classes=3):
    """Few samples, many features: the validation loss of an unpenalised fit falls, then rises."""
    centers = 0.5 * rng.standard_normal((n_classes, n_features))
    y = rng.integers(0, n_classes, 2 * n_samples)
    X = rng.standard_normal((2 * n_samples, n_features)) + centers[y]
    return (X[:n_samples], y[:n_samples]), (X[n_samples:], y[n_samples:])


def reweighted(objective_arguments, weights):
    return Objective(**objective_arguments, sample_weight=weights)


# --------------------------------------------------------------------------------------------------
# early stopping
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("solver", SOLVERS)
def test_the_best_weights_come_back(rng, solver):
    train, validation = overfitting(rng)
    objective = Objective(*train, loss=loss_of(solver))
    watched = Objective(*validation, loss=loss_of(solver))
    arguments = {"solver": solver, "tol": None, "max_iter": 300, "random_state": 0}
    weights = []
    with warnings.catch_warnings():  # a fast solver finds before the limit that there is no minimum
        warnings.simplefilter("ignore", ConvergenceWarning)
        fit(objective, **arguments, callbacks=lambda state: weights.append((state.W.copy(), state.b.copy())))
    values = [watched.value(W, b) for W, b in weights]
    best = next(  # the last improvement before the patience ends
        i
        for i in range(len(values))
        if values[i] <= min(values[: i + 7]) and values[i] == min(values[: i + 1])
    )
    stopping = EarlyStopping(watched, patience=6)
    result = fit(objective, **arguments, early_stopping=stopping)
    assert stopping.best_iteration == best + 1
    assert stopping.best_value == values[best]
    assert stopping.values == values[: result.n_iter]
    assert result.n_iter == best + 1 + 6 < 300
    np.testing.assert_array_equal(result.W, weights[best][0])
    np.testing.assert_array_equal(result.b, weights[best][1])
    assert result.value == pytest.approx(objective.value(result.W, result.b), rel=1e-14)
    assert not result.converged
    assert result.message.startswith(
        "the validation value has not fallen for 6 iterations; these are the weights"
    )
    assert f"of iteration {best + 1}, with the best validation value" in result.message


def test_what_counts_as_an_improvement(rng):
    objective = Objective(*overfitting(rng)[0])
    values = iter([1.0, 0.95, 0.85, 0.8, 0.79, 0.78, 0.76, np.nan, 0.1])
    stopping = EarlyStopping(lambda W, b: next(values), patience=4, min_delta=0.1)
    result = fit(objective, tol=None, early_stopping=stopping)
    assert stopping.best_iteration == 3
    assert stopping.best_value == 0.85
    assert result.n_iter == 7
    nothing = EarlyStopping(lambda W, b: np.nan, patience=3)
    assert fit(objective, tol=None, early_stopping=nothing).n_iter == 4
    assert nothing.best_iteration == 1


@pytest.mark.parametrize("matrix", ["dense", "csr"])
@pytest.mark.parametrize("standardize", [True, False])
def test_a_share_of_the_samples_is_set_aside(rng, matrix, standardize):
    X, y = overfitting(rng, n_samples=200)[0]
    weights = rng.uniform(0.5, 2, 200)
    weights[:20] = 0
    seen = []

    class Seen(EarlyStopping):
        def _begin(self, objective):
            training = super()._begin(objective)
            seen.append(training)
            return training

    given = sparse.csr_array(X) if matrix == "csr" else X
    objective = Objective(given, y, penalty=L2(1e-4), sample_weight=weights, standardize=standardize)
    stopping = Seen(0.25, patience=3)
    result = fit(objective, tol=None, max_iter=100, early_stopping=stopping)
    held_out = (seen[0]._weights == 0) & (weights > 0)
    assert held_out.sum() == 45  # of 180
    shares = np.bincount(y[held_out]) / np.bincount(y[weights > 0])
    np.testing.assert_allclose(shares, 0.25, atol=0.03)
    np.testing.assert_array_equal(seen[0]._weights[~held_out], weights[~held_out])
    # trained on the others alone, watched on these alone
    scale = (objective.mean, objective.scale) if standardize else False
    left = Objective(
        X[~held_out], y[~held_out], penalty=L2(1e-4), sample_weight=weights[~held_out], standardize=scale
    )
    apart = Objective(X[held_out], y[held_out], sample_weight=weights[held_out], standardize=scale)
    assert result.value == pytest.approx(left.value(result.W, result.b), rel=1e-12)
    assert stopping.best_value == pytest.approx(apart.value(result.W, result.b), rel=1e-12)
    again = EarlyStopping(0.25, patience=3)
    np.testing.assert_array_equal(fit(objective, tol=None, max_iter=100, early_stopping=again).W, result.W)
    other = EarlyStopping(0.25, patience=3, random_state=1)
    assert (fit(objective, tol=None, max_iter=100, early_stopping=other).W != result.W).any()


def test_a_fit_that_converges_first_has_its_best_weights_too(rng):
    train, validation = overfitting(rng)
    stopping = EarlyStopping(Objective(*validation), patience=10**6)
    result = fit(Objective(*train, penalty=L2(1e-3)), tol=1e-6, max_iter=10_000, early_stopping=stopping)
    assert result.converged
    assert stopping.best_iteration < result.n_iter
    assert "; these are the weights of iteration" in result.message
    assert result.residual == result.history[stopping.best_iteration - 1].residual
    assert Objective(*validation).value(result.W, result.b) == stopping.best_value


def test_an_interrupted_fit_has_its_best_weights_too(rng):
    train, validation = overfitting(rng)
    stopping = EarlyStopping(Objective(*validation), patience=10**6)
    timer = threading.Timer(0.3, _thread.interrupt_main)
    timer.start()
    try:
        with pytest.warns(regcore.ConvergenceWarning, match="interrupted after .*; these are the weights"):
            result = fit(Objective(*train), solver="fista", tol=None, max_iter=10**8, early_stopping=stopping)
    finally:
        timer.cancel()
    assert Objective(*validation).value(result.W, result.b) == stopping.best_value == min(stopping.values)


def test_an_interrupt_before_the_fit_has_begun_ends_it(rng, monkeypatch):
    def interrupted(run):
        raise KeyboardInterrupt
        yield

    train, _ = overfitting(rng)
    monkeypatch.setattr(Run, "go", interrupted)
    with pytest.raises(KeyboardInterrupt):  # and not: thrown into the finished generator again and again
        fit(Objective(*train))


def test_without_an_intercept(rng):
    train, validation = overfitting(rng)
    stopping = EarlyStopping(Objective(*validation), patience=3)
    result = fit(Objective(*train), tol=None, fit_intercept=False, early_stopping=stopping)
    assert not result.b.any()
    assert result.n_iter == stopping.best_iteration + 3


@pytest.mark.parametrize("solver", SOLVERS)
def test_early_stopping_is_resumed(rng, solver, tmp_path):
    (X, y), _ = overfitting(rng)
    objective = Objective(X, y, loss=loss_of(solver), penalty=ElasticNet(1e-3, 0.5))
    arguments = {"solver": solver, "tol": None, "random_state": 0}
    whole = fit(objective, max_iter=200, **arguments, early_stopping=EarlyStopping(0.3, patience=8))
    assert whole.n_iter < 200
    for n_iter in (1, whole.n_iter - 9, whole.n_iter - 2, whole.n_iter):
        path = tmp_path / str(n_iter)
        first = EarlyStopping(0.3, patience=8)
        fit(objective, max_iter=n_iter, **arguments, early_stopping=first, checkpoint=path)
        second = EarlyStopping(0.3, patience=8)
        resumed = fit(objective, max_iter=200, **arguments, early_stopping=second, resume=path)
        for name in ("value", "n_iter", "n_passes", "message", "residual"):
            assert getattr(resumed, name) == getattr(whole, name)
        assert resumed.W.tobytes() == whole.W.tobytes()
        assert resumed.b.tobytes() == whole.b.tobytes()
        assert len(second.values) == whole.n_iter
    with pytest.raises(
        ValueError, match=r"early_stopping is \[0.3, 8, 0.0, 0\] there, \[0.3, 9, 0.0, 0\] here"
    ):
        fit(objective, **arguments, early_stopping=EarlyStopping(0.3, patience=9), resume=path)
    with pytest.raises(ValueError, match=r"early_stopping is \[0.3, 8, 0.0, 0\] there, None here"):
        fit(objective, **arguments, resume=path)


def test_one_object_serves_for_many_fits(rng):
    train, validation = overfitting(rng)
    stopping = EarlyStopping(Objective(*validation), patience=4)
    first = fit(Objective(*train), tol=None, early_stopping=stopping)
    second = fit(Objective(*train), tol=None, early_stopping=stopping)
    np.testing.assert_array_equal(first.W, second.W)
    assert len(stopping.values) == second.n_iter


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"validation": 0.0}, ValueError, "validation must be finite, > 0 and < 1; got 0.0"),
        ({"validation": 1}, ValueError, "validation must be finite, > 0 and < 1; got 1"),
        (
            {"validation": "0.1"},
            TypeError,
            "validation must be an Objective, a function of W and b, or a share",
        ),
        ({"validation": True}, TypeError, "validation must be a real number; got bool"),
        ({"patience": 0}, ValueError, "patience must be at least 1; got 0"),
        ({"patience": 1.0}, TypeError, "patience must be an integer; got float"),
        ({"min_delta": -1.0}, ValueError, "min_delta must be finite, >= 0; got -1.0"),
        ({"min_delta": np.inf}, ValueError, "min_delta must be finite"),
        ({"random_state": -1}, ValueError, "random_state must be at least 0; got -1"),
    ],
    ids=str,
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        EarlyStopping(**arguments)


def test_wrong_uses(rng):
    objective = Objective(*overfitting(rng)[0])
    with pytest.raises(TypeError, match="early_stopping must be an EarlyStopping or None; got float"):
        fit(objective, early_stopping=0.1)
    with pytest.raises(
        TypeError, match="EarlyStopping is for `early_stopping` of fit, not for its callbacks"
    ):
        fit(objective, callbacks=EarlyStopping())
    with pytest.raises(ValueError, match=r"a share of 0.01 of 80 samples sets 0 aside"):
        fit(objective, early_stopping=EarlyStopping(0.01))
    with pytest.raises(ValueError, match=r"a share of 0.9 of 1 samples sets 0 aside"):
        fit(Objective(np.ones((1, 2)), [1]), early_stopping=EarlyStopping(0.9))

    class Elsewhere:
        n_models = None
        loss = regcore.Loss.CROSS_ENTROPY

    with pytest.raises(TypeError, match="takes an Objective over data in memory"):
        fit(Elsewhere(), solver="sgd", early_stopping=EarlyStopping())


# --------------------------------------------------------------------------------------------------
# progress
# --------------------------------------------------------------------------------------------------
class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_writes_lines(rng):
    stream = io.StringIO()
    objective = Objective(*overfitting(rng)[0])
    result = fit(objective, solver="fista", tol=None, max_iter=4, callbacks=Progress(stream, every=0))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 5
    entry = result.history[1]
    figures = f"value {entry.value:.6g}, residual {entry.residual:.2g}, {entry.n_passes:.4g} passes, "
    assert lines[1].startswith(f"fista: iteration 2/4, {figures}")
    assert lines[-1].startswith("fista: iteration 4, value")
    assert lines[-1].endswith("; ran for max_iter=4 iterations")


def test_progress_rewrites_a_line_of_a_terminal(rng):
    stream = Terminal()
    for _ in range(2):
        fit(Objective(*overfitting(rng)[0]), tol=None, max_iter=30, callbacks=Progress(stream, every=0))
    first, second, rest = stream.getvalue().split("\n")
    assert rest == ""
    for line in (first, second):
        pieces = line.split("\r")[1:]
        assert len(pieces) == 31
        for piece, following in itertools.pairwise(pieces):
            assert len(following) >= len(piece.rstrip())  # nothing of it is left standing


def test_progress_is_silent_between(rng):
    stream = io.StringIO()
    fit(Objective(*overfitting(rng)[0]), tol=None, max_iter=50, callbacks=Progress(stream, every=1e6))
    assert len(stream.getvalue().splitlines()) == 2


def test_progress_writes_to_stderr_unless_told_otherwise(rng, capsys):
    fit(Objective(*overfitting(rng)[0]), tol=None, max_iter=3, callbacks=Progress())
    out, err = capsys.readouterr()
    assert out == ""
    assert "iteration 3, value" in err
    assert sys.stderr.writable()


def test_nothing_is_written_unless_asked_for(rng, capsys, tmp_path):
    for solver in SOLVERS:
        fit(
            Objective(*overfitting(rng)[0], loss=loss_of(solver)),
            solver=solver,
            tol=None,
            max_iter=3,
            early_stopping=EarlyStopping(),
            checkpoint=tmp_path / "fit",
        )
    assert capsys.readouterr() == ("", "")


def test_progress_arguments():
    with pytest.raises(TypeError, match="stream must have a method write; got str"):
        Progress("fit.log")
    with pytest.raises(ValueError, match="every must be finite, >= 0; got -1"):
        Progress(every=-1)


def test_finish_sees_the_result(rng):
    results = []

    class Watch:
        def __call__(self, state):
            return state.iteration == 2

        def finish(self, result):
            results.append(result)

    result = fit(Objective(*overfitting(rng)[0]), callbacks=[Watch()])
    assert results == [result]
