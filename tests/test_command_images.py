"""Image features: HSV in OpenCV's convention, and folders of images good and bad."""

from __future__ import annotations

import colorsys
import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from regcore import _core
from regcore.command.errors import DataError
from regcore.command.hsv import hsv_counts, rgb_to_hsv, unit_length
from regcore.command.images import DamagedImageError, ImageFeatures, read_image, read_image_folder
from regcore.command.pixels import blocks_of_pixels

PIXELS = ImageFeatures("pixels", size=(4, 4))


def histogram_of(rgb):
    return unit_length(hsv_counts(rgb))


def test_hsv_of_known_colours():
    # What OpenCV's 8-bit RGB2HSV gives for them.
    known = {
        (0, 0, 0): (0, 0, 0),
        (255, 255, 255): (0, 0, 255),
        (128, 128, 128): (0, 0, 128),
        (255, 0, 0): (0, 255, 255),
        (255, 255, 0): (30, 255, 255),
        (0, 255, 0): (60, 255, 255),
        (0, 255, 255): (90, 255, 255),
        (0, 0, 255): (120, 255, 255),
        (255, 0, 255): (150, 255, 255),
        (255, 0, 4): (0, 255, 255),  # 359.06 degrees round up to a full turn
        (255, 0, 6): (179, 255, 255),
        (200, 100, 50): (10, 191, 200),
    }
    rgb = np.array(list(known), dtype=np.uint8)
    np.testing.assert_array_equal(rgb_to_hsv(rgb), np.array(list(known.values())))


def check_against_colorsys(rgb):
    hsv = rgb_to_hsv(rgb).astype(float)
    assert hsv[:, 0].max() < 180
    for (red, green, blue), (hue, saturation, value) in zip(rgb.tolist(), hsv.tolist(), strict=True):
        h, s, v = colorsys.rgb_to_hsv(red / 255, green / 255, blue / 255)
        turned = abs(hue - 180 * h)
        # Half a step of rounding, and what a reciprocal of 12 fractional bits adds to it.
        assert min(turned, 180 - turned) <= 0.5 + 5 * 255 * 0.5 / 4096 + 1e-9
        assert abs(saturation - 255 * s) <= 0.5 + 255 * 0.5 / 4096 + 1e-9
        assert value == round(255 * v)


def test_hsv_against_colorsys_on_a_grid():
    levels = [*range(0, 256, 17), 1, 254]
    check_against_colorsys(np.array(list(itertools.product(levels, repeat=3)), dtype=np.uint8))


@settings(max_examples=25, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.just(3))))
def test_hsv_against_colorsys_on_any_colours(rgb):
    check_against_colorsys(rgb)


@pytest.mark.parametrize("bins", [(8, 8, 8), (18, 3, 5), (1, 1, 1)])
def test_counts_are_the_histogram_of_the_hsv_image(bins):
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (300, 333, 3), dtype=np.uint8)  # more pixels than one block
    expected, _ = np.histogramdd(
        rgb_to_hsv(rgb).reshape(-1, 3).astype(float), bins=bins, range=((0, 180), (0, 256), (0, 256))
    )
    counts = hsv_counts(rgb, bins)
    np.testing.assert_array_equal(counts, expected.ravel())
    assert counts.sum() == 300 * 333
    row = unit_length(counts)
    assert row.dtype == np.float32
    np.testing.assert_allclose(row, counts / np.linalg.norm(counts), rtol=1e-6)


def test_counts_of_strided_pixels():
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    np.testing.assert_array_equal(hsv_counts(rgb[::-1, ::2]), hsv_counts(rgb[::-1, ::2].copy()))


# -- Pillow's memory -----------------------------------------------------------------------------------------


def gathered(image):
    blocks = list(blocks_of_pixels(image))
    assert all(block.dtype == np.uint8 and block.shape[1] == 4 for block in blocks)
    assert not any(block.flags.writeable for block in blocks)
    return len(blocks), np.concatenate(blocks)[:, :3].reshape(image.height, image.width, 3)


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (480, 640)])
@pytest.mark.parametrize("lent", [True, False])
def test_pixels_are_those_of_the_image(shape, lent, monkeypatch):
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    if not lent:  # a Pillow that does not know the Arrow interface
        monkeypatch.delattr(Image.Image, "__arrow_c_array__", raising=False)
    n_blocks, found = gathered(Image.fromarray(rgb))
    np.testing.assert_array_equal(found, rgb)
    if lent and hasattr(Image.Image, "__arrow_c_array__"):
        assert n_blocks == 1


@pytest.mark.parametrize("shape", [(2100, 2100), (3, 200_000)])  # the first in more than one block of memory
@pytest.mark.parametrize("lent", [True, False])
def test_pixels_of_large_images(shape, lent, monkeypatch):
    rgb = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    if not lent:
        monkeypatch.delattr(Image.Image, "__arrow_c_array__", raising=False)
    np.testing.assert_array_equal(gathered(Image.fromarray(rgb))[1], rgb)


def test_pixels_outlive_their_image():
    rgb = np.random.default_rng(2).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    blocks = list(blocks_of_pixels(Image.fromarray(rgb)))
    others = [Image.new("RGB", (400, 300), (k, k, k)) for k in range(20)]  # would take its place
    assert len(others) == 20
    np.testing.assert_array_equal(np.concatenate(blocks)[:, :3], rgb.reshape(-1, 3))


# -- single images -------------------------------------------------------------------------------------------


def save(path: Path, array, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def grey_values(path: Path) -> np.ndarray:
    row = read_image(path, PIXELS).reshape(4, 4, 3)
    assert (row == row[..., :1]).all()
    return row[..., 0]


RAMP = np.arange(16, dtype=np.uint8).reshape(4, 4) * 17


def test_pixels_of_rgb_and_grey(tmp_path):
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    row = read_image(save(tmp_path / "a.png", rgb), PIXELS)
    assert row.dtype == np.uint8
    np.testing.assert_array_equal(row.reshape(4, 4, 3), rgb)
    np.testing.assert_array_equal(grey_values(save(tmp_path / "g.png", RAMP)), RAMP)


def test_size_is_width_by_height(tmp_path):
    wide = np.zeros((2, 6, 3), dtype=np.uint8)
    wide[:, 3:] = 255
    row = read_image(save(tmp_path / "w.png", wide), ImageFeatures("pixels", size=(6, 2)))
    np.testing.assert_array_equal(row.reshape(2, 6, 3), wide)


@pytest.mark.parametrize("name", ["g.png", "g.tif", "g.pgm"])
def test_16_bits_are_scaled_not_clipped(tmp_path, name):
    path = save(tmp_path / name, RAMP.astype(np.uint16) * 257)
    np.testing.assert_array_equal(grey_values(path), RAMP)


def test_one_bit(tmp_path):
    path = save(tmp_path / "b.png", RAMP > 100)
    np.testing.assert_array_equal(grey_values(path), np.where(RAMP > 100, 255, 0))


def test_transparency_turns_white(tmp_path):
    rgba = np.zeros((4, 4, 4), dtype=np.uint8)
    rgba[:2, :, 3] = 255  # black above, nothing below
    expected = np.repeat(np.array([0, 255], np.uint8), 8).reshape(4, 4)
    np.testing.assert_array_equal(grey_values(save(tmp_path / "rgba.png", rgba)), expected)
    palette = Image.new("P", (4, 4))
    palette.putdata([0] * 8 + [1] * 8)
    palette.putpalette([0, 0, 0, 90, 60, 30])
    palette.save(tmp_path / "p.png", transparency=1)
    np.testing.assert_array_equal(grey_values(tmp_path / "p.png"), expected)


def test_cmyk(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "c.jpg", quality=95)
    row = read_image(tmp_path / "c.jpg", PIXELS).reshape(-1, 3).astype(int)
    assert (abs(row - [255, 0, 0]) < 12).all()


def test_exif_orientation_turns_pixels(tmp_path):
    upright = np.zeros((32, 32, 3), dtype=np.uint8)
    upright[:16] = 255  # white above
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees to see it upright
    save(tmp_path / "e.jpg", np.rot90(upright), exif=exif, quality=95)
    row = read_image(tmp_path / "e.jpg", ImageFeatures("pixels", size=(2, 2))).reshape(2, 2, 3)
    assert row[0].min() > 200
    assert row[1].max() < 50


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (255, 0)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(grey_values(tmp_path / "a.gif"), np.full((4, 4), 255))


def test_floating_point_pixels_are_refused(tmp_path):
    path = save(tmp_path / "f.tif", np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4))
    with pytest.raises(DamagedImageError, match="floating point"):
        read_image(path, PIXELS)


def test_32_bit_pixels_are_refused(tmp_path):
    path = save(tmp_path / "i.tif", np.full((4, 4), 1 << 20, dtype=np.int32))
    with pytest.raises(DamagedImageError, match="32-bit"):
        read_image(path, PIXELS)


def truncated(path: Path) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (24, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "bmp", "tif"])
@pytest.mark.parametrize("features", [ImageFeatures(), PIXELS], ids=["histogram", "pixels"])
def test_truncated_image(tmp_path, suffix, features):
    path = truncated(save(tmp_path / f"t.{suffix}", noise(0)))
    with pytest.raises(DamagedImageError):
        read_image(path, features)


def test_image_that_is_something_else(tmp_path):
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(DamagedImageError, match="empty"):
        read_image(tmp_path / "empty.jpg", PIXELS)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(DamagedImageError, match="unknown image format"):
        read_image(tmp_path / "text.png", PIXELS)


def test_image_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"gone\.png.*No such file"):
        read_image(tmp_path / "gone.png", PIXELS)


# -- folders -------------------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path) -> Path:
    for k in range(4):
        save(tmp_path / "photos" / "cats" / f"{k}.jpg", noise(k))
        save(tmp_path / "photos" / "dogs" / f"{k}.png", noise(10 + k))
    return tmp_path / "photos"


def test_folder(photos):
    (photos / "cats" / "Thumbs.db").touch()
    (photos / "cats" / ".hidden.jpg").touch()
    (photos / ".git").mkdir()
    (photos / "readme.txt").touch()
    save(photos / "dogs" / "more" / "x.PNG", noise(99))
    calls = []
    folder = read_image_folder(photos, progress=lambda *at: calls.append(at))
    assert folder.classes == ("cats", "dogs")
    np.testing.assert_array_equal(folder.y, [0] * 4 + [1] * 5)
    assert folder.X.shape == (9, 512)
    assert folder.X.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(folder.X, axis=1), 1, rtol=1e-6)
    assert folder.skipped == ()
    assert folder.n_other_files == 1
    assert calls == [(8, 9), (9, 9)]
    np.testing.assert_array_equal(folder.X[4], histogram_of(noise(10)))
    np.testing.assert_array_equal(folder.X[8], histogram_of(noise(99)))


def test_number_of_threads_changes_nothing(photos):
    one = read_image_folder(photos, PIXELS, n_threads=1)
    three = read_image_folder(photos, PIXELS, n_threads=3)
    assert one.X.dtype == np.uint8
    np.testing.assert_array_equal(one.X, three.X)


def test_damaged_image_is_named(photos):
    path = truncated(photos / "dogs" / "2.png")
    with pytest.raises(DataError, match="damaged or not an image") as caught:
        read_image_folder(photos)
    assert caught.value.where == str(path)


def test_first_of_the_damaged_images_is_named(photos):
    for k in range(4):
        truncated(photos / "dogs" / f"{k}.png")
    with pytest.raises(DataError) as caught:
        read_image_folder(photos, n_threads=4)
    assert caught.value.where == str(photos / "dogs" / "0.png")


def test_damaged_images_are_skipped_on_demand(photos):
    path = truncated(photos / "cats" / "1.jpg")
    folder = read_image_folder(photos, skip_damaged=True)
    assert folder.skipped == (str(path),)
    np.testing.assert_array_equal(folder.y, [0] * 3 + [1] * 4)
    np.testing.assert_array_equal(folder.X[3], histogram_of(noise(10)))


def test_class_of_damaged_images_alone(photos):
    for path in (photos / "dogs").iterdir():
        truncated(path)
    with pytest.raises(DataError, match=r"dogs: all images .* damaged"):
        read_image_folder(photos, skip_damaged=True)


def test_unreadable_file_is_not_a_damaged_image(photos):
    (photos / "dogs" / "9.png").symlink_to(photos / "nowhere.png")
    with pytest.raises(DataError, match=r"9\.png: cannot be read"):
        read_image_folder(photos, skip_damaged=True)


def test_empty_class_folder(photos):
    (photos / "birds").mkdir()
    with pytest.raises(DataError, match="birds: the class folder holds no images") as caught:
        read_image_folder(photos)
    assert "it has" not in str(caught.value)
    (photos / "birds" / "1.heic").touch()
    with pytest.raises(DataError, match=r"no images .*it has \.heic files"):
        read_image_folder(photos)


def test_one_class_alone(photos):
    for path in (photos / "dogs").iterdir():
        path.unlink()
    (photos / "dogs").rmdir()
    with pytest.raises(DataError, match=r"one class alone \(cats\)"):
        read_image_folder(photos)


def test_folder_without_classes(photos):
    with pytest.raises(DataError, match="no sub-folders"):
        read_image_folder(photos / "cats")


def test_interrupt_while_reading(photos):
    def press(n_done, n_files):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_image_folder(photos, progress=press)


def test_photos_against_published_histograms(data_directory, load_data):
    """Rows made elsewhere, with OpenCV, from the same photos shrunk to 200x200 and stored as JPEG again."""
    published = load_data("dogs_vs_cats_hsv512.npz")
    top = data_directory / "dogs_vs_cats_photos"
    files = [path for name in ("cats", "dogs") for path in sorted((top / name).glob("*.jpg"))[:12]]
    at_full_size = np.array([read_image(path, ImageFeatures()) for path in files])
    nearest = (at_full_size @ published["X"].T).argmax(axis=1)
    assert len(set(nearest)) == len(files)
    for path, row in zip(files, nearest, strict=True):
        assert str(published["classes"][published["y"][row]]) in path.name
        with Image.open(path) as image:
            shrunk = image.resize((200, 200), Image.Resampling.BICUBIC)
        stored = io.BytesIO()
        shrunk.save(stored, "JPEG", quality=75)
        with Image.open(stored) as image:
            histogram = histogram_of(np.asarray(image))
        assert histogram @ published["X"][row] > 0.98


@pytest.mark.parametrize("isa", _core.available_isas())
@pytest.mark.parametrize("bins", [(8, 8, 8), (180, 256, 1), (1, 256, 256), (7, 5, 3)])
def test_counts_of_every_level_are_those_of_the_tables(isa, bins):
    # Every pair of red and green with a few blues, and a length that no vector divides.
    levels = np.arange(256, dtype=np.uint8)
    rgb = np.array(np.meshgrid(levels, levels, [0, 1, 77, 128, 254, 255])).reshape(3, -1).T[:-3]
    rgb = np.ascontiguousarray(rgb, dtype=np.uint8)
    hue, saturation, value = rgb_to_hsv(rgb).astype(int).T
    index = hue * bins[0] // 180 * bins[1] + saturation * bins[1] // 256
    index = index * bins[2] + value * bins[2] // 256
    active = _core.info()["isa"]
    _core.select_isa(isa)
    try:
        found = hsv_counts(rgb, bins)
    finally:
        _core.select_isa(active)
    np.testing.assert_array_equal(found, np.bincount(index, minlength=bins[0] * bins[1] * bins[2]))


def test_counts_that_are_refused():
    with pytest.raises(ValueError, match="four bytes each; got 7 bytes"):
        _core.colour_counts(np.zeros(7, np.uint8), (1, 1, 1))
    for bins in ((0, 1, 1), (1, 1, 5000), (4096, 4096, 4096)):
        with pytest.raises(ValueError, match="bins must be three numbers from 1 to 4096"):
            _core.colour_counts(np.zeros(8, np.uint8), bins)
    assert _core.colour_counts(np.zeros(0, np.uint8), (1, 2, 1)).tolist() == [0, 0]
