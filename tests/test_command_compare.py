"""The experiment behind ``regcore compare``, with classifiers of known answers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import sparse, stats

from regcore import ConvergenceWarning
from regcore.command.compare import (
    PENALTIES,
    Comparison,
    Gap,
    LinearModel,
    PenaltyResult,
    Run,
    Settings,
    compare_penalties,
    default_alpha,
    paired_gaps,
    verdict,
)
from regcore.command.data import Dataset
from regcore.command.errors import CommandError, DataError, UsageError
from regcore.command.scaling import Scaling, apply_constant, apply_fitted, choose_scaling, largest_deviation
from regcore.command.splits import folds, split


class Recorder:
    """A classifier that remembers what it saw and answers what it was told."""

    def __init__(self, penalty, alpha, settings, seed):
        self.penalty, self.alpha, self.settings, self.seed = penalty, alpha, settings, seed
        self.scored = []

    def fit(self, X, y):
        self.X, self.y = X, y
        self.coef_ = np.ones((2, 4))
        if self.penalty == "l1":
            self.coef_[0, :3] = 0

    def score(self, X, y):
        self.scored.append((X, y))
        return 0.5 + 0.01 * self.seed + 0.001 * PENALTIES.index(self.penalty)


@pytest.fixture
def made():
    return []


@pytest.fixture
def factory(made):
    def make(*arguments):
        made.append(Recorder(*arguments))
        return made[-1]

    return make


def dataset(n_samples=40, n_features=3, X=None, y=None):
    rng = np.random.default_rng(0)
    if X is None:
        X = rng.normal(size=(n_samples, n_features)) * 3 + 7
    y = np.arange(len(range(X.shape[0])), dtype=np.int32) % 2 if y is None else y
    names = tuple(f"c{k}" for k in range(int(y.max()) + 1))
    return Dataset("made up", X, y, names, "columns")


def test_same_splits_for_all_penalties_and_new_ones_for_each_seed(made, factory):
    data = dataset()
    comparison = compare_penalties(data, Settings(n_seeds=3, alpha=0.25), factory=factory)
    assert [(c.penalty, c.seed) for c in made] == [(p, s) for s in range(3) for p in PENALTIES]
    for seed in range(3):
        of_seed = [c for c in made if c.seed == seed]
        for c in of_seed[1:]:
            assert c.X is of_seed[0].X
            assert c.y is of_seed[0].y
    assert not np.array_equal(made[0].X, made[4].X)
    assert (comparison.n_train, comparison.n_test) == (30, 10)
    for c in made:
        assert c.alpha == 0.25
        assert np.bincount(c.y).tolist() == [15, 15]
        (X_train, y_train), (X_test, y_test) = c.scored
        assert X_train is c.X
        assert y_train is c.y
        assert X_test.shape == (10, 3)
        assert np.bincount(y_test).tolist() == [5, 5]


def test_results(factory):
    comparison = compare_penalties(dataset(), Settings(n_seeds=2, alpha=0.25), factory=factory)
    assert [r.penalty for r in comparison.results] == list(PENALTIES)
    assert [r.alpha for r in comparison.results] == [None, 0.25, 0.25, 0.25]
    assert [r.l1_ratio for r in comparison.results] == [None, None, None, 0.5]
    l1 = comparison.results[1]
    assert [run.seed for run in l1.runs] == [0, 1]
    assert [run.test_accuracy for run in l1.runs] == pytest.approx([0.501, 0.511])
    assert l1.spread("test_accuracy").mean == pytest.approx(0.506)
    assert l1.spread("test_accuracy").sd == pytest.approx(0.01 / np.sqrt(2))
    assert l1.spread("zero_share").mean == 3 / 8
    assert all(run.seconds >= 0 for run in l1.runs)


def test_one_seed_has_no_spread(factory):
    comparison = compare_penalties(dataset(), Settings(n_seeds=1), factory=factory)
    assert comparison.results[0].spread("test_accuracy").sd is None
    assert comparison.gaps == ()
    assert "One seed" in verdict(comparison)


def test_split_is_stratified_and_depends_on_the_seed():
    y = np.repeat(np.arange(3, dtype=np.int32), [40, 20, 8])
    train, test = split(y, 0.25, 0)
    assert sorted([*train, *test]) == list(range(68))
    assert np.bincount(y[test]).tolist() == [10, 5, 2]
    np.testing.assert_array_equal(split(y, 0.25, 0)[0], train)
    assert not np.array_equal(split(y, 0.25, 1)[0], train)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("counts", [[2, 2], [2, 50], [3, 3, 3, 3], [2] * 30 + [40], [7, 11, 13, 100]])
@pytest.mark.parametrize("share", [0.25, 0.4, 0.5])
def test_a_split_has_each_class_in_both_parts(counts, share, seed):
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int32)
    n_test = int(np.ceil(len(y) * share))
    if min(n_test, len(y) - n_test) < len(counts):
        with pytest.raises(ValueError, match=f"{len(y)} samples of {len(counts)} classes cannot be split"):
            split(y, share, seed)
        return
    train, test = split(y, share, seed)
    assert (len(train), len(test)) == (len(y) - n_test, n_test)
    assert sorted([*train, *test]) == list(range(len(y)))
    assert (np.diff(train) > 0).all()
    assert (np.diff(test) > 0).all()
    in_test = np.bincount(y[test], minlength=len(counts))
    assert in_test.min() >= 1
    assert np.bincount(y[train], minlength=len(counts)).min() >= 1
    if min(counts) > 2:  # no class needs more than its share
        assert np.abs(in_test - np.array(counts) * share).max() < 2


def test_splits_of_many_seeds_take_each_sample_as_often():
    y = np.repeat(np.arange(2, dtype=np.int32), [30, 10])
    taken = np.zeros(40)
    for seed in range(400):
        taken[split(y, 0.25, seed)[1]] += 1
    assert np.abs(taken / 400 - 0.25).max() < 0.09  # four deviations of a share of 400


@pytest.mark.parametrize("n_folds", [2, 3, 7])
def test_folds_are_of_one_size_as_a_whole_and_in_each_class(n_folds):
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(4), [7, 23, 10, 8])).astype(np.int32)
    found = folds(y, n_folds, seed=1)
    for part in (found, *(found[y == k] for k in range(4))):
        sizes = np.bincount(part, minlength=n_folds)
        assert sizes.max() - sizes.min() <= 1
    np.testing.assert_array_equal(found, folds(y, n_folds, seed=1))
    assert (found != folds(y, n_folds, seed=2)).any()


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_model_is_that_of_the_estimator(solver, n_classes, penalty):
    from regcore import LinearClassifier

    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 5)).astype(np.float32)
    y = ((X[:, 0] + rng.normal(size=90) > 0).astype(np.int32) + (X[:, 1] > 0.5) * (n_classes - 2)).astype(
        np.int32
    )
    model = LinearModel(penalty, 0.01, Settings(solver=solver, max_iter=40), 3).fit(X, y)
    estimator = LinearClassifier(
        penalty=None if penalty == "none" else penalty,
        alpha=0.01,
        l1_ratio=0.5,
        solver=solver,
        max_iter=40,
        tol=None if solver == "sgd" else 1e-4,
        random_state=3,
    ).fit(X, y)
    np.testing.assert_array_equal(model.coef_, estimator.coef_)
    np.testing.assert_array_equal(model.intercept_, estimator.intercept_)
    assert model.score(X, y) == estimator.score(X, y)


def test_too_few_samples_for_a_split(factory):
    data = dataset(6, y=np.array([0, 0, 1, 1, 2, 2], dtype=np.int32))
    with pytest.raises(DataError, match="made up: 6 samples of 3 classes leave 4 to train on and 2 to score"):
        compare_penalties(data, Settings(), factory=factory)
    compare_penalties(data, Settings(test_size=0.5), factory=factory)


def test_progress(factory):
    calls = []
    settings = Settings(penalties=("none", "l2"), n_seeds=2)
    compare_penalties(dataset(), settings, factory=factory, progress=lambda *call: calls.append(call))
    assert calls == [
        (0, 4, "none, seed 0"),
        (1, 4, "l2, seed 0"),
        (2, 4, "none, seed 1"),
        (3, 4, "l2, seed 1"),
        (4, 4, "done"),
    ]


def test_a_training_that_was_cut_short_is_no_result(factory):
    with pytest.raises(KeyboardInterrupt):
        compare_penalties(dataset(), Settings(), factory=factory, interrupted=lambda: True)


def test_warnings_become_notes():
    class Warns(Recorder):
        def fit(self, X, y):
            super().fit(X, y)
            if self.penalty == "l2":
                warnings.warn(f"odd in seed {self.seed}", UserWarning, stacklevel=1)
            elif self.penalty == "l1" and self.seed > 0:
                warnings.warn("max_iter came first", ConvergenceWarning, stacklevel=1)
                warnings.warn("max_iter came first", ConvergenceWarning, stacklevel=1)

    comparison = compare_penalties(dataset(), Settings(n_seeds=3), factory=Warns)
    assert comparison.notes == (
        "l2: odd in seed 0 (3 of 3 fits)",
        "l1: max_iter came first (2 of 3 fits)",
    )


def test_refused_settings():
    class Refuses(Recorder):
        def fit(self, X, y):
            raise ValueError("solver 'fista' needs a smooth loss")

    with pytest.raises(UsageError, match="loss hinge, penalty none, solver fista: solver 'fista' needs"):
        compare_penalties(dataset(), Settings(loss="hinge", solver="fista"), factory=Refuses)


def test_divergence():
    class Diverges(Recorder):
        def fit(self, X, y):
            super().fit(X, y)
            self.coef_[0, 0] = np.inf

    with pytest.raises(CommandError, match="penalty none diverged"):
        compare_penalties(dataset(), Settings(), factory=Diverges)


def test_iterations():
    assert Settings().iterations == 20
    assert Settings(solver="fista").iterations == 1000
    assert Settings(solver="fista", max_iter=7).iterations == 7


# -- scaling -------------------------------------------------------------------------------------------------


def scaled(X, seed=0):
    """Training and test part as a classifier sees them, and the rows of both."""
    scaling = choose_scaling(X)
    train, test = split(np.arange(X.shape[0], dtype=np.int32) % 2, 0.25, seed)
    X = apply_constant(X, scaling)
    return scaling, *apply_fitted(X[train], X[test], scaling), train, test


def test_bytes_are_divided():
    X = np.arange(240, dtype=np.uint8).reshape(40, 6)
    scaling, X_train, X_test, train, test = scaled(X)
    assert scaling == Scaling("divide", 255.0)
    assert X_train.dtype == np.float32
    np.testing.assert_array_equal(X_train, X[train] / np.float32(255))
    np.testing.assert_array_equal(X_test, X[test] / np.float32(255))
    assert choose_scaling(X % 17) == Scaling("divide", 16.0)
    assert choose_scaling(X % 2) == Scaling("none")


def test_small_numbers_stay():
    X = np.random.default_rng(0).uniform(-1, 1, (40, 6))
    scaling, X_train, _, train, _ = scaled(X)
    assert scaling == Scaling("none")
    np.testing.assert_array_equal(X_train, X[train].astype(np.float32))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int16])
def test_other_numbers_are_standardised_with_figures_of_the_training_part(dtype):
    X = (np.random.default_rng(0).normal(size=(40, 6)) * [9, 20, 30, 40, 50, 60] + 100).astype(dtype)
    X[:, 5] = 3  # a constant column
    scaling, X_train, X_test, train, test = scaled(X)
    assert scaling == Scaling("standardise")
    assert X_train.dtype == X_test.dtype == np.float32
    mean, sd = X[train].astype(float).mean(axis=0), X[train].astype(float).std(axis=0)
    sd[5] = 1
    np.testing.assert_allclose(X_train, (X[train] - mean) / sd, atol=2e-6)
    np.testing.assert_allclose(X_test, (X[test] - mean) / sd, atol=2e-6)


def test_tiny_numbers_are_standardised():
    assert choose_scaling(np.full((3, 2), 1e-5)) == Scaling("standardise")


def test_standardising_keeps_small_differences_of_large_numbers():
    X = 1e9 + np.random.default_rng(0).normal(size=(40, 2))
    _, X_train, _, train, _ = scaled(X)
    expected = (X[train] - X[train].mean(axis=0)) / X[train].std(axis=0)
    np.testing.assert_allclose(X_train, expected, atol=1e-5)


def test_sparse_numbers_keep_their_zeros():
    dense = np.random.default_rng(0).normal(size=(40, 6)).round()
    X = sparse.csr_array(dense * 10)
    scaling, X_train, X_test, train, test = scaled(X)
    assert scaling == Scaling("max_abs")
    largest = np.abs(dense[train]).max(axis=0)
    np.testing.assert_allclose(X_train.toarray(), dense[train] / largest, rtol=1e-6)
    np.testing.assert_allclose(X_test.toarray(), dense[test] / largest, rtol=1e-6)
    assert X_train.dtype == np.float32
    np.testing.assert_array_equal(X.toarray(), dense * 10)
    assert choose_scaling(X / 100) == Scaling("none")
    assert choose_scaling(sparse.csr_array((3, 3))) == Scaling("none")


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("factor", [1, 100, 0.01])
def test_largest_deviation(form, factor):
    dense = np.random.default_rng(0).uniform(size=(50, 4)) * factor
    X = form(dense)
    scaling = choose_scaling(X)
    expected = {
        "none": dense.std(axis=0).max(),
        "standardise": 1.0,
        "max_abs": (dense / dense.max(axis=0)).std(axis=0).max(),
    }
    assert largest_deviation(X, scaling) == pytest.approx(expected[scaling.kind])


def test_default_alpha():
    rng = np.random.default_rng(0)
    assert default_alpha(rng.normal(size=(50, 4)) * 40, Scaling("standardise"), 10_000) == 5e-4
    bits = np.array([[0], [0], [0], [255]], np.uint8)  # deviation sqrt(3)/4 after /255
    assert default_alpha(bits, Scaling("divide", 255.0), 100) == 2e-3
    assert default_alpha(np.full((5, 2), 0.5), Scaling("none"), 100) == 1e-4


def test_default_alpha_is_a_tenth_of_the_gradient_of_labels_that_mean_nothing():
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(400, 30))
    X = np.c_[X, X[:, 0] > 0.5]  # one column deviates by 1/2, more than the rest
    gradients = []
    for _ in range(200):
        y = rng.permutation(np.arange(400) % 2)
        gradients.append(X.T @ (y - 0.5) / 400)
    noise = np.sqrt(np.mean(np.square(gradients), axis=0)).max()
    assert default_alpha(X, Scaling("none"), 400) == pytest.approx(noise / 10, rel=0.4)  # one digit


# -- gaps ----------------------------------------------------------------------------------------------------


def result(penalty, accuracies):
    runs = tuple(Run(seed, 1.0, accuracy, 0.0, 0.1) for seed, accuracy in enumerate(accuracies))
    return PenaltyResult(penalty, None, None, runs)


def test_paired_gap_against_the_formula():
    first, second = np.array([0.70, 0.74, 0.69, 0.73]), np.array([0.72, 0.75, 0.73, 0.74])
    (gap,) = paired_gaps([result("l1", first), result("l2", second)], n_train=300, n_test=100)
    difference = second - first
    t = difference.mean() / np.sqrt((1 / 4 + 1 / 3) * difference.var(ddof=1))
    assert (gap.better, gap.worse) == ("l2", "l1")
    assert gap.mean == pytest.approx(0.02)
    assert gap.sd == pytest.approx(difference.std(ddof=1))
    assert gap.p_value == pytest.approx(2 * stats.t.sf(t, 3))
    assert gap.n_wins == 4


def test_p_values_are_adjusted_for_the_number_of_pairs():
    rng = np.random.default_rng(0)
    results = [
        result(p, m + 0.01 * rng.normal(size=5))
        for p, m in zip(PENALTIES, (0.5, 0.52, 0.6, 0.6), strict=True)
    ]
    gaps = paired_gaps(results, 300, 100)
    assert len(gaps) == 6
    assert [gap.mean for gap in gaps] == sorted((gap.mean for gap in gaps), reverse=True)
    alone = {}
    for i, one in enumerate(results):
        for two in results[i + 1 :]:
            (gap,) = paired_gaps([one, two], 300, 100)
            alone[gap.better, gap.worse] = gap.p_value
    running = 0.0
    by_p = sorted(gaps, key=lambda gap: alone[gap.better, gap.worse])
    for rank, gap in enumerate(by_p):
        running = max(running, min(1.0, (6 - rank) * alone[gap.better, gap.worse]))
        assert gap.p_value == pytest.approx(running)


def test_equal_penalties():
    (gap,) = paired_gaps([result("l1", [0.5, 0.6]), result("l2", [0.5, 0.6])], 30, 10)
    assert (gap.mean, gap.p_value, gap.exceeds_spread) == (0.0, 1.0, False)


def test_two_lucky_seeds_are_no_evidence():
    # The same gap of one sample twice: the spread of the differences is zero, by chance.
    (gap,) = paired_gaps([result("l1", [0.5, 0.6]), result("l2", [0.6, 0.7])], 30, 10)
    assert not gap.exceeds_spread


def judged(*gaps, n_seeds=5, n_results=4):
    results = tuple(result(p, [0.5] * n_seeds) for p in PENALTIES[:n_results])
    return verdict(Comparison(Settings(n_seeds=n_seeds), Scaling("none"), 300, 100, results, gaps, ()))


def test_verdict():
    small = Gap("l2", "none", 0.0123, 0.02, 0.4, 3)
    clear = Gap("l1", "none", 0.05, 0.004, 0.0002, 5)
    assert judged(small) == (
        "No gap in test accuracy exceeds the spread between seeds: the widest, l2 over none, is"
        " 1.23 ± 2.00 points over 5 paired seeds (p = 0.4)."
    )
    assert judged(clear, small, small) == (
        "1 of 3 gaps exceeds the spread between the 5 paired seeds:"
        " l1 over none by 5.00 ± 0.40 points (p < 0.001); the other 2 do not."
    )
    assert judged(clear, small).endswith("; the other does not.")
    assert judged(clear).startswith("The gap exceeds the spread between the 5 paired seeds: l1 over none")
    assert judged(*[clear] * 5).startswith("All 5 gaps exceed")
    assert "; and 2 more." in judged(*[clear] * 5)
    assert judged(Gap("l1", "l2", 0.0, 0.0, 1.0, 0)) == "All penalties score the same over these 5 seeds."
    assert judged(n_results=1) == "With one penalty there is nothing to compare."
