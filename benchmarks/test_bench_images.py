"""A folder of photos into colour histograms: both cores against one, and one core against OpenCV's own loop.

The photos are those of the tests' real data. Without them these are skipped, without OpenCV the second one.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL")

from regcore.command.files import usable_cpus
from regcore.command.images import ImageFeatures, find_images, read_image, read_image_folder

ROUNDS = 5


@pytest.fixture(scope="module")
def photos() -> Path:
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("REGCORE_TEST_DATA", beside)) / "dogs_vs_cats_photos"
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is no directory (REGCORE_TEST_DATA names another)")
    return folder


@pytest.fixture(scope="module")
def files(photos, full_size) -> list[Path]:
    found = [path for _, paths in find_images(photos)[0] for path in paths]
    return found if full_size else found[:: max(1, len(found) // 12)]


def opencv_histograms(cv2, files):
    """The loop that tutorials have."""
    rows = []
    for path in files:
        hsv = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2HSV)
        histogram = cv2.calcHist([hsv], [0, 1, 2], None, (8, 8, 8), [0, 180, 0, 256, 0, 256])
        rows.append(cv2.normalize(histogram, histogram).ravel())
    return np.array(rows)


def best_in_turn(*functions):
    """The shortest time of each: what else runs on the machine can only add to it."""
    seconds = [float("inf")] * len(functions)
    for _ in range(ROUNDS):
        for k, function in enumerate(functions):
            start = time.perf_counter()
            function()
            seconds[k] = min(seconds[k], time.perf_counter() - start)
    return seconds


def test_both_cores_against_one(photos, report, full_size):
    one, two = (read_image_folder(photos, n_threads=n) for n in (1, 2))
    np.testing.assert_array_equal(one.X, two.X)
    single, both = best_in_turn(
        lambda: read_image_folder(photos, n_threads=1), lambda: read_image_folder(photos, n_threads=2)
    )
    report(
        f"{len(one.X)} photos: one thread {single:.2f} s, two {both:.2f} s, {single / both:.2f} times faster"
    )
    if full_size and usable_cpus() >= 2:
        assert single >= 1.8 * both


def test_one_core_against_opencv(files, report, full_size):
    cv2 = pytest.importorskip("cv2")
    cv2.setNumThreads(1)
    features = ImageFeatures()

    def ours():
        return np.array([read_image(path, features) for path in files])

    # The two decode JPEG with libraries of their own: a pixel may fall into the next bin.
    assert np.abs(ours() - opencv_histograms(cv2, files)).max() < 0.05
    regcore, opencv = best_in_turn(ours, lambda: opencv_histograms(cv2, files))
    report(f"{len(files)} photos, one thread: regcore {regcore:.2f} s, OpenCV {opencv:.2f} s")
    if full_size:
        assert regcore <= opencv
