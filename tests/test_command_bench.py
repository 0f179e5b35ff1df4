"""``regcore bench``: what is measured and when, that wrong answers stop it, and what it shows."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from PIL import Image
from test_command_cli import FAILURE, INTERRUPTED, OK, USAGE, check_complaint, check_shape

from regcore import Objective, _core, reference
from regcore.command import bench, bench_report, main, roofline
from regcore.command.bench import Case, Limits, Measurement, Settings, Skipped, Timing
from regcore.command.cases import DENSE_SHAPES, TOLERANCE, Shape, dense_problem, relative_error
from regcore.command.peers import PEERS, Call, PeerUnavailableError

TINY = ("--shapes", "70x5x3", "--repeats", "1", "--threads", "1")
BANDWIDTH, PEAK = 40e9, 500e9


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    """No pauses, no waking calls that take time, and limits that are known."""
    monkeypatch.setattr(bench, "SETTLE_SECONDS", 0)
    monkeypatch.setattr(bench, "_OWN_SETTLE_SECONDS", 0)
    monkeypatch.setattr(bench, "_BURST_SECONDS", 0)
    monkeypatch.setattr(_core, "measure_limits", lambda dtype, n_threads: (BANDWIDTH, PEAK))


@pytest.fixture
def run(capsys):
    """Run the command; its exit code, stdout and stderr."""

    def run(*argv) -> tuple[int, str, str]:
        code = main(["bench", *map(str, argv)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


class FakePeer:
    """The reference, under another name and with a flaw."""

    label, module, distribution = "Fake", "numpy", "numpy"
    reads_storage = False

    def __init__(self, flaw=lambda answer: answer, on_run=lambda: None, losses=("cross_entropy", "hinge")):
        self.flaw, self.on_run, self.losses = flaw, on_run, losses
        self.seen = []

    def session(self, n_threads):
        return nullcontext()

    def prepare(self, problem, loss, n_threads):
        self.seen.append(problem)
        if loss not in self.losses:
            return None
        p = problem

        def call():
            self.on_run()
            return reference.loss_and_grad(p.X, p.y, p.W, p.b, loss=loss)

        return Call(call, self.flaw)


@pytest.fixture
def inject(monkeypatch):
    """Put a peer in the place of PyTorch, or of another."""

    def inject(peer, name="torch"):
        monkeypatch.setitem(PEERS, name, peer)
        return peer

    return inject


# -- problems and agreement ----------------------------------------------------------------------------------


def test_scores_of_the_problems_are_exact():
    for storage in ("float32", "float16", "uint8"):
        p = dense_problem(Shape(200, 33, 4), "float32", storage)
        assert p.X.dtype == storage
        wide = p.X.astype(np.longdouble) @ p.W.T.astype(np.longdouble) + p.b
        np.testing.assert_array_equal(reference.scores(p.X, p.W, p.b), wide)
        assert p.b.any()


def test_relative_error():
    assert relative_error(2.0, 2.0) == 0
    assert relative_error((1.0, np.array([0.0, 4.0])), (1.0, np.array([1.0, 4.0]))) == 0.25
    assert np.isnan(relative_error((np.nan, 1.0), (1.0, 1.0)))
    assert np.isnan(relative_error((1.0, np.array([np.nan])), (1.0, np.ones(1))))
    assert relative_error(np.ones((3, 1)), np.ones(3)) == np.inf
    assert relative_error(np.zeros(2), np.zeros(2)) == 0
    assert relative_error(np.array([1e-9, 0]), np.zeros(2)) == np.inf


@pytest.mark.parametrize("n_classes", [1, 2, 5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", PEERS)
def test_peers_agree_with_the_reference(name, dtype, n_classes):
    peer = PEERS[name]
    if find_spec(peer.module) is None:
        pytest.skip(f"{peer.label} is not installed")
    p = dense_problem(Shape(150, 9, n_classes), dtype)
    n_measured = 0
    n_threads = _core.info()["threads"]
    with peer.session(n_threads):
        for loss in ("cross_entropy", "hinge", "squared_hinge", "crammer_singer"):
            if loss == "crammer_singer" and n_classes == 1:
                continue
            call = peer.prepare(p, loss, n_threads)
            if call is None:
                continue
            expected = tuple(reference.loss_and_grad(p.X, p.y, p.W, p.b, loss=loss))
            assert relative_error(call.answer(call.run()), expected) < TOLERANCE[dtype]
            n_measured += 1
    assert n_measured >= 1


def test_scikit_learn_without_its_private_class_is_left_out(run, monkeypatch):
    monkeypatch.delattr("sklearn.linear_model._linear_loss.LinearModelLoss")
    code, out, _ = run(*TINY, "--peers", "sklearn", "--json")
    assert code == OK
    found = json.loads(out)
    assert found["peers"] == {}
    assert "scikit-learn is left out: its loss is a private class and has changed" in found["notes"][0]


def test_jax_cannot_be_held_to_fewer_threads():
    with pytest.raises(PeerUnavailableError, match="cannot be held to 1000"):
        PEERS["jax"].session(1000).__enter__()


# -- limits and multiples ------------------------------------------------------------------------------------


def measurement(case, bandwidths, peaks, ours, peers=()):
    samples = tuple(zip(bandwidths, peaks, strict=True))
    limits = Limits("best", {"best": samples, "old": tuple((b, p / 4) for b, p in samples)})
    timings = {isa: Timing(tuple(seconds), 0.0) for isa, seconds in ours.items()}
    return Measurement(
        case, limits, timings, {name: Timing(tuple(s), 0.0) for name, s in dict(peers).items()}
    )


def test_limits_by_hand():
    case = Case(Shape(1000, 10, 4), "float32", "hinge")
    assert (case.n_bytes, case.n_operations, case.intensity) == (40_000, 160_000, 4)
    # 40000 bytes at 4e7 a second take 1 ms, 160000 operations at 8e8 a second 0.2 ms
    m = measurement(case, [1e7, 4e7, 9e7], [8e8, 8e8, 8e8], {"best": [9, 2e-3, 1e-3], "old": [4e-3]})
    assert m.limit() == pytest.approx(1e-3)
    assert m.is_memory_bound
    assert m.multiple(m.ours["best"]) == pytest.approx(2)
    assert m.lead("best") is None
    # at a quarter of 4e8 operations a second they take 1.6 ms
    m = measurement(case, [4e7], [4e8], {"best": [2e-3], "old": [4e-3]}, {"a": [8e-3], "b": [6e-3]})
    assert m.limit("old") == pytest.approx(1.6e-3)
    assert m.multiple(m.ours["old"], "old") == pytest.approx(2.5)
    assert m.lead("best") == pytest.approx(3)
    fast_memory = replace(m, limits=Limits("best", {"best": ((1e12, 4e8),)}))
    assert not fast_memory.is_memory_bound
    assert fast_memory.limit() == pytest.approx(0.4e-3)


def hand_made(isas=("best",), peers=("numpy", "jax"), dtypes=("float32", "uint8", "float64")):
    """A benchmark of three shapes whose multiples are 1.5, 2 and 3 at the best level."""
    shapes = (Shape(4000, 64, 2), Shape(2000, 784, 10), Shape(1000, 256, 100))
    losses = ("cross_entropy", "hinge")
    measured = []
    for dtype in dtypes:
        for shape, multiple in zip(shapes, (1.5, 2.0, 3.0), strict=True):
            for loss in losses:
                case = Case(shape, dtype, loss)
                limit = max(case.n_bytes / BANDWIDTH, case.n_operations / PEAK)
                ours = {isa: [limit * multiple * 2**k] for k, isa in enumerate(isas)}
                theirs = {name: [limit * multiple * (3 + k)] for k, name in enumerate(peers)}
                measured.append(measurement(case, [BANDWIDTH], [PEAK], ours, theirs))
    settings = Settings(shapes, dtypes, losses, peers, 2, isas)
    return bench.Benchmark(
        settings=settings,
        machine={"cpu": "A CPU (R) $x$", "core": {}},
        best_isa="best",
        versions=dict.fromkeys(peers, "1.0"),
        measurements=tuple(measured),
        skipped=(Skipped(Shape(10**9, 10, 2), "float32", "needs 37.3 GiB, more than half of the 8.0 GiB"),),
    )


def test_summary():
    found = hand_made()
    summary = found.summary("best")
    assert summary.geometric_mean == pytest.approx(9 ** (1 / 3))
    assert summary.maximum == pytest.approx(3)
    assert str(summary.slowest) == "1000x256x100 float32 cross_entropy"
    assert (summary.least_lead, summary.most_lead) == (pytest.approx(3), pytest.approx(3))
    assert "geometric mean 2.08 x the limit, maximum 3.00 x" in bench_report.verdict(summary)
    with pytest.raises(ValueError, match="nothing was measured"):
        replace(found, measurements=()).summary("best")


# -- the run -------------------------------------------------------------------------------------------------


def times(**more):
    return {
        "seconds": float,
        "multiple": float,
        "gflops": float,
        "error": float,
        "samples": [float],
        **more,
    }


SIZE = {"n_samples": int, "n_features": int, "n_classes": int, "storage": str}
JSON = {
    "schema": int,
    "regcore": str,
    "machine": {"cpu": str, "n_cpus": int, "platform": str, "python": str, "core": dict},
    "peers": dict,
    "settings": {"n_threads": int, "isas": [str], "repeats": int, "quick": bool},
    "limits": {
        "best_isa": str,
        "bandwidth": float,
        "bandwidth_range": [float],
        "peaks": [{"dtype": str, "isa": str, "peak": float}],
    },
    "results": [
        {
            **SIZE,
            "dtype": str,
            "loss": str,
            "bytes": int,
            "operations": int,
            "intensity": float,
            "limit": float,
            "memory_bound": bool,
            "bandwidth": float,
            "peak": float,
            "bandwidth_samples": [float],
            "peak_samples": [float],
            "regcore": [times(isa=str, multiple_of_level=float, lead=(float, type(None)))],
            "peers": [times(name=str)],
        }
    ],
    "skipped": [{**SIZE, "reason": str}],
    "summary": [
        {
            "isa": str,
            "geometric_mean": float,
            "maximum": float,
            "slowest": str,
            "least_lead": (float, type(None)),
            "most_lead": (float, type(None)),
            "geometric_mean_of_level": float,
            "maximum_of_level": float,
        }
    ],
    "notes": [str],
}


def test_json(run):
    code, out, err = run(
        "--shapes", "70x5x3,41x7x1", "--dtypes", "float32,uint8,float64", "--repeats", "2", "--json",
        "--threads", "1", "--losses", "cross_entropy,squared_hinge", "--peers", "numpy,sklearn",
    )  # fmt: skip
    assert (code, err) == (OK, "")
    found = json.loads(out)
    check_shape(found, {**JSON, "peers": {"numpy": str, "sklearn": str}})
    assert found["schema"] == 1
    assert found["settings"] == {
        "n_threads": 1,
        "isas": [_core.info()["isa"]],
        "repeats": 2,
        "quick": False,
    }
    assert len(found["results"]) == 2 * 3 * 2
    for result in found["results"]:
        itemsize = {"float32": 4, "float64": 8, "uint8": 1}[result["storage"]]
        assert result["dtype"] == ("float64" if result["storage"] == "float64" else "float32")
        assert result["bytes"] == result["n_samples"] * result["n_features"] * itemsize
        limit = max(result["bytes"] / BANDWIDTH, result["operations"] / PEAK)
        assert result["limit"] == pytest.approx(limit)
        for one in [*result["regcore"], *result["peers"]]:
            assert one["seconds"] == np.median(one["samples"])
            assert one["multiple"] == pytest.approx(one["seconds"] / limit)
            assert one["error"] <= TOLERANCE[result["dtype"]]
        names = [peer["name"] for peer in result["peers"]]
        assert names == (["numpy", "sklearn"] if result["loss"] == "cross_entropy" else ["numpy"])
        assert len(result["regcore"][0]["samples"]) == 2 * len(names)  # one turn for each of a peer's
        assert result["peers"][0]["samples"] != result["regcore"][0]["samples"]
    multiples = [result["regcore"][0]["multiple"] for result in found["results"]]
    assert found["summary"][0]["geometric_mean"] == pytest.approx(np.exp(np.log(multiples).mean()))
    assert found["summary"][0]["maximum"] == max(multiples)


def test_without_peers(run):
    code, out, err = run(*TINY, "--peers", "none", "--json")
    assert (code, err) == (OK, "")
    found = json.loads(out)
    check_shape(found, {**JSON, "peers": {}})
    assert found["peers"] == {}
    assert [result["peers"] for result in found["results"]] == [[]] * 4
    assert found["summary"][0]["least_lead"] is None


def test_turns_alternate(run, inject, monkeypatch):
    order = []
    evaluate = Objective.value_and_grad

    def ours(self, *arguments, **more):
        order.append("we")
        return evaluate(self, *arguments, **more)

    monkeypatch.setattr(Objective, "value_and_grad", ours)
    monkeypatch.setattr(bench, "_WARM_SECONDS", 0)  # no calls that do not count
    for name in ("torch", "jax"):
        inject(FakePeer(on_run=lambda name=name: order.append(name)), name)
    monkeypatch.setattr(_core, "measure_limits", lambda *_: order.append("limits") or (BANDWIDTH, PEAK))
    argv = ("--shapes", "70x5x3", "--dtypes", "float32", "--losses", "hinge", "--threads", "1", "--json")
    code, _, _ = run(*argv, "--peers", "torch,jax", "--repeats", "2")
    assert code == OK
    check = ["we", "torch", "jax"]
    assert order == check + 2 * ["limits", "we", "torch", "limits", "we", "jax"]
    order.clear()
    run(*argv, "--peers", "torch,jax", "--repeats", "2", "--quick")
    assert order == check + 2 * ["limits", "we", "torch", "we", "jax"]


def test_pauses_follow_peers(run, inject, monkeypatch):
    order = []
    inject(FakePeer(on_run=lambda: order.append("peer")))
    monkeypatch.setattr(bench, "_WARM_SECONDS", 0)
    monkeypatch.setattr(bench, "SETTLE_SECONDS", 0.3)
    monkeypatch.setattr("time.sleep", order.append)
    argv = ("--shapes", "70x5x3", "--dtypes", "float32", "--losses", "hinge", "--threads", "1", "--json")
    run(*argv, "--peers", "torch", "--repeats", "2")
    assert order == ["peer", 0.3, 0, "peer", 0.3, 0, "peer"]
    order.clear()
    run(*argv, "--peers", "none", "--repeats", "2")
    assert order == [0, 0]


def test_slow_peers_have_fewer_turns(run, inject, monkeypatch):
    runs = []
    inject(FakePeer(on_run=lambda: runs.append(1)))
    monkeypatch.setattr(bench, "_WARM_SECONDS", 0)
    monkeypatch.setattr(bench, "_SLOW_SECONDS", 0)
    argv = ("--shapes", "70x5x3", "--dtypes", "float32", "--losses", "hinge", "--threads", "1", "--json")
    code, out, _ = run(*argv, "--peers", "torch", "--repeats", "9")
    assert code == OK
    assert len(runs) == 1 + 3
    (result,) = json.loads(out)["results"]
    assert len(result["peers"][0]["samples"]) == 3
    assert len(result["regcore"][0]["samples"]) == 9


def off_by(relative):
    def flaw(answer):
        value, grad_W, grad_b = answer
        grad_W = grad_W.copy()
        grad_W[-1, -1] += relative * np.abs(grad_W).max()
        return value, grad_W, grad_b

    return flaw


@pytest.mark.parametrize(
    "flaw",
    [
        off_by(1e-2),
        off_by(np.nan),
        lambda answer: (answer[0] * 1.01, *answer[1:]),
        lambda answer: (answer[0], answer[1], answer[2] + 1),
        lambda answer: (answer[0], answer[1].T, answer[2]),
    ],
    ids=["entry", "nan", "value", "intercepts", "shape"],
)
def test_a_peer_that_disagrees_stops_the_run(run, inject, tmp_path, flaw):
    inject(FakePeer(flaw))
    argv = (*TINY, "--losses", "hinge", "--peers", "numpy,torch", "--json", "--save", tmp_path / "p.png")
    check_complaint(
        *run(*argv),
        FAILURE,
        "Fake disagrees with the NumPy reference at 70x5x3 float32 hinge",
        "allowed 0.001",
    )
    assert list(tmp_path.iterdir()) == []


def test_rounding_is_no_disagreement(run, inject):
    inject(FakePeer(off_by(1e-5)))
    code, out, _ = run(*TINY, "--dtypes", "float32", "--losses", "hinge", "--peers", "torch", "--json")
    assert code == OK
    assert json.loads(out)["results"][0]["peers"][0]["error"] == pytest.approx(1e-5, rel=0.2)
    check_complaint(
        *run(*TINY, "--dtypes", "float64", "--losses", "hinge", "--peers", "torch"), FAILURE, "allowed 1e-10"
    )


def test_our_own_disagreement_stops_the_run(run, monkeypatch):
    evaluate = Objective.value_and_grad

    def wrong(self, *arguments, **more):
        found = evaluate(self, *arguments, **more)
        return found._replace(value=found.value * (1 + 1e-4))

    monkeypatch.setattr(Objective, "value_and_grad", wrong)
    isa = _core.info()["isa"]
    check_complaint(*run(*TINY, "--peers", "none"), FAILURE, f"regcore at {isa} disagrees", "70x5x3 float32")


def test_peers_that_are_not_there(run, inject, monkeypatch):
    missing = FakePeer()
    missing.module = "a_module_that_nobody_has"
    inject(missing)
    refusing = FakePeer()
    refusing.session = lambda n_threads: (_ for _ in ()).throw(PeerUnavailableError("it has a cold"))
    inject(refusing, "jax")
    code, out, _ = run(*TINY, "--peers", "torch,jax", "--json")
    assert code == OK
    assert json.loads(out)["notes"] == ["Fake is not installed", "Fake is left out: it has a cold"]


def test_peers_get_the_type_of_the_computation(run, inject):
    peer = inject(FakePeer())
    native = inject(FakePeer(), "numpy")
    native.reads_storage = True
    code, _, _ = run(*TINY, "--dtypes", "uint8,float64", "--losses", "hinge", "--peers", "numpy,torch")
    assert code == OK
    assert [p.X.dtype.name for p in native.seen] == ["uint8", "float64"]
    assert [p.X.dtype.name for p in peer.seen] == ["float32", "float64"]
    np.testing.assert_array_equal(peer.seen[0].X, native.seen[0].X)


def test_a_loss_that_a_peer_lacks(run, inject):
    inject(FakePeer(losses=("cross_entropy",)))
    code, out, err = run(*TINY, "--peers", "torch", "--dtypes", "float32")
    assert (code, err) == (OK, "")
    rows = [line.split() for line in out.splitlines() if "70x5x3" in line]
    assert rows[1][0] == "float32"
    assert rows[1][-2:] == ["-", "-"]
    assert rows[0][-1] != "-"


# -- CPU levels ----------------------------------------------------------------------------------------------


def test_every_level(run, monkeypatch):
    before = _core.info()["isa"]
    seen = []
    evaluate = Objective.value_and_grad

    def watch(self, *arguments, **more):
        seen.append(_core.info()["isa"])
        return evaluate(self, *arguments, **more)

    monkeypatch.setattr(Objective, "value_and_grad", watch)
    available = _core.available_isas()
    code, out, _ = run(*TINY, "--peers", "none", "--isa", "all", "--json")
    assert code == OK
    found = json.loads(out)
    assert found["settings"]["isas"] == available
    assert {one["isa"] for one in found["limits"]["peaks"]} == set(available)
    for result in found["results"]:
        assert [one["isa"] for one in result["regcore"]] == available
    assert [one["isa"] for one in found["summary"]] == available
    assert set(seen) == set(available)
    assert _core.info()["isa"] == before
    _, out, _ = run(*TINY, "--peers", "none", "--isa", available[-1], "--json")
    assert json.loads(out)["settings"]["isas"] == available[-1:]
    assert _core.info()["isa"] == before


def test_multiples_of_a_level_count_against_its_own_peak(run, monkeypatch):
    best, *others = _core.available_isas()
    if not others:
        pytest.skip("one CPU level only")

    def limits(dtype, n_threads):
        return 1e30, PEAK if _core.info()["isa"] == best else PEAK / 8

    monkeypatch.setattr(_core, "measure_limits", limits)
    _, out, _ = run(*TINY, "--peers", "none", "--isa", others[0], "--json")
    (ours,) = json.loads(out)["results"][0]["regcore"]
    assert ours["multiple"] == pytest.approx(8 * ours["multiple_of_level"])
    _, out, _ = run(*TINY, "--peers", "none", "--isa", others[0])
    assert "of level" in out
    assert f"level {others[0]}: {PEAK / 8e9:.0f} GFLOP/s in float32" in out


def test_interrupt_selects_the_level_of_before(run, inject):
    def press():
        raise KeyboardInterrupt

    inject(FakePeer(on_run=press))
    before = _core.info()["isa"]
    argv = (*TINY, "--peers", "torch", "--isa", _core.available_isas()[-1])
    check_complaint(*run(*argv), INTERRUPTED, "interrupted")
    assert _core.info()["isa"] == before


# -- memory --------------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_left_out_and_named(run, monkeypatch):
    monkeypatch.setattr(bench, "available_memory", lambda: 40_000)
    argv = ("--shapes", "70x5x3,2000x50x3", "--repeats", "1", "--peers", "none", "--dtypes", "float32")
    code, out, _ = run(*argv)
    assert code == OK
    assert "2000x50x3 float32 is left out: it needs 0.0 GiB, more than half of the 0.0 GiB available" in out
    code, out, _ = run(*argv, "--json")
    found = json.loads(out)
    check_shape(found, {**JSON, "peers": {}})
    assert [one["n_samples"] for one in found["skipped"]] == [2000]
    assert {one["n_samples"] for one in found["results"]} == {70}
    monkeypatch.setattr(bench, "available_memory", lambda: 10)
    check_complaint(*run(*argv), FAILURE, "nothing was measured", "70x5x3 float32 needs")


def test_needed_memory():
    shape = Shape(1000, 100, 50)
    X = 400_000
    assert bench.needed_memory(shape, "float32", ()) == X + 100_000  # made of int8
    assert bench.needed_memory(shape, "float32", ("numpy",)) == X + 100_000
    assert bench.needed_memory(shape, "float32", ("torch",)) == X + 4 * 50_000 * 4
    assert bench.needed_memory(shape, "float32", ("torch", "jax")) == 2 * X + 4 * 50_000 * 4
    assert bench.needed_memory(shape, "uint8", ("jax",)) == 100_000 + 2 * X + 4 * 50_000 * 4
    found = bench.available_memory()
    assert found is None or found > 0


# -- showing -------------------------------------------------------------------------------------------------


def test_table(run):
    code, out, err = run(*TINY, "--peers", "numpy,sklearn")
    assert (code, err) == (OK, "")
    lines = out.splitlines()
    assert "regcore bench" in lines[1]
    assert "1 thread" in lines[1]
    assert lines[2].startswith("limits: 40.0 GB/s read, 500 GFLOP/s in float32, 500 GFLOP/s in float64")
    assert sum("70x5x3" in line and "regcore at" not in line for line in lines) == 4
    assert lines[-1].startswith(f"regcore at {_core.info()['isa']}: geometric mean ")
    assert " x the limit, maximum " in lines[-1]
    assert max(len(line) for line in lines[:-1]) <= 120


def test_quick_says_that_its_figures_are_none_to_quote(run):
    argv = ("--quick", "--peers", "numpy", "--dtypes", "float32", "--losses", "hinge")
    code, out, _ = run(*argv)
    assert code == OK
    assert "no figures to quote" in out
    assert "4000x64x2" in out
    _, out, _ = run(*argv, "--json")
    assert json.loads(out)["settings"]["quick"] is True


def test_drifting_bandwidth_is_shown():
    found = hand_made()
    assert bench_report.bandwidth_line(found) == "40.0 GB/s"
    slower = replace(found.measurements[0], limits=Limits("best", {"best": ((20e9, PEAK),)}))
    drifted = replace(found, measurements=(slower, *found.measurements[1:]))
    assert bench_report.bandwidth_line(drifted) == "40.0 GB/s (20.0 to 40.0 from case to case)"


@pytest.mark.parametrize(
    "found",
    [
        hand_made(),
        hand_made(dtypes=("float64",), peers=()),
        hand_made(isas=("best", "old")),
        hand_made(isas=("old",), dtypes=("uint8",)),
    ],
    ids=["peers", "alone", "levels", "another level"],
)
def test_picture(tmp_path, found):
    path = tmp_path / "roofline.png"
    roofline.save(path, found)
    assert [one.name for one in tmp_path.iterdir()] == ["roofline.png"]
    with Image.open(path) as image:
        assert image.size[0] == 1800
        assert len(image.convert("RGB").getcolors(1 << 20)) > 50


def test_points_of_the_picture_stand_where_they_were_measured():
    found = hand_made(peers=("numpy",), dtypes=("float32",))
    figure = roofline.draw(found)
    roof = figure.axes[0]
    dots = [one for one in roof.collections if isinstance(one, PathCollection)]
    offsets = np.array([one.get_offsets()[0] for one in dots])
    ours, theirs = offsets[::2], offsets[1::2]
    for m, (x, y), (peer_x, peer_y) in zip(found.measurements, ours, theirs, strict=True):
        assert x == pytest.approx(m.case.intensity)
        assert y == pytest.approx(m.case.n_operations / m.ours["best"].median / 1e9)
        assert y <= min(x * BANDWIDTH, PEAK) / 1e9
        assert peer_x > x
        assert peer_y == pytest.approx(y / 3)


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [
        (OSError(28, "No space left on device"), FAILURE, "cannot be written (No space left on device)"),
        (KeyboardInterrupt(), INTERRUPTED, "interrupted"),
    ],
)
def test_no_picture_is_left_half_written(run, tmp_path, monkeypatch, error, code, word):
    (tmp_path / "p.png").write_bytes(b"what was there")

    def write_half(self, file, **options):
        file.write(b"\x89PNG half")
        raise error

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", write_half)
    found, out, err = run(*TINY, "--peers", "none", "--save", tmp_path / "p.png")
    check_complaint(found, "", err, code, word)
    assert "geometric mean" in out  # the table is not lost
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]
    assert (tmp_path / "p.png").read_bytes() == b"what was there"


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (("--shapes", "60000x784"), "60000x784x10"),
        (("--shapes", "0x784x10"), "60000x784x10"),
        (("--shapes", ","), "60000x784x10"),
        (("--dtypes", "float128"), "float16"),
        (("--dtypes", ""), "float16"),
        (("--losses", "log"), "cross_entropy"),
        (("--peers", "tensorflow"), "sklearn"),
        (("--peers", "all,none"), "sklearn"),
        (("--threads", "0"), "at least 1"),
        (("--repeats", "-1"), "at least 1"),
        (("--isa", "sparc"), "this machine has"),
        (("--isa", "all,plain"), "this machine has"),
        (("--save", "roofline.jpg"), ".png"),
        (("--save", "no/such/folder/p.png"), "no folder"),
        (("--shapes", "9x9x1", "--losses", "crammer_singer"), "no binary form"),
        (("--rep", "3"), "--rep"),
        (("data",), "data"),
    ],
)
def test_wrong_usage(run, argv, word):
    check_complaint(*run(*argv), USAGE, word)


def test_help(run):
    code, out, _ = run("--help")
    assert code == OK
    for word in ("0.3 s", "max( bytes of X / bandwidth", "exit codes:", "half of the", "few pauses"):
        assert word in " ".join(out.split())


def test_default_shapes(monkeypatch):
    seen = []
    monkeypatch.setattr(bench, "run", lambda settings, **more: seen.append(settings) or hand_made())
    assert main(["bench", "--quiet"]) == OK
    (settings,) = seen
    assert settings.shapes == DENSE_SHAPES
    assert len(settings.shapes) == 8
    assert settings.dtypes == ("float32", "float64")
    assert settings.losses == ("cross_entropy", "hinge")
    assert settings.n_threads == _core.info()["threads"]


def test_limits_are_measured_by_the_core(monkeypatch):
    monkeypatch.undo()
    bandwidth, peak = _core.measure_limits("float32", 1)
    assert bandwidth > 1e8
    assert peak > 1e8
