"""The reference against definitions written out by hand, finite differences, inequalities and symmetries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import BINARY_LOSSES, MULTICLASS_LOSSES, relative_error

from regcore import reference

FORMS = [(loss, n_classes) for loss in MULTICLASS_LOSSES for n_classes in (2, 3, 6)]
FORMS += [(loss, 1) for loss in BINARY_LOSSES]

# (l1, l2, group): every single one, every pair, all three
TRIPLES = [
    (0.3, 0, 0),
    (0, 0.4, 0),
    (0, 0, 0.7),
    (0.3, 0.4, 0),
    (0.3, 0, 0.7),
    (0, 0.4, 0.7),
    (0.3, 0.4, 0.7),
]

LONG_EPS = np.finfo(np.longdouble).eps


class Triple:
    """The least that a penalty is: three factors."""

    def __init__(self, l1: float = 0.0, l2: float = 0.0, group: float = 0.0) -> None:
        self.l1, self.l2, self.group = l1, l2, group


def loss_of_scores(loss: str, s: np.ndarray, label: int) -> np.longdouble:
    """One sample's loss as the definition says, without any care for speed or overflow."""
    if len(s) == 1:
        z = s[0] if label == 1 else -s[0]
        return {
            "cross_entropy": np.log(1 + np.exp(-z)),
            "hinge": max(0, 1 - z),
            "squared_hinge": max(0, 1 - z) ** 2,
        }[loss]
    margins = [s[j] - s[label] + 1 for j in range(len(s)) if j != label]
    return {
        "cross_entropy": -np.log(np.exp(s[label]) / sum(np.exp(s))),
        "hinge": sum(max(0, m) for m in margins),
        "squared_hinge": sum(max(0, m) ** 2 for m in margins),
        "crammer_singer": max(0, *margins),
    }[loss]


@pytest.mark.parametrize(("loss", "n_classes"), FORMS)
def test_sample_losses_follow_the_definition(make_problem, loss, n_classes):
    p = make_problem(n_classes=n_classes).astype(np.longdouble)
    S = reference.scores(p.X, p.W, p.b)
    for i in range(len(p.y)):
        for c in range(n_classes):
            assert S[i, c] == pytest.approx(sum(p.X[i] * p.W[c]) + p.b[c], rel=1e-15, abs=1e-15)
    expected = [loss_of_scores(loss, s, label) for s, label in zip(S, p.y, strict=True)]
    actual = reference.sample_losses(p.X, p.y, p.W, p.b, loss=loss)
    np.testing.assert_allclose(actual, np.array(expected), rtol=100 * LONG_EPS, atol=100 * LONG_EPS)


@pytest.mark.parametrize(("loss", "n_classes"), FORMS)
def test_value_is_the_weighted_mean(make_problem, loss, n_classes):
    p = make_problem(n_classes=n_classes)
    losses = reference.sample_losses(p.X, p.y, p.W, p.b, loss=loss)
    value, _, _ = reference.data_loss_and_grad(p.X, p.y, p.W, p.b, loss=loss, sample_weight=p.sample_weight)
    assert value == pytest.approx(np.average(losses, weights=p.sample_weight), rel=1e-14)
    value, _, _ = reference.data_loss_and_grad(p.X, p.y, p.W, p.b, loss=loss)
    assert value == pytest.approx(losses.mean(), rel=1e-14)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("loss", "n_classes"), FORMS)
def test_gradient_matches_finite_differences(make_problem, loss, n_classes, weighted):
    p = make_problem(n_samples=12, n_features=3, n_classes=n_classes).astype(np.longdouble)
    weight = p.sample_weight if weighted else None
    penalty = Triple(0.02, 0.03, 0.05)

    def value(W, b):
        return reference.loss_and_grad(p.X, p.y, W, b, loss=loss, penalty=penalty, sample_weight=weight)[0]

    step = np.longdouble(1e-5)
    assert smallest_distance_to_a_kink(p, loss) > 100 * step
    _, grad_W, grad_b = reference.loss_and_grad(
        p.X, p.y, p.W, p.b, loss=loss, penalty=penalty, sample_weight=weight
    )
    for index in np.ndindex(p.W.shape):
        E = np.zeros_like(p.W)
        E[index] = step
        slope = (value(p.W + E, p.b) - value(p.W - E, p.b)) / (2 * step)
        assert grad_W[index] == pytest.approx(slope, rel=1e-8, abs=1e-9)
    for c in range(n_classes):
        e = np.zeros_like(p.b)
        e[c] = step
        slope = (value(p.W, p.b + e) - value(p.W, p.b - e)) / (2 * step)
        assert grad_b[c] == pytest.approx(slope, rel=1e-8, abs=1e-9)


def smallest_distance_to_a_kink(p, loss):
    """Return how far the margins (and, for Crammer-Singer, the gap between the two largest) are from zero."""
    if loss == "cross_entropy":
        return np.inf
    S = reference.scores(p.X, p.W, p.b)
    if S.shape[1] == 1:
        return np.abs(1 - np.where(p.y == 1, S[:, 0], -S[:, 0])).min()
    margins = S - S[np.arange(len(p.y)), p.y, None] + 1
    margins[np.arange(len(p.y)), p.y] = 0
    others = np.abs(margins[margins != 0])
    if loss != "crammer_singer":
        return others.min()
    ordered = np.sort(margins, axis=1)
    return min(others.min(), (ordered[:, -1] - ordered[:, -2]).min(where=ordered[:, -1] > 0, initial=np.inf))


@settings(max_examples=60, deadline=None)
@given(
    form=st.sampled_from(FORMS),
    cells=st.lists(st.integers(-2, 2), min_size=40, max_size=40),
    moves=st.lists(st.integers(-3, 3), min_size=24, max_size=24),
)
def test_subgradient_inequality_also_at_kinks(form, cells, moves):
    # small integers make margins of exactly zero and ties between classes; f(V) >= f(W) + <grad f(W), V - W>
    loss, n_classes = form
    X = np.array(cells[:12], dtype=np.longdouble).reshape(6, 2)
    y = np.abs(np.array(cells[12:18])) % max(2, n_classes)
    W = np.array(cells[18 : 18 + 2 * n_classes], dtype=np.longdouble).reshape(n_classes, 2)
    b = np.array(cells[30 : 30 + n_classes], dtype=np.longdouble)
    V = W + np.array(moves[: 2 * n_classes]).reshape(n_classes, 2) / 2
    c = b + np.array(moves[12 : 12 + n_classes]) / 2
    penalty = Triple(0.5, 0.25, 0.75)
    value, grad_W, grad_b = reference.loss_and_grad(X, y, W, b, loss=loss, penalty=penalty)
    there, _, _ = reference.loss_and_grad(X, y, V, c, loss=loss, penalty=penalty)
    assert there >= value + (grad_W * (V - W)).sum() + (grad_b * (c - b)).sum() - 1e-15 * (1 + abs(there))


@pytest.mark.parametrize(("loss", "n_classes"), [form for form in FORMS if form[0] != "cross_entropy"])
def test_a_margin_of_zero_contributes_nothing(loss, n_classes):
    label = n_classes - 1 if n_classes > 1 else 1
    W = np.zeros((n_classes, 1))
    W[-1] = 1.0  # the label's score is exactly 1 above all others
    value, grad_W, grad_b = reference.loss_and_grad([[1.0]], [label], W, loss=loss)
    assert value == 0
    assert not grad_W.any()
    assert not grad_b.any()


def test_crammer_singer_gives_a_tie_to_the_first_of_the_largest_classes():
    X = np.array([[2.0], [3.0], [5.0]])
    y = np.array([0, 1, 3])
    # class 4 never ties; the others have one score: the first that is not the label takes the subgradient
    b = np.array([0.0, 0.0, 0.0, 0.0, -0.5])
    _, grad_W, grad_b = reference.loss_and_grad(X, y, np.zeros((5, 1)), b, loss="crammer_singer")
    np.testing.assert_allclose(3 * grad_W[:, 0], [-2 + 3 + 5, 2 - 3, 0, -5, 0])
    np.testing.assert_allclose(3 * grad_b, [1, 0, 0, -1, 0])


@pytest.mark.parametrize(("loss", "n_classes"), FORMS)
def test_weights_mean_repetition(make_problem, rng, loss, n_classes):
    p = make_problem(n_classes=n_classes)
    counts = rng.integers(0, 4, len(p.y))
    weighted = reference.loss_and_grad(p.X, p.y, p.W, p.b, loss=loss, sample_weight=counts)
    repeated = reference.loss_and_grad(
        np.repeat(p.X, counts, axis=0), np.repeat(p.y, counts), p.W, p.b, loss=loss
    )
    for a, e in zip(weighted, repeated, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-12, atol=1e-13)
    scaled = reference.loss_and_grad(p.X, p.y, p.W, p.b, loss=loss, sample_weight=8.0 * counts)
    for a, e in zip(scaled, weighted, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-14)


@pytest.mark.parametrize("loss", MULTICLASS_LOSSES)
def test_a_shift_of_all_scores_changes_nothing(make_problem, loss):
    p = make_problem(n_classes=4)
    here = reference.loss_and_grad(p.X, p.y, p.W, p.b, loss=loss)
    there = reference.loss_and_grad(p.X, p.y, p.W + 1.5, p.b - 7.25, loss=loss)
    for a, e in zip(there, here, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("loss", MULTICLASS_LOSSES)
def test_a_permutation_of_classes_permutes_the_gradient(make_problem, rng, loss):
    p = make_problem(n_classes=5)
    order = rng.permutation(5)
    value, grad_W, grad_b = reference.loss_and_grad(p.X, p.y, p.W, p.b, loss=loss)
    permuted = reference.loss_and_grad(p.X, np.argsort(order)[p.y], p.W[order], p.b[order], loss=loss)
    for a, e in zip(permuted, (value, grad_W[order], grad_b[order]), strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("loss", BINARY_LOSSES)
def test_the_binary_form_is_two_classes_of_which_one_has_score_zero(make_problem, loss):
    p = make_problem(n_classes=1)
    zero = np.zeros_like
    binary = reference.loss_and_grad(p.X, p.y, p.W, p.b, loss=loss, sample_weight=p.sample_weight)
    both = reference.loss_and_grad(
        p.X,
        p.y,
        np.vstack([zero(p.W), p.W]),
        np.append(zero(p.b), p.b),
        loss=loss,
        sample_weight=p.sample_weight,
    )
    np.testing.assert_allclose(binary[0], both[0], rtol=1e-13)
    for a, e in zip(binary[1:], both[1:], strict=True):
        np.testing.assert_allclose(a, e[1:], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(a, -e[:1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("loss", "n_classes"), FORMS)
def test_scores_of_1e30_stay_finite(dtype, loss, n_classes):
    n_labels = max(2, n_classes)
    y = np.tile(np.arange(n_labels), 3)
    X = np.repeat(np.array([[1.0], [-1.0], [0.0]], dtype=dtype), n_labels, axis=0)
    W = np.linspace(-1, 1, n_labels).astype(dtype)[-n_classes:, None] * dtype(1e30)
    value, grad_W, grad_b = reference.loss_and_grad(X, y, W, loss=loss)
    assert np.isfinite(value)
    assert value > 1e29
    assert np.isfinite(grad_W).all()
    assert np.isfinite(grad_b).all()
    assert np.isfinite(reference.sample_losses(X, y, W, loss=loss)).all()


@pytest.mark.parametrize("n_classes", [1, 2, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
def test_tiny_cross_entropy_keeps_its_digits(dtype, n_classes):
    gaps = np.array([0, 1e-3, 0.5, 1, 5, 17, 40, 80])
    X = gaps[:, None].astype(dtype)
    W = np.zeros((n_classes, 1), dtype=dtype)
    W[-1] = 1
    y = np.full(len(gaps), max(1, n_classes - 1))
    n_others = max(1, n_classes - 1)
    rest = n_others * np.exp(-X[:, 0].astype(np.longdouble))
    eps = float(8 * np.finfo(dtype).eps)
    losses = reference.sample_losses(X, y, W)
    np.testing.assert_allclose(losses.astype(np.longdouble), np.log1p(rest), rtol=eps)
    # the slope at the label, -r / (1 + r), keeps its digits too
    for i in range(len(gaps)):
        _, _, grad_b = reference.loss_and_grad(X[i : i + 1], y[i : i + 1], W)
        assert float(grad_b[-1]) == pytest.approx(float(-rest[i] / (1 + rest[i])), rel=eps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("loss", "n_classes"), FORMS)
def test_results_have_the_dtype_of_the_weights_and_its_accuracy(make_problem, dtype, loss, n_classes):
    p = make_problem(n_samples=300, n_features=20, n_classes=n_classes, dtype=dtype)
    exact = p.astype(np.longdouble)
    value, grad_W, grad_b = reference.loss_and_grad(
        p.X, p.y, p.W, p.b, loss=loss, sample_weight=p.sample_weight
    )
    expected = reference.loss_and_grad(
        exact.X, exact.y, exact.W, exact.b, loss=loss, sample_weight=exact.sample_weight
    )
    assert isinstance(value, float)
    assert grad_W.dtype == grad_b.dtype == dtype
    assert grad_W.shape == p.W.shape
    assert grad_b.shape == p.b.shape
    tolerance = 20 * np.finfo(dtype).eps
    for a, e in zip((value, grad_W, grad_b), expected, strict=True):
        assert relative_error(a, e) < tolerance


@pytest.mark.parametrize("dtype", [np.float16, np.uint8, np.int8, np.int64, np.bool_, np.float64])
def test_features_of_other_dtypes_are_converted(rng, dtype):
    X = rng.integers(0, 2 if dtype is np.bool_ else 100, (30, 5)).astype(dtype)
    y = rng.integers(0, 3, 30)
    W = rng.standard_normal((3, 5)).astype(np.float32)
    actual = reference.loss_and_grad(X, y, W)
    expected = reference.loss_and_grad(X.astype(np.float32), y, W)
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, e)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize(("loss", "n_classes"), FORMS)
def test_csr_gives_what_dense_gives(make_problem, rng, dtype, loss, n_classes):
    sparse = pytest.importorskip("scipy.sparse")
    p = make_problem(n_classes=n_classes, dtype=dtype)
    p.X[rng.random(p.X.shape) < 0.6] = 0
    p.X[3] = 0
    X = sparse.csr_array(p.X)
    tolerance = 100 * np.finfo(dtype).eps
    assert relative_error(reference.scores(X, p.W, p.b), reference.scores(p.X, p.W, p.b)) < tolerance
    actual = reference.loss_and_grad(X, p.y, p.W, p.b, loss=loss, sample_weight=p.sample_weight)
    expected = reference.loss_and_grad(p.X, p.y, p.W, p.b, loss=loss, sample_weight=p.sample_weight)
    for a, e in zip(actual, expected, strict=True):
        assert relative_error(a, e) < tolerance


@pytest.mark.parametrize("n_classes", [1, 2, 5])
def test_probabilities_and_labels_follow_the_definition(make_problem, n_classes):
    p = make_problem(n_classes=n_classes)
    S = reference.scores(p.X, p.W, p.b)
    if n_classes == 1:
        S = np.hstack([np.zeros_like(S), S])
    P = reference.predict_proba(p.X, p.W, p.b)
    np.testing.assert_allclose(P, np.exp(S) / np.exp(S).sum(axis=1, keepdims=True), rtol=1e-13)
    labels = reference.predict(p.X, p.W, p.b)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, P.argmax(axis=1))
    np.testing.assert_array_equal(reference.predict(p.X, np.zeros_like(p.W)), 0)
    huge = reference.predict_proba(p.X, p.W * 1e30)
    np.testing.assert_allclose(huge.sum(axis=1), 1)


@pytest.mark.parametrize(("loss", "n_classes"), FORMS)
def test_blocks_of_rows_do_not_change_the_result(make_problem, monkeypatch, loss, n_classes):
    p = make_problem(n_samples=50, n_classes=n_classes)
    arguments = {"loss": loss, "sample_weight": p.sample_weight}
    one = reference.loss_and_grad(p.X, p.y, p.W, p.b, **arguments)
    losses = reference.sample_losses(p.X, p.y, p.W, p.b, loss=loss)
    monkeypatch.setattr(reference, "_BLOCK_BYTES", 0)
    monkeypatch.setattr(reference, "_LEAST_BLOCK_ROWS", 7)
    many = reference.loss_and_grad(p.X, p.y, p.W, p.b, **arguments)
    for a, e in zip(many, one, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(reference.sample_losses(p.X, p.y, p.W, p.b, loss=loss), losses, rtol=1e-13)


def test_inputs_are_left_as_they_were(make_problem):
    p = make_problem()
    before = [a.copy() for a in (p.X, p.y, p.W, p.b, p.sample_weight)]
    for a in (p.X, p.y, p.W, p.b, p.sample_weight):
        a.setflags(write=False)
    for loss in MULTICLASS_LOSSES:
        reference.loss_and_grad(
            p.X, p.y, p.W, p.b, loss=loss, penalty=Triple(1, 1, 1), sample_weight=p.sample_weight
        )
    for a, e in zip((p.X, p.y, p.W, p.b, p.sample_weight), before, strict=True):
        np.testing.assert_array_equal(a, e)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"X": np.ones((4, 3))}, ValueError, r"X and W must have shapes"),
        ({"X": np.ones(4)}, ValueError, r"X and W must have shapes"),
        ({"y": [0, 1, 2]}, ValueError, r"y must have shape \(4,\)"),
        ({"y": [0, 1, 2, 3]}, ValueError, r"y must hold labels from 0 to 2; got 0 to 3"),
        ({"y": [0, 1, 2, -1]}, ValueError, r"y must hold labels from 0 to 2; got -1 to 2"),
        ({"y": [0.0, 1.0, 2.0, 0.0]}, TypeError, r"y must hold integers; got dtype float64"),
        ({"b": [1.0]}, ValueError, r"b must have shape \(3,\)"),
        ({"sample_weight": [1.0]}, ValueError, r"sample_weight must have shape \(4,\)"),
        ({"sample_weight": np.zeros(4)}, ValueError, r"sample_weight must have a positive sum"),
        ({"loss": "log_loss"}, ValueError, r"loss must be one of 'cross_entropy', 'hinge'"),
        ({"loss": 3}, TypeError, r"loss must be a string"),
        ({"W": np.ones((1, 2)), "y": [0, 1, 1, 0], "loss": "crammer_singer"}, ValueError, r"no binary form"),
    ],
)
def test_bad_arguments_are_named(change, error, message):
    arguments = {"X": np.ones((4, 2)), "y": [0, 1, 2, 0], "W": np.ones((3, 2))} | change
    with pytest.raises(error, match=message):
        reference.loss_and_grad(**arguments)


# --------------------------------------------------------------------------------------------------
# Penalties
# --------------------------------------------------------------------------------------------------
def objective_of_prox(V, W, step, triple):
    return ((V - W) ** 2).sum() / 2 + step * reference.penalty_value(V, *triple)


@pytest.mark.parametrize("triple", TRIPLES)
def test_penalty_value_follows_the_definition(rng, triple):
    l1, l2, group = triple
    W = rng.standard_normal((3, 5))
    expected = l1 * sum(abs(w) for w in W.flat) + l2 * sum(w * w for w in W.flat)
    expected += group * sum(np.linalg.norm(W[:, feature]) for feature in range(5))
    assert reference.penalty_value(W, *triple) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("triple", TRIPLES)
def test_penalty_gradient_matches_finite_differences(rng, triple):
    W = rng.standard_normal((3, 4)).astype(np.longdouble)
    gradient = reference.penalty_gradient(W, *triple)
    step = np.longdouble(1e-6)
    for index in np.ndindex(W.shape):
        E = np.zeros_like(W)
        E[index] = step
        slope = (reference.penalty_value(W + E, *triple) - reference.penalty_value(W - E, *triple)) / (
            2 * step
        )
        assert gradient[index] == pytest.approx(slope, rel=1e-9)


def test_penalty_gradient_is_zero_at_zero():
    W = np.zeros((3, 4), dtype=np.float32)
    assert not reference.penalty_gradient(W, 1.0, 1.0, 1.0).any()
    W[:, 1] = [3.0, 0.0, 4.0]
    gradient = reference.penalty_gradient(W, 2.0, 0.5, 10.0)
    np.testing.assert_allclose(gradient[:, 1], [2 + 3 + 6, 0, 2 + 4 + 8], rtol=1e-6)
    assert not gradient[:, [0, 2, 3]].any()


@pytest.mark.parametrize("triple", TRIPLES)
@pytest.mark.parametrize("step", [0.0, 0.1, 1.0, 5.0])
def test_scalar_prox_is_the_brute_force_argmin(triple, step):
    grid = np.linspace(-3, 3, 6001)
    for w in (-2.5, -0.4, 0.0, 0.2, 1.0, 2.9):
        values = (grid - w) ** 2 / 2 + step * ((triple[0] + triple[2]) * np.abs(grid) + triple[1] * grid**2)
        prox = reference.penalty_prox(np.array([[w]]), step, *triple)
        assert prox.item() == pytest.approx(grid[values.argmin()], abs=1e-3)


@pytest.mark.parametrize("triple", TRIPLES)
@pytest.mark.parametrize("step", [0.0, 0.3, 2.0])
def test_prox_is_the_argmin_of_a_strongly_convex_function(rng, triple, step):
    # at the minimiser P of a function h that is 1-strongly convex, h(V) >= h(P) + ||V - P||^2 / 2 for every V
    W = rng.standard_normal((3, 6))
    W[:, 4] *= 0.1
    W[:, 5] = 0
    P = reference.penalty_prox(W, step, *triple)
    least = objective_of_prox(P, W, step, triple)
    candidates = [W, np.zeros_like(W)]
    candidates += [
        P + scale * rng.standard_normal(W.shape) for scale in (1e-6, 1e-3, 0.1, 1) for _ in range(50)
    ]
    candidates += [P * (rng.random(W.shape) < 0.8) for _ in range(20)]
    for V in candidates:
        assert objective_of_prox(V, W, step, triple) >= least + ((V - P) ** 2).sum() / 2 - 1e-13


def test_prox_gives_exact_zeros(rng):
    W = rng.standard_normal((4, 50)).astype(np.float32)
    P = reference.penalty_prox(W, 0.5, l1=1.0)
    np.testing.assert_array_equal(P == 0, np.abs(W) <= 0.5)
    P = reference.penalty_prox(W, 1.0, group=1.5)
    np.testing.assert_array_equal((P == 0).all(axis=0), np.linalg.norm(W, axis=0) <= 1.5)
    assert P.dtype == np.float32


@pytest.mark.parametrize("triple", TRIPLES)
def test_penalties_of_a_stack_are_those_of_its_models(rng, triple):
    W = rng.standard_normal((4, 3, 5))
    for m in range(4):
        assert reference.penalty_value(W, *triple)[m] == pytest.approx(reference.penalty_value(W[m], *triple))
        np.testing.assert_allclose(
            reference.penalty_gradient(W, *triple)[m], reference.penalty_gradient(W[m], *triple)
        )
        np.testing.assert_allclose(
            reference.penalty_prox(W, 0.3, *triple)[m], reference.penalty_prox(W[m], 0.3, *triple)
        )


@pytest.mark.parametrize("triple", TRIPLES)
def test_penalty_results_go_where_out_says(rng, triple):
    W = rng.standard_normal((3, 5)).astype(np.float32)
    for function in (
        lambda W, out: reference.penalty_gradient(W, *triple, out=out),
        lambda W, out: reference.penalty_prox(W, 0.7, *triple, out=out),
    ):
        expected = function(W, None)
        assert expected.dtype == np.float32
        out = np.full_like(W, np.nan)
        assert function(W, out) is out
        np.testing.assert_array_equal(out, expected)
        in_place = W.copy()
        assert function(in_place, in_place) is in_place
        np.testing.assert_array_equal(in_place, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_norms_of_features_neither_overflow_nor_vanish(dtype, scale):
    W = np.array([[3.0, 0.0], [4.0, 0.0]], dtype=dtype) * dtype(scale)
    assert reference.penalty_value(W, group=1.0) == pytest.approx(5 * scale, rel=1e-6)
    np.testing.assert_allclose(
        reference.penalty_gradient(W, group=1.0), np.array([[0.6, 0], [0.8, 0]]), rtol=1e-6
    )
    P = reference.penalty_prox(W, scale, group=1.0)
    np.testing.assert_allclose(P, 0.8 * W, rtol=1e-6)
