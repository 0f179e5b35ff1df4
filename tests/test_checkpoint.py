"""Checkpoints: a resumed fit is the uninterrupted one, and no stop, full disk or wrong file spoils it."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace

import numpy as np
import pytest
from problems import MULTICLASS_LOSSES, loss_of
from scipy import sparse

import regcore
from regcore import L1, L2, ElasticNet, GroupL1, Objective, fit
from regcore.solvers import SOLVERS, Step, newton_cd

PENALTIES = {
    "none": None,
    "l1": L1(0.02),
    "l2": L2(0.03),
    "elastic_net": ElasticNet(0.02, 0.7),
    "group_l1": GroupL1(0.03),
}


def data(seed=3, n_samples=90, n_features=6, n_classes=3):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n_samples)
    return rng.standard_normal((n_samples, n_features)) + rng.standard_normal((n_classes, n_features))[y], y


def assert_same(first, second):
    """All that a fit gives is the same, to the last bit, except for the seconds."""
    for name in ("W", "b"):
        a, b = getattr(first, name), getattr(second, name)
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    for name in ("value", "dual_gap", "residual", "n_iter", "n_passes", "converged", "message", "solver"):
        assert getattr(first, name) == getattr(second, name), name
    assert [entry[:-1] for entry in first.history] == [entry[:-1] for entry in second.history]
    seconds = [entry.seconds for entry in second.history]
    assert seconds == sorted(seconds)


class KilledError(Exception):
    """What ends a fit in a way that it can do nothing about."""


def kill_at(iteration):
    def callback(state):
        if state.iteration == iteration:
            raise KilledError

    return callback


def assert_resumes_everywhere(objective, path, **arguments):
    """Kill a fit after every one of its iterations, resume each, and compare with the fit in one piece."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", regcore.ConvergenceWarning)
        whole = fit(objective, **arguments)
        assert whole.n_iter > 2
        for iteration in range(2, whole.n_iter + 1):
            with pytest.raises(KilledError):  # goes on from where the one before was killed
                fit(
                    objective,
                    **arguments,
                    checkpoint=path,
                    checkpoint_every=0,
                    resume=True,
                    callbacks=kill_at(iteration),
                )
            resumed = fit(objective, **arguments, resume=path)
            assert_same(whole, resumed)


# --------------------------------------------------------------------------------------------------
# resumed fits
# --------------------------------------------------------------------------------------------------
@pytest.fixture(autouse=True)
def _short_iterations(monkeypatch):
    """One step of newton-cd an iteration: small fits would be over before there is something to resume."""
    monkeypatch.setattr(newton_cd, "_FEW_STEPS", 1)


@pytest.mark.parametrize("matrix", ["dense", "csr"])
@pytest.mark.parametrize("loss", MULTICLASS_LOSSES)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_goes_on_where_it_was(tmp_path, solver, penalty, loss, matrix):
    X, y = data()
    X[X < 0.3] = 0
    objective = Objective(
        sparse.csr_array(X) if matrix == "csr" else X, y, loss=loss, penalty=PENALTIES[penalty]
    )
    if not SOLVERS[solver].handles(objective):
        pytest.skip(f"{solver} does not handle this")
    # two seeds: a resumed fit takes that of its checkpoint
    assert_resumes_everywhere(objective, tmp_path / "fit", solver=solver, max_iter=6, random_state=1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("solver", SOLVERS)
def test_to_the_end(tmp_path, solver, fit_intercept, dtype):
    X, y = data(n_features=19)
    objective = Objective(X.astype(dtype), y, loss=loss_of(solver), penalty=L2(0.05), standardize=True)
    arguments = {
        "solver": solver,
        "tol": 1e-2 if solver not in ("dual", "newton-cd") else 1e-6,
        "random_state": 2,
        "fit_intercept": fit_intercept,
    }
    if not SOLVERS[solver].handles(objective):
        pytest.skip(f"{solver} does not handle this")
    assert fit(objective, **arguments).converged
    assert_resumes_everywhere(objective, tmp_path / "fit", **arguments)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("solver", ["dual", "newton-cd"])
def test_ascent_in_probabilities(tmp_path, solver, dtype):
    X, y = data(n_features=19)
    penalty = L2(1e-3) if solver == "dual" else ElasticNet(1e-6, 0.1)  # so weak that it starts in the dual
    objective = Objective(sparse.csr_array(X.astype(dtype)), y, loss="cross_entropy", penalty=penalty)
    arguments = {"solver": solver, "tol": 1e-5, "random_state": 2, "max_iter": 25}
    assert_resumes_everywhere(objective, tmp_path / "fit", **arguments)


@pytest.mark.parametrize("matrix", ["dense", "csr", "uint8"])
@pytest.mark.parametrize(
    "options",
    [
        {"momentum": 0.5},
        {"average": True},
        {"average": 3, "momentum": 0.5, "batch_size": 7},
        {"learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 0.01},
        {"learning_rate": "invscaling", "dropout": 0.3},
    ],
    ids=str,
)
@pytest.mark.parametrize("penalty", ["elastic_net", "group_l1"])
def test_options_of_sgd(tmp_path, penalty, options, matrix):
    X, y = data(n_features=21)
    X[X < 0.3] = 0
    X = {"dense": X, "csr": sparse.csr_array(X), "uint8": np.round(40 * X).clip(0, 255).astype(np.uint8)}[
        matrix
    ]
    objective = Objective(X, y, loss="hinge", penalty=PENALTIES[penalty])
    assert_resumes_everywhere(
        objective, tmp_path / "fit", **({"max_iter": 7} | options), solver="sgd", random_state=5
    )


@pytest.mark.parametrize("solver", SOLVERS)
def test_more_of_a_fit_that_has_ended(tmp_path, solver):
    objective = Objective(*data(), loss=loss_of(solver), penalty=L2(0.03))
    arguments = {"solver": solver, "random_state": 0}
    long = fit(objective, tol=None, max_iter=12, **arguments)
    fit(objective, tol=None, max_iter=5, **arguments, checkpoint=tmp_path / "fit")
    assert_same(long, fit(objective, tol=None, max_iter=12, **arguments, resume=tmp_path / "fit"))

    short = fit(objective, tol=0.3, max_iter=1000, **arguments, checkpoint=tmp_path / "fit")
    assert short.converged
    again = fit(objective, tol=0.3, max_iter=1000, **arguments, resume=tmp_path / "fit")
    assert_same(short, again)
    closer = 1e-8 if solver == "newton-cd" else 1e-3  # its last steps are Newton's
    further = fit(objective, tol=closer, max_iter=1000, **arguments, resume=tmp_path / "fit")
    assert further.n_iter > short.n_iter
    assert further.converged


def test_a_resumed_fit_takes_seed_and_start_from_its_checkpoint(tmp_path):
    objective = Objective(*data(), penalty=L2(0.03))
    whole = fit(objective, solver="sgd", tol=None, max_iter=6, random_state=3)
    fit(objective, solver="sgd", tol=None, max_iter=3, random_state=3, checkpoint=tmp_path / "fit")
    start = np.ones((3, 6))
    resumed = fit(objective, solver="sgd", tol=None, max_iter=6, init=start, resume=tmp_path / "fit")
    assert_same(whole, resumed)


def test_resume_true_starts_anew_without_a_file(tmp_path):
    objective = Objective(*data(), penalty=L2(0.03))
    first = fit(objective, tol=None, max_iter=4, checkpoint=tmp_path / "fit", resume=True)
    assert first.n_iter == 4
    second = fit(objective, tol=None, max_iter=7, checkpoint=tmp_path / "fit", resume=True)
    assert_same(fit(objective, tol=None, max_iter=7), second)
    third = fit(objective, tol=None, max_iter=7, checkpoint=tmp_path / "fit", resume=True)
    assert_same(second, third)
    fewer = fit(objective, tol=None, max_iter=5, checkpoint=tmp_path / "fit", resume=True)
    assert fewer.n_iter == 7  # they have been done


def test_how_often(tmp_path, monkeypatch):
    objective = Objective(*data(), penalty=L2(0.03))
    now, written = [0.0], []
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(os, "replace", lambda *names: written.append(round(now[0])), raising=True)

    def tick(state):
        now[0] += 1

    fit(objective, tol=None, max_iter=11, checkpoint=tmp_path / "fit", checkpoint_every=3, callbacks=tick)
    assert written == [3, 6, 9, 11]
    written.clear()
    fit(objective, tol=None, max_iter=3, checkpoint=tmp_path / "fit", checkpoint_every=0, callbacks=tick)
    assert written == [12, 13, 14]
    written.clear()
    fit(
        objective,
        tol=None,
        max_iter=3,
        checkpoint=tmp_path / "fit",
        callbacks=[tick, lambda s: s.iteration == 2],
    )
    assert written == [16]


# --------------------------------------------------------------------------------------------------
# callbacks with a state
# --------------------------------------------------------------------------------------------------
class Patience:
    """Stops after a number of iterations that it counts itself."""

    def __init__(self, patience=5):
        self.patience = patience
        self.seen = np.zeros(0)

    def __call__(self, state):
        self.seen = np.append(self.seen, state.value)
        return len(self.seen) >= self.patience

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


def test_callbacks_with_a_state_go_on(tmp_path):
    objective = Objective(*data(), penalty=L2(0.03))
    whole = fit(objective, tol=None, max_iter=20, callbacks=Patience())
    assert whole.n_iter == 5
    fit(objective, tol=None, max_iter=3, callbacks=Patience(), checkpoint=tmp_path / "fit")
    patience = Patience()
    resumed = fit(
        objective, tol=None, max_iter=20, callbacks=[print_nothing, patience], resume=tmp_path / "fit"
    )
    assert_same(whole, resumed)
    assert patience.seen.tolist() == [entry.value for entry in whole.history]


def print_nothing(state):
    pass


def test_a_stop_is_kept_if_it_is_part_of_a_state(tmp_path):
    objective = Objective(*data(), penalty=L2(0.03))
    path = tmp_path / "fit"
    stopped = fit(objective, tol=None, max_iter=20, callbacks=Patience(), checkpoint=path)
    assert_same(stopped, fit(objective, tol=None, max_iter=20, callbacks=Patience(), resume=path))
    # a callback without a state may be a limit of time, after which one wants to go on
    fit(objective, tol=None, max_iter=20, callbacks=lambda s: s.iteration == 5, checkpoint=path)
    assert_same(fit(objective, tol=None, max_iter=9), fit(objective, tol=None, max_iter=9, resume=path))


def test_other_callbacks_are_refused(tmp_path):
    objective = Objective(*data(), penalty=L2(0.03))
    fit(objective, tol=None, max_iter=3, callbacks=Patience(), checkpoint=tmp_path / "fit")
    with pytest.raises(
        ValueError, match=r"the state of the callbacks \['Patience'\]; those of this fit are \[\]"
    ):
        fit(objective, resume=tmp_path / "fit")


# --------------------------------------------------------------------------------------------------
# kill -9
# --------------------------------------------------------------------------------------------------
LONG_FIT = """
import sys
import numpy as np
from regcore import ElasticNet, Objective, fit

path, solver, resume = sys.argv[1], sys.argv[2], sys.argv[3] == "resume"
rng = np.random.default_rng(0)
y = rng.integers(0, 5, 3000)
X = rng.standard_normal((3000, 400)) + rng.standard_normal((5, 400))[y]
objective = Objective(X, y, penalty=ElasticNet(1e-4, 0.5))
result = fit(
    objective, solver=solver, tol=None, max_iter=60, random_state=0,
    checkpoint=path, checkpoint_every=0, resume=resume,
)
history = np.array([entry[:-1] for entry in result.history], np.float64)
np.savez(sys.argv[4], W=result.W, b=result.b, value=result.value, history=history)
"""


def run_long_fit(path, solver, resume, out, kill_after=None):
    """Run the fit in its own process; `kill_after`: kill it so many seconds after it has written a file."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    command = [sys.executable, "-c", LONG_FIT, str(path), solver, "resume" if resume else "", str(out)]
    process = subprocess.Popen(command)
    if kill_after is not None:
        while process.poll() is None and (not path.exists() or path.stat().st_mtime_ns == before):
            time.sleep(0.001)
        time.sleep(kill_after)
        process.send_signal(signal.SIGKILL)
    return process.wait(60)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
@pytest.mark.parametrize("solver", ["fista", "lbfgs", "sgd"])
def test_kill_9_at_any_moment(tmp_path, solver):
    rng = np.random.default_rng(7)
    assert run_long_fit(tmp_path / "whole", solver, False, tmp_path / "whole.npz") == 0
    whole = np.load(tmp_path / "whole.npz")
    killed = 0
    for _ in range(int(os.environ.get("REGCORE_TEST_KILLS", "2"))):
        killed += run_long_fit(tmp_path / "fit", solver, True, tmp_path / "no.npz", rng.uniform(0, 0.05)) != 0
    assert killed
    assert run_long_fit(tmp_path / "fit", solver, True, tmp_path / "resumed.npz") == 0
    resumed = np.load(tmp_path / "resumed.npz")
    for name in whole:
        assert whole[name].tobytes() == resumed[name].tobytes(), name
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".npz") == ["fit", "whole"]


# --------------------------------------------------------------------------------------------------
# what goes wrong while writing
# --------------------------------------------------------------------------------------------------
class FullDisk(io.FileIO):
    """A file on a disk that has room for so many bytes."""

    room = 1000

    def write(self, data):
        if self.tell() + len(data) > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


def open_on_a_full_disk(path, mode):
    return FullDisk(path, mode)


@pytest.mark.parametrize("room", [0, 1000, 4000])
def test_full_disk(tmp_path, monkeypatch, room):
    objective = Objective(*data(), penalty=L2(0.03))
    path = tmp_path / "fit"
    fit(objective, tol=None, max_iter=3, checkpoint=path)
    before = path.read_bytes()
    monkeypatch.setattr(FullDisk, "room", room)

    def fill(state):
        if state.iteration == 5:
            monkeypatch.setattr("regcore.solvers.checkpoint.open", open_on_a_full_disk, raising=False)

    arguments = {"tol": None, "max_iter": 8, "checkpoint": path, "resume": True}
    with pytest.warns(
        RuntimeWarning, match=r"no checkpoint could be written to .*fit \(.*No space"
    ) as caught:
        result = fit(objective, **arguments, checkpoint_every=1e9, callbacks=fill)
    assert caught[0].filename == __file__
    assert_same(fit(objective, tol=None, max_iter=8), result)  # the fit goes on
    assert path.read_bytes() == before  # the last good one is there
    assert os.listdir(tmp_path) == ["fit"]  # and nothing else
    monkeypatch.undo()
    assert_same(result, fit(objective, **arguments))


def test_space_that_comes_back(tmp_path, monkeypatch):
    objective = Objective(*data(), penalty=L2(0.03))
    path = tmp_path / "fit"

    def fill(state):
        if state.iteration == 2:
            monkeypatch.setattr("regcore.solvers.checkpoint.open", open_on_a_full_disk, raising=False)
        if state.iteration == 5:
            monkeypatch.undo()

    with pytest.warns(RuntimeWarning, match="no checkpoint could be written") as caught:
        fit(objective, tol=None, max_iter=8, checkpoint=path, checkpoint_every=0, callbacks=fill)
    assert len(caught) == 3  # the iterations 2, 3 and 4
    assert {warning.filename for warning in caught} == {__file__}
    assert_same(fit(objective, tol=None, max_iter=9), fit(objective, tol=None, max_iter=9, resume=path))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_device_that_fails(tmp_path, monkeypatch, call):
    objective = Objective(*data(), penalty=L2(0.03))
    path = tmp_path / "fit"
    fit(objective, tol=None, max_iter=3, checkpoint=path)
    before = path.read_bytes()

    def fail(*arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, call, fail)
    with pytest.warns(RuntimeWarning, match="no checkpoint could be written to .*Input/output error"):
        fit(objective, tol=None, max_iter=5, checkpoint=path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["fit"]


def test_an_interrupt_while_writing(tmp_path, monkeypatch):
    objective = Objective(*data(), penalty=L2(0.03))
    path = tmp_path / "fit"
    fit(objective, tol=None, max_iter=3, checkpoint=path)
    before = path.read_bytes()

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.warns(regcore.ConvergenceWarning, match="interrupted after 1 iterations"):
        fit(objective, tol=None, max_iter=5, checkpoint=path, checkpoint_every=0)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["fit"]


def test_a_folder_that_cannot_be_written_is_found_at_once(tmp_path, monkeypatch):
    objective = Objective(*data())
    calls = []
    with pytest.raises(FileNotFoundError):
        fit(objective, checkpoint=tmp_path / "no" / "fit", callbacks=calls.append)
    with pytest.raises(IsADirectoryError, match=r"checkpoint must name a file; .* is a directory"):
        fit(objective, checkpoint=tmp_path, callbacks=calls.append)

    def refuse(path, mode):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr("regcore.solvers.checkpoint.open", refuse, raising=False)
    with pytest.raises(PermissionError, match=r"Permission denied: .*fit"):
        fit(objective, checkpoint=tmp_path / "fit", callbacks=calls.append)
    assert not calls


# --------------------------------------------------------------------------------------------------
# what is refused
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"X": data(n_samples=91)[0], "y": data(n_samples=91)[1]}, "n_samples is 90 there, 91 here"),
        ({"X": data(seed=4)[0]}, "sample of X is '.*' there, '.*' here"),
        ({"X": sparse.csr_array(data()[0])}, "matrix is 'dense' there, 'csr' here"),
        ({"X": data()[0].astype(np.float32)}, "dtype is '<f8' there, '<f4' here; dtype of X is"),
        ({"y": data(seed=4)[1]}, "labels is"),
        ({"y": np.roll(data()[1], 1)}, "labels is '[0-9a-f]*' there, '[0-9a-f]*' here$"),
        ({"sample_weight": np.arange(90)}, "sample_weight is None there"),
        (
            {"penalty": L2(0.04)},
            r"penalty \(l1, l2, group\) is \[0.0, 0.03, 0.0\] there, \[0.0, 0.04, 0.0\] here",
        ),
        ({"penalty": None}, "penalty .* None here"),
        ({"loss": "squared_hinge"}, "loss is 'cross_entropy' there, 'squared_hinge' here"),
        ({"n_classes": 4}, "n_classes is 3 there, 4 here; n_outputs is 3 there, 4 here"),
        ({"standardize": True}, "standardize is None there"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_another_problem_is_refused(tmp_path, changed, message):
    X, y = data()
    arguments = {"X": X, "y": y, "penalty": L2(0.03)}
    fit(Objective(**arguments), tol=None, max_iter=2, checkpoint=tmp_path / "fit")
    with pytest.raises(ValueError, match=f"resume: .*fit is a checkpoint of another fit: .*{message}"):
        fit(Objective(**arguments | changed), resume=tmp_path / "fit")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"solver": "fista"}, "solver is 'sgd' there, 'fista' here"),
        ({"solver": "sgd", "batch_size": 7}, "option batch_size is 8 there, 7 here"),
        ({"solver": "sgd"}, "option batch_size is 8 there, None here"),
        (
            {"solver": "sgd", "batch_size": 8, "fit_intercept": False},
            "fit_intercept is True there, False here",
        ),
        ({"solver": "sgd", "batch_size": 8, "dtype": np.float32}, "dtype is '<f8' there, '<f4' here"),
    ],
    ids=str,
)
def test_another_fit_is_refused(tmp_path, changed, message):
    objective = Objective(*data())
    fit(objective, tol=None, max_iter=2, solver="sgd", batch_size=8, checkpoint=tmp_path / "fit")
    with pytest.raises(ValueError, match=f"is a checkpoint of another fit: .*{message}"):
        fit(objective, **changed, resume=tmp_path / "fit")
    # the same of another type is the same
    fit(objective, tol=None, max_iter=3, solver="sgd", batch_size=np.int8(8), resume=tmp_path / "fit")


def test_the_layout_of_x_does_not_matter(tmp_path):
    X, y = data()
    fit(Objective(X, y), tol=None, max_iter=2, checkpoint=tmp_path / "fit")
    assert fit(
        Objective(np.asfortranarray(X), y.astype(np.uint8)), tol=None, max_iter=3, resume=tmp_path / "fit"
    )


@pytest.fixture
def a_checkpoint(tmp_path):
    objective = Objective(*data(), penalty=L2(0.03))
    fit(objective, tol=None, max_iter=3, checkpoint=tmp_path / "fit")
    return objective, tmp_path / "fit"


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_truncated_files_are_refused(a_checkpoint, share):
    objective, path = a_checkpoint
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"resume: .*fit is no checkpoint of a fit, or a damaged one"):
        fit(objective, resume=path)
    # and are not replaced by a new fit in silence
    with pytest.raises(ValueError, match="no checkpoint of a fit, or a damaged one"):
        fit(objective, checkpoint=path, resume=True)


def test_damaged_files_are_refused_or_harmless(a_checkpoint):
    objective, path = a_checkpoint
    expected = fit(objective, tol=None, max_iter=5)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for place in rng.integers(0, len(whole), 150):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:  # a bit of a date in the archive, say, means nothing
            assert_same(expected, fit(objective, tol=None, max_iter=5, resume=path))
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017
            refused += 1
    assert refused > 75


def rewritten(path, **changed):
    with np.load(path) as archive:
        arrays = dict(archive) | changed
    with open(path, "wb") as file:
        np.savez(file, **arrays)


def test_the_checksum_is_of_all(a_checkpoint):
    objective, path = a_checkpoint
    rewritten(path, W=np.zeros((3, 6)))
    with pytest.raises(ValueError, match="is damaged: its checksum is not that of its contents"):
        fit(objective, resume=path)


def test_a_checkpoint_of_another_version_is_refused(a_checkpoint, monkeypatch):
    objective, path = a_checkpoint
    monkeypatch.setattr("regcore.solvers.checkpoint._FORMAT", "regcore checkpoint 2")
    with pytest.raises(
        ValueError, match=r"was written by regcore .* load W and b with np.load and give them as init"
    ):
        fit(objective, resume=path)
    with np.load(path) as archive:
        assert fit(objective, init=(archive["W"], archive["b"]), tol=None, max_iter=2).n_iter == 2


@pytest.mark.parametrize("kind", ["text", "npy", "npz", "pickle", "zip"])
def test_foreign_files_are_refused(a_checkpoint, kind):
    objective, path = a_checkpoint
    with open(path, "wb") as file:
        match kind:
            case "text":
                file.write(b"not a checkpoint\n" * 20)
            case "npy":
                np.save(file, np.zeros(5))
            case "npz":
                np.savez(file, W=np.zeros((3, 6)))
            case "pickle":
                np.savez(file, about=np.array([{"a": 1}], dtype=object), checksum=np.array("0"))
            case "zip":
                file.write(b"PK\x05\x06" + bytes(18))
    with pytest.raises(ValueError, match="is no checkpoint of a fit, or a damaged one"):
        fit(objective, resume=path)


def test_a_solver_without_a_state_is_found_at_once(tmp_path, monkeypatch):
    def stateless(problem):
        while True:
            yield Step(problem.W, problem.b, 1.0, 1.0)

    monkeypatch.setitem(SOLVERS, "fista", replace(SOLVERS["fista"], function=stateless))
    seen = []
    with pytest.raises(TypeError, match="checkpoint: this solver gives no state that could be saved"):
        fit(Objective(*data()), solver="fista", checkpoint=tmp_path / "fit", callbacks=seen.append)
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"resume": True}, ValueError, "resume=True goes on from `checkpoint`, which is None"),
        ({"resume": 3}, TypeError, "resume must be a path; got int"),
        ({"resume": None}, TypeError, "resume must be a path; got NoneType"),
        ({"resume": "not there"}, FileNotFoundError, "not there"),
        ({"checkpoint": 3}, TypeError, "checkpoint must be a path; got int"),
        (
            {"checkpoint": "x", "checkpoint_every": -1},
            ValueError,
            "checkpoint_every must be finite, >= 0; got -1",
        ),
        ({"checkpoint": "x", "checkpoint_every": np.nan}, ValueError, "checkpoint_every must be finite"),
        (
            {"checkpoint": "x", "checkpoint_every": "1"},
            TypeError,
            "checkpoint_every must be a real number; got str",
        ),
    ],
    ids=str,
)
def test_wrong_arguments(tmp_path, monkeypatch, arguments, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        fit(Objective(*data()), **arguments)
    assert not os.listdir(tmp_path)


def test_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    objective = Objective(*data())
    fit(objective, tol=None, max_iter=3, checkpoint="fit")
    assert fit(objective, tol=None, max_iter=4, resume="fit").n_iter == 4
    assert os.listdir() == ["fit"]
