"""The two loops of quasi-Newton directions in the core, against the full matrix of the updates."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import quasi_newton_pairs, updated_inverse

from regcore import _core

CASES = list(quasi_newton_pairs(np.random.default_rng(0)))


@pytest.mark.parametrize("isa", _core.available_isas())
@pytest.mark.parametrize("case", CASES, ids=[case["what"] for case in CASES])
def test_directions_are_those_of_the_full_matrix(isa, case):
    _core.select_isa(isa)
    try:
        pairs = _core.Pairs(40, case["right"].size)
        for step, change in zip(case["steps"], case["changes"], strict=True):
            pairs.add(step, change)
        z = case["right"].copy()
        pairs.down(z, case["bend"], case["free"])
        z *= case["diagonal"]
        pairs.up(z)
    finally:
        _core.select_isa(None)
    if case["free"] is not None:
        z *= case["free"]
    np.testing.assert_allclose(z, case["product"], atol=1e-10 * np.abs(case["product"]).max())


def test_the_newest_pairs_are_kept(rng):
    steps = rng.standard_normal((5, 6))
    changes = steps * rng.uniform(0.5, 2, 6)
    pairs, r = _core.Pairs(3, 6), rng.standard_normal(6)
    for step, change in zip(steps, changes, strict=True):
        pairs.add(step.reshape(2, 3), change.reshape(2, 3))
    assert len(pairs) == 3
    z = r.reshape(2, 3).copy()
    pairs.down(z)
    pairs.up(z)
    np.testing.assert_allclose(z.ravel(), updated_inverse(steps[2:], changes[2:], np.ones(6)) @ r, atol=1e-12)
    pairs.clear()
    assert len(pairs) == 0


def test_the_newest_pair_that_tells_a_curvature():
    pairs, ones = _core.Pairs(4, 3), np.ones(3)
    assert pairs.newest() is None
    pairs.add(ones, 2 * ones)
    pairs.add(ones, -ones)
    pairs.down(ones.copy())
    change, product = pairs.newest()
    np.testing.assert_array_equal(change, 2 * ones)
    assert product == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"r": np.ones(3, np.float32)}, "r must be float64"),
        ({"r": np.ones(4)}, "r must have 3 numbers; got 4"),
        ({"r": np.ones(6)[::2]}, "r must be C-contiguous"),
        ({"r": np.ones(3), "bend": np.ones(2)}, "bend must have 3 numbers; got 2"),
        ({"r": np.ones(3), "free": np.ones(3, bool)}, "free must be float64"),
        ({"r": np.ones(3), "free": np.ones(3), "bend": np.ones(3)}, "exclude each other"),
        ({"r": [1.0, 1.0, 1.0]}, "r must be an ndarray; got list"),
    ],
)
def test_bad_vectors_are_refused(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        _core.Pairs(2, 3).down(**arguments)


def test_a_read_only_vector_is_refused():
    r = np.ones(3)
    r.flags.writeable = False
    with pytest.raises(ValueError, match="r must be writeable"):
        _core.Pairs(2, 3).down(r)


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="capacity must be >= 1"):
        _core.Pairs(0, 3)
