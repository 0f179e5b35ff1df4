"""A folder of images, one sub-folder per class, as rows of features."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from .errors import DataError
from .files import usable_cpus, visible
from .hsv import hsv_counts, unit_length
from .pixels import blocks_of_pixels
from .recipe import Recipe, Rows, Samples
from .suffixes import IMAGES

# What Pillow's format plugins raise on bytes that are not what their header promises.
DAMAGE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


_AT_A_TIME = 8  # images of one task: threads that hand over less often wait less for each other


class DamagedImageError(Exception):
    """A file with the name of an image whose content cannot be decoded."""


@dataclass(frozen=True)
class ImageFeatures:
    """How an image becomes a row of numbers.

    Attributes
    ----------
    kind : {"hsv-histogram", "pixels"}
    bins : tuple of int
        Bins over hue, saturation and value ("hsv-histogram").
    size : tuple of int
        Width and height to which every image is stretched or shrunk ("pixels").
    """

    kind: Literal["hsv-histogram", "pixels"] = "hsv-histogram"
    bins: tuple[int, int, int] = (8, 8, 8)
    size: tuple[int, int] = (32, 32)

    @property
    def n_features(self) -> int:
        """Length of a row."""
        if self.kind == "pixels":
            return self.size[0] * self.size[1] * 3
        return self.bins[0] * self.bins[1] * self.bins[2]

    @property
    def dtype(self) -> type[np.uint8] | type[np.float32]:
        """Element type of a row."""
        return np.uint8 if self.kind == "pixels" else np.float32

    def describe(self) -> str:
        """Say in a few words what the features are."""
        if self.kind == "pixels":
            return f"RGB pixels at {self.size[0]}x{self.size[1]}"
        return f"{'x'.join(map(str, self.bins))} HSV histogram, rows of length 1"


@dataclass(frozen=True)
class ImageFolder:
    """The rows, labels and class names of a folder, and what was left out.

    Attributes
    ----------
    X : ndarray, shape (n_samples, n_features)
        uint8 for pixels, float32 for histograms.
    y : ndarray of int32, shape (n_samples,)
    classes : tuple of str
        The sub-folders' names in sorted order; y indexes them.
    skipped : tuple of str
        Damaged images that were left out (only with ``skip_damaged=True``).
    n_other_files : int
        Files without the name of an image.
    paths : tuple of str
        The image of each row.
    """

    X: npt.NDArray[Any]
    y: npt.NDArray[np.int32]
    classes: tuple[str, ...]
    skipped: tuple[str, ...]
    n_other_files: int
    paths: tuple[str, ...]


def _raise(error: OSError) -> None:
    raise error


def _class_files(folder: Path) -> tuple[list[Path], Counter[str]]:
    """Image files below `folder` in sorted order, and the suffixes of the files that are none."""
    images: list[Path] = []
    others: Counter[str] = Counter()
    for root, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if visible(name))
        for name in sorted(filter(visible, files)):
            path = Path(root, name)
            if path.suffix.lower() not in IMAGES:
                others[path.suffix.lower() or "(no suffix)"] += 1
            elif path.is_file() or not path.exists():  # a dangling link is to be reported, a pipe is not
                images.append(path)
    return images, others


def find_images(folder: str | os.PathLike[str]) -> tuple[list[tuple[str, list[Path]]], int]:
    """List a folder's classes and their image files.

    Parameters
    ----------
    folder : path-like
        Holds one sub-folder per class; images may lie deeper inside. Hidden files are left alone.

    Returns
    -------
    classes : list of (name, files)
        Sorted by name.
    n_other_files : int
        Files in the class folders without the name of an image.

    Raises
    ------
    DataError
        No sub-folder, one class alone, or a class folder without an image.
    """
    top = Path(folder)
    try:
        names = sorted(entry.name for entry in os.scandir(top) if visible(entry.name) and entry.is_dir())
        found = [(name, *_class_files(top / name)) for name in names]
    except OSError as error:
        raise DataError(error.filename or top, f"cannot be read ({error.strerror})") from error
    if not names:
        raise DataError(
            top, "has no sub-folders; put the images of each class into a folder of its own, as in cats/1.jpg"
        )
    for name, files, others in found:
        if not files:
            there = ", ".join(suffix for suffix, _ in others.most_common(3))
            seen = f"; it has {there} files, which are not read" if there else ""
            raise DataError(top / name, f"the class folder holds no images (JPEG, PNG, WebP, ...){seen}")
    if len(names) == 1:
        raise DataError(top, f"has one class alone ({names[0]}); at least two sub-folders are needed")
    return [(name, files) for name, files, _ in found], sum(others.total() for _, _, others in found)


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB of an image in any of Pillow's modes; what is transparent turns white."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        # Pillow's own conversion clips at 255 instead of scaling.
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() > 0xFFFF:
            raise DamagedImageError("its pixels are 32-bit integers; save it with 8 or 16 bits")
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise DamagedImageError("its pixels are floating point numbers; save it with 8 or 16 bits")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def upright(image: Image.Image) -> Image.Image:
    """Turn the image as its EXIF orientation says; EXIF that cannot be read says nothing."""
    try:
        return ImageOps.exif_transpose(image)
    except DAMAGE:
        return image


def _features(image: Image.Image, features: ImageFeatures) -> npt.NDArray[Any]:
    if features.kind == "hsv-histogram":
        counts = np.zeros(features.n_features, dtype=np.int64)
        for block in blocks_of_pixels(to_rgb(image)):
            counts += hsv_counts(block, features.bins)
        return unit_length(counts)
    # A JPEG can be decoded at 1/2, 1/4 or 1/8: not below twice the size wanted, whichever way it is turned.
    image.draft(None, (2 * max(features.size), 2 * max(features.size)))
    image.load()
    small = to_rgb(upright(image)).resize(features.size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.asarray(small).reshape(-1)


def read_image(path: str | os.PathLike[str], features: ImageFeatures) -> npt.NDArray[Any]:
    """Read one image and compute its features.

    Of an animation the first frame counts. 16-bit images are scaled to 8 bits, transparency is laid over
    white, and "pixels" are turned as the EXIF orientation says.

    Returns
    -------
    ndarray, shape (n_features,)

    Raises
    ------
    DamagedImageError
        The content is not an image, or is cut off, or of a kind that has no 8-bit RGB form.
    DataError
        The file cannot be opened at all.
    """
    try:
        # At one go: each of Pillow's many small reads would hand the interpreter's lock to another thread.
        with open(path, "rb", buffering=0) as file:
            content = file.read()
        with Image.open(io.BytesIO(content)) as image:
            return _features(image, features)
    except UnidentifiedImageError as error:
        raise DamagedImageError("unknown image format" if content else "the file is empty") from error
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(path, f"cannot be read ({error.strerror})") from error
        raise DamagedImageError(str(error) or type(error).__name__) from error


def _read_all(
    files: Sequence[Path],
    features: ImageFeatures,
    *,
    skip_damaged: bool,
    n_threads: int | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """A row for each file, and which of them were read."""
    X = np.empty((len(files), features.n_features), dtype=features.dtype)
    kept = np.ones(len(files), dtype=bool)

    def read(first: int) -> None:
        for i in range(first, min(first + _AT_A_TIME, len(files))):
            try:
                X[i] = read_image(files[i], features)
            except DamagedImageError as error:
                if not skip_damaged:
                    raise DataError(
                        files[i], f"damaged or not an image ({error}); --skip-damaged leaves such files out"
                    ) from error
                kept[i] = False

    with warnings.catch_warnings(), ThreadPoolExecutor(n_threads or usable_cpus()) as pool:
        # Remarks on odd metadata or large images, about pictures that are read all the same.
        warnings.simplefilter("ignore")
        Image.init()
        # Threads serve well here: Pillow and the core release the GIL in the parts that take the time.
        parts = [pool.submit(read, first) for first in range(0, len(files), _AT_A_TIME)]
        try:
            for k, part in enumerate(parts):
                part.result()  # in order: the first damaged image is the one that is named
                if progress is not None:
                    progress(min((k + 1) * _AT_A_TIME, len(files)), len(files))
        finally:  # after an error or Ctrl-C, what has not begun does not begin
            pool.shutdown(wait=False, cancel_futures=True)
    return X, kept


def read_image_folder(
    folder: str | os.PathLike[str],
    features: ImageFeatures | None = None,
    *,
    skip_damaged: bool = False,
    n_threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImageFolder:
    """Read a folder that has one sub-folder of images per class.

    Parameters
    ----------
    folder : path-like
    features : ImageFeatures, optional
    skip_damaged : bool
        Leave out images that cannot be decoded, instead of raising at the first one.
    n_threads : int, optional
        Images decoded at a time; by default one per CPU of this process.
    progress : callable, optional
        Called as ``progress(n_done, n_files)`` after every few images.

    Raises
    ------
    DataError
        Names the first file or folder that cannot be used.
    """
    features = features or ImageFeatures()
    by_class, n_other_files = find_images(folder)
    files = [path for _, paths in by_class for path in paths]
    y = np.repeat(np.arange(len(by_class), dtype=np.int32), [len(paths) for _, paths in by_class])
    X, kept = _read_all(files, features, skip_damaged=skip_damaged, n_threads=n_threads, progress=progress)
    if not kept.all():
        counts = np.bincount(y[kept], minlength=len(by_class))
        for (name, _), count in zip(by_class, counts, strict=True):
            if count == 0:
                raise DataError(Path(folder, name), "all images of this class are damaged")
        X, y = X[kept], y[kept]
    return ImageFolder(
        X=X,
        y=y,
        classes=tuple(name for name, _ in by_class),
        skipped=tuple(str(path) for path, good in zip(files, kept, strict=True) if not good),
        n_other_files=n_other_files,
        paths=tuple(str(path) for path, good in zip(files, kept, strict=True) if good),
    )


def recipe_of(features: ImageFeatures) -> Recipe:
    """What a model has to remember of how images became rows."""
    return Recipe("images", {"kind": features.kind, "bins": list(features.bins), "size": list(features.size)})


def features_of(recipe: Recipe) -> ImageFeatures:
    """The way back from `recipe_of`."""
    values = recipe.values
    return ImageFeatures(values["kind"], tuple(values["bins"]), tuple(values["size"]))


def read_rows(
    source: str,
    recipe: Recipe,
    *,
    skip_damaged: bool = False,
    n_threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Rows:
    """Read images to predict: one file, a folder of images, or one with a sub-folder per class.

    Raises
    ------
    DataError
        There is no image, or one is damaged.
    """
    top = Path(source)
    if top.is_file():
        files = [top]
    else:
        try:
            files, _ = _class_files(top)
        except OSError as error:
            raise DataError(error.filename or top, f"cannot be read ({error.strerror})") from error
    if not files:
        raise DataError(top, "holds no images (JPEG, PNG, WebP, ...)")
    X, kept = _read_all(
        files, features_of(recipe), skip_damaged=skip_damaged, n_threads=n_threads, progress=progress
    )
    paths = [path for path, good in zip(files, kept, strict=True) if good]
    notes = []
    if not kept.all():
        notes.append(f"{len(kept) - len(paths)} damaged images left out")
    # A sub-folder is a class by its name; images that lie in the folder itself have none.
    parts = [path.relative_to(top).parts if top.is_dir() else () for path in paths]
    labels = tuple(part[0] for part in parts) if all(len(part) > 1 for part in parts) else None
    return Rows(X[kept], Samples("image", tuple(map(str, paths))), labels, tuple(notes))
