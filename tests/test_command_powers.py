"""Roots of the features: what they are, when they are tried, and that a model remembers them."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("rich")

from scipy import sparse

from regcore.command import main
from regcore.command.data import Dataset, load
from regcore.command.models import load as load_model
from regcore.command.powers import powers_to_try, search_powers
from regcore.command.scaling import Scaling, apply_constant, choose_scaling, fit_scaling, largest_deviation
from regcore.command.search import SearchSettings, expected_accuracy, search

OK, USAGE = 0, 2


def run(*words):
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(word) for word in words])
    return code, out.getvalue(), err.getvalue()


def histograms(n_samples=240, seed=0):
    """Rows of length 1 whose classes differ by factors of small shares, beside a few large ones."""
    rng = np.random.default_rng(seed)
    y = (np.arange(n_samples) % 2).astype(np.int32)
    X = np.exp(2.0 * rng.standard_normal((n_samples, 12)))
    X[:, :4] *= 50
    X[y == 0, 4:8] *= 4
    X[y == 1, 8:] *= 4
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return X.astype(np.float32), y


@pytest.fixture(scope="module")
def data():
    X, y = histograms()
    return Dataset(name="histograms", X=X, y=y, classes=("a", "b"), features="shares")


@pytest.fixture
def archive(data, tmp_path):
    np.savez(tmp_path / "h.npz", X=data.X, y=data.y)
    return tmp_path / "h.npz"


QUICK = SearchSettings(penalties=("l1", "l2"), n_alphas=4, n_folds=3)


# -- scaling -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [1.0, 0.5, 0.25, 0.7])
@pytest.mark.parametrize("form", ["fractions", "bytes", "float64", "table", "sparse", "counts"])
def test_values_are_raised_after_a_constant_and_before_all_else(form, power):
    rng = np.random.default_rng(0)
    X = {
        "fractions": rng.random((40, 6), dtype=np.float32),
        "bytes": rng.integers(0, 256, (40, 6), dtype=np.uint8),
        "float64": rng.random((40, 6)),
        "table": rng.random((40, 6)) * 1000,
        "sparse": sparse.csr_array(rng.random((40, 6)) * (rng.random((40, 6)) < 0.4)),
        "counts": sparse.csr_array(rng.poisson(0.6, (40, 6)).astype(float)),
    }[form]
    before = X.copy()
    scaling = choose_scaling(X, power)
    assert scaling.power == power
    assert (scaling.kind, scaling.divisor) == (choose_scaling(X).kind, choose_scaling(X).divisor)
    found = apply_constant(X, scaling)
    plain = X.toarray() if sparse.issparse(X) else X
    expected = (plain.astype(float) / scaling.divisor) ** power
    dense = found.toarray() if sparse.issparse(found) else found
    np.testing.assert_allclose(dense, expected, rtol=1e-6)
    if scaling.kind != "standardise":
        assert dense.dtype == np.float32
    after = fit_scaling(found, scaling).apply(found)
    after = after.toarray() if sparse.issparse(after) else after
    assert largest_deviation(X, scaling) == pytest.approx(after.std(axis=0).max(), rel=1e-4)
    assert abs(X - before).max() == 0  # the user's array stays as it is


def test_scalings_in_words():
    assert Scaling("none").describe() == "used as they are"
    assert Scaling("none", power=0.5).describe() == "square roots"
    assert Scaling("divide", 255.0, 0.25).describe() == "divided by 255, then fourth roots"
    assert Scaling("standardise", power=0.7).describe().startswith("powers of 0.7, then standardised")


def test_negative_values_have_no_roots():
    X = np.array([[0.5, -0.5], [0.25, 0.1]], np.float32)
    with pytest.raises(ValueError, match=r"power 0\.5 needs values that are not negative"):
        choose_scaling(X, 0.5)
    assert choose_scaling(X) == Scaling("none")


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        (np.array([[0, 0.5], [1, 0.2]], np.float32), (1.0, 0.5, 0.25)),
        (sparse.csr_array(np.array([[0, 0.5], [1, 0]])), (1.0,)),  # tf-idf, whose roots undo it
        (np.array([[0, 1], [1, 0]], np.float32), (1.0,)),  # their own roots
        (np.array([[-0.1, 0.5]]), (1.0,)),
        (np.array([[0.5, 1.5]]), (1.0,)),
        (np.array([[0, 255]], np.uint8), (1.0,)),
        (sparse.csr_array((2, 2)), (1.0,)),
    ],
)
def test_powers_that_are_tried_of_themselves(X, expected):
    assert powers_to_try(X) == expected


# -- the search ----------------------------------------------------------------------------------------------


def test_the_best_power_wins_and_all_are_judged(data):
    calls = []
    found = search_powers(data, QUICK, progress=lambda *at: calls.append(at))
    by_power = {
        p: search(data, SearchSettings(("l2",), n_alphas=4, n_folds=3, power=p)) for p in (1, 0.5, 0.25)
    }
    best = max(by_power, key=lambda p: by_power[p].accuracy.max())
    assert best != 1
    assert found.settings.power == best
    assert found.settings.penalties == ("l1", "l2")
    assert [candidate.penalty for candidate in found.candidates] == ["l1"] * 4 + ["l2"] * 4
    np.testing.assert_array_equal(found.predicted[4:], by_power[best].predicted)
    l1 = search(data, SearchSettings(("l1",), n_alphas=4, n_folds=3, power=best))
    np.testing.assert_array_equal(found.predicted[:4], l1.predicted)
    assert sorted(one.settings.power for one in found.others) == sorted({1, 0.5, 0.25} - {best})
    for one in found.others:
        np.testing.assert_array_equal(one.predicted, by_power[one.settings.power].predicted)
    # The winner is best of all; what is expected of it knows of the others.
    assert all(found.accuracy.max() >= one.accuracy.max() for one in found.others)
    assert expected_accuracy(found).mean <= found.accuracy.max() + 0.01
    done = [n_done for n_done, _, _ in calls]
    assert done == sorted(done)
    assert {n_total for _, n_total, _ in calls} == {4 * 4 * 3}
    assert done[-1] == 4 * 4 * 3


def test_one_power_is_one_search(data):
    found = search_powers(data, QUICK, (0.5,))
    assert found.others == ()
    assert found.settings.power == 0.5
    assert len(found.candidates) == 8


def test_without_l2_the_first_penalty_decides(data):
    found = search_powers(data, SearchSettings(("elasticnet", "l1"), n_alphas=3, n_folds=3), (1.0, 0.5))
    assert {candidate.penalty for candidate in found.others[0].candidates} == {"elasticnet"}
    assert [candidate.penalty for candidate in found.candidates] == ["elasticnet"] * 3 + ["l1"] * 3


# -- the command ---------------------------------------------------------------------------------------------


def test_a_model_remembers_the_power(archive, data, tmp_path):
    path = tmp_path / "h.model"
    quick = ("--strengths", "4", "--folds", "3", "--penalties", "l1,l2")
    code, text, _ = run("tune", archive, *quick, "-o", path, "--quiet")
    assert code == OK
    assert "roots (l2:" in text
    assert "as they are:" in text
    model = load_model(str(path))
    assert model.fitted.scaling.scaling.power < 1
    assert model.facts["power"] == model.fitted.scaling.scaling.power
    W, b = model.fitted.W[0].astype(float), float(model.fitted.b[0])
    expected = data.X.astype(float) ** model.facts["power"] @ W + b
    np.testing.assert_allclose(model.scores(data.X)[:, 1] * 2, expected, rtol=1e-4, atol=1e-5)
    answer = json.loads(run("predict", path, archive, "--json", "--quiet")[1])
    assert [one["predicted"] for one in answer["samples"]] == ["01"[int(s > 0)] for s in expected]


def test_powers_of_ones_own(archive):
    found = json.loads(
        run("tune", archive, "--powers", "1,0.7", "--strengths", "3", "--folds", "2", "--json", "--quiet")[1]
    )
    assert {candidate["power"] for candidate in found["candidates"]} == {1.0, 0.7}
    assert found["settings"]["power"] in (1.0, 0.7)
    text = run("compare", archive, "--power", "0.5", "--seeds", "2", "--epochs", "3", "--quiet")[1]
    assert "square roots" in " ".join(text.split())


@pytest.mark.parametrize("command", [("compare", "--power", "0.5"), ("tune", "--powers", "1,0.5")])
def test_roots_of_negative_numbers_are_refused(command, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "n.npz", X=rng.normal(size=(20, 3)), y=np.arange(20) % 2)
    code, out, err = run(command[0], tmp_path / "n.npz", *command[1:], "--quiet")
    assert (code, out) == (USAGE, "")
    assert f"{command[1]}: " in err
    assert "have no roots; give 1" in err


@pytest.mark.parametrize("wrong", ["0", "-1", "2", "x", ","])
def test_powers_that_are_refused(wrong):
    assert run("tune", "--powers", wrong)[0] == USAGE


def test_report_compares_under_the_power_that_won(archive, tmp_path):
    pytest.importorskip("jinja2")
    page = tmp_path / "h.html"
    few = ("--seeds", "2", "--epochs", "3", "--strengths", "3", "--folds", "2")
    assert run("report", archive, "-o", page, *few, "--quiet")[0] == OK
    text = page.read_text(encoding="utf-8")
    power = load(str(archive))
    found = search_powers(power, SearchSettings(n_alphas=3, n_folds=2))
    assert Scaling("none", power=found.settings.power).describe() in text
