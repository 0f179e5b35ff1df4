"""The commands ``convergence.py`` and ``pairs.py``: that they count right, and write what they promise."""

from __future__ import annotations

import json
import sys

import convergence
import numpy as np
import pairs
import pytest
from certificates import WatchedObjective, certificate
from convergence_curves import Curve, fits_with_growing_budgets, seconds_to
from convergence_report import TaskReport, markdown, write_json
from convergence_report import read_reports as read

import regcore

OPTIMUM = 2.0


def curve(name, seconds, distances, **more):
    return Curve(name, list(seconds), [OPTIMUM * (1 + distance) for distance in distances], **more)


def report_of(*curves):
    definition = {"asked": 3, "n_samples": 10, "n_features": 2, "alpha": 1e-3, "l1_ratio": 0}
    return TaskReport("some", "Some task", definition, OPTIMUM, list(curves))


def test_seconds_to_a_level():
    # the logarithm of the distance falls by as much as that of the seconds rises
    seconds, distances = [1.0, 10.0, 100.0], [1e-1, 1e-2, 1e-4]
    assert seconds_to(1e-1, seconds, distances) == 1
    assert seconds_to(1e-2, seconds, distances) == pytest.approx(10)
    assert seconds_to(1e-3, seconds, distances) == pytest.approx(10**1.5)
    assert seconds_to(1e-5, seconds, distances) is None
    # one that is worse than those before it, or no number, changes nothing
    for worse in (0.5, np.inf, np.nan):
        assert seconds_to(1e-3, [*seconds, 20.0], [*distances, worse]) == pytest.approx(10**1.5)
    # an optimum that is not exact
    assert seconds_to(1e-3, [1.0, 2.0], [1e-2, -1e-12]) == 2


def test_budgets_grow_until_the_cap_or_the_end(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("convergence_curves.time.perf_counter", lambda: clock[0])

    def fit(budget):
        clock[0] += budget
        return np.full((1, 2), budget), np.zeros(1), budget >= 64

    points = list(fits_with_growing_budgets(fit, cap=20))
    assert [point.seconds for point in points] == [1, 2, 4, 8]  # 15 of 20; the next takes 16
    points = list(fits_with_growing_budgets(fit, cap=1e9, first=4))
    assert [point.W[0, 0] for point in points] == [4, 8, 16, 32, 64]
    assert [point.is_last for point in points] == [False] * 4 + [True]


def test_ratios_and_their_bounds(tmp_path):
    ours = curve("ours", [1, 2], [1e-2, 1e-7], is_ours=True)
    slow = curve("slow", [1, 8], [1e-1, 1e-7])
    report = report_of(ours, slow)
    seconds = [
        seconds_to(1e-4, *points) for points in ((ours.seconds, [1e-2, 1e-7]), (slow.seconds, [1e-1, 1e-7]))
    ]
    ratio, exact = report.ratio(1e-4)
    assert exact
    assert ratio == pytest.approx(seconds[1] / seconds[0])
    # a peer that was stopped at 2 s might have come there a moment later, but one that gave up would not
    stopped, ended = curve("stopped", [2], [1e-2], was_cut=True), curve("ended", [1], [1e-2])
    report = report_of(ours, slow, stopped, ended)
    assert report.ratio(1e-4) == (pytest.approx(2 / seconds[0]), False)
    assert report.ratio(1.5e-2) == (1, True)
    assert report_of(ours).ratio(1.5e-2) is None
    write_json(report, tmp_path)
    (again,) = read(tmp_path, ["some", "other"])
    assert again == report
    text = markdown([again])
    assert "| Some task | 3 | > " in text
    assert "| stopped | > 2 | > 2 |" in text
    assert "| ended | - |" in text


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("loss", ["cross_entropy", "hinge", "squared_hinge", "crammer_singer"])
@pytest.mark.parametrize("penalty", pairs.PENALTIES)
def test_certificates_by_numpy(loss, penalty, binary):
    if binary and loss == "crammer_singer":
        pytest.skip("there is no binary form")
    rng = np.random.default_rng(5)
    X = 3 + 2 * rng.standard_normal((200, 6))
    y = (X[:, 0] + 2 * rng.standard_normal(200) > 3).astype(int) + (0 if binary else (X[:, 1] > 4))
    chosen = pairs.penalty_of(penalty, 1e-2, 1 if binary else 3)
    objective = WatchedObjective(X, y, loss=loss, penalty=chosen, binary=binary, standardize=True)
    result = regcore.fit(objective, tol=1e-3, random_state=0, callbacks=objective.watch)
    assert result.converged
    found = certificate(objective, X, y, result)
    assert found.value == pytest.approx(result.value, rel=1e-9)
    if penalty == "none":
        assert found.residual <= 1.01e-3
    else:
        assert found.gap <= 1.01e-3
        assert found.gap == pytest.approx(result.dual_gap / result.value, rel=0.05, abs=1e-9)


def test_the_command_of_the_pictures(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    arguments = "--quick --seconds 0.3 --task golub-l1 --curve regcore"
    monkeypatch.setattr(sys, "argv", ["convergence", "-o", str(tmp_path), *arguments.split()])
    convergence.main()
    if "left out: no real data" in (said := capsys.readouterr().out):
        pytest.skip(said)
    assert (tmp_path / "golub-l1.png").stat().st_size > 10_000
    content = json.loads((tmp_path / "golub-l1.json").read_text())
    assert [c["name"] for c in content["curves"]] == [
        "regcore newton-cd float32",
        "regcore newton-cd float64",
    ]
    assert "| regcore newton-cd float64 |" in (tmp_path / "convergence.md").read_text()


def test_the_command_of_the_pairs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pairs", "-o", str(tmp_path), "--data", "dna", "--penalty", "l2"])
    pairs.main()
    if "left out: no real data" in (said := capsys.readouterr().out):
        pytest.skip(said)
    rows = json.loads((tmp_path / "pairs.json").read_text())
    assert [row["loss"] for row in rows] == list(pairs.LOSSES)
    assert all(row["converged"] and row["gap_by_numpy"] <= 1.1e-4 for row in rows)
    assert "All 4 converged." in (tmp_path / "pairs.md").read_text()
