"""Colour histograms in HSV space, in integers, from 8-bit RGB.

Hue, saturation and value follow OpenCV's 8-bit convention (``COLOR_RGB2HSV``): V = max(R, G, B),
S = 255 (V - min) / V, and H in steps of two degrees, 0..179. Pillow's own HSV mode has 256 steps of hue and
other roundings, so a histogram made from it does not compare with the ones found in tutorials and papers.

A histogram never forms the HSV image: the core counts the pixels of each bin as it computes them.
`rgb_to_hsv` is the same in NumPy, by tables: both H and S depend on few small integers (the chroma V - min,
V, and the hue's numerator).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from regcore._core import colour_counts

HUE_STEPS = 180
"""Number of hue values: one per two degrees."""

_SHIFT = 12
_HUE_WIDTH = 6 * 255 + 1  # numerators run from -chroma to 5 * chroma


@lru_cache(maxsize=1)
def _hue_table() -> npt.NDArray[np.uint8]:
    """Hue of (chroma, numerator + chroma), shape (256, 1531).

    OpenCV multiplies by a reciprocal rounded to 12 fractional bits instead of dividing, and adds half
    before it shifts. The rounding is part of the convention: it decides on which side of a bin's edge a
    colour falls.
    """
    chroma = np.arange(256, dtype=np.int64)[:, np.newaxis]
    numerator = np.arange(_HUE_WIDTH, dtype=np.int64)[np.newaxis, :] - chroma
    reciprocal = np.rint((HUE_STEPS << _SHIFT) / (6.0 * np.maximum(chroma, 1))).astype(np.int64)
    hue = (numerator * reciprocal + (1 << (_SHIFT - 1))) >> _SHIFT
    # Entries with a numerator above 5 * chroma are never looked up.
    return np.where(chroma > 0, hue % HUE_STEPS, 0).astype(np.uint8)


@lru_cache(maxsize=1)
def _saturation_table() -> npt.NDArray[np.uint8]:
    """Saturation of (value, chroma), shape (256, 256); entries with chroma > value are never looked up."""
    value = np.arange(256, dtype=np.int64)[:, np.newaxis]
    chroma = np.arange(256, dtype=np.int64)[np.newaxis, :]
    reciprocal = np.rint((255 << _SHIFT) / np.maximum(value, 1).astype(np.float64)).astype(np.int64)
    saturation = (chroma * reciprocal + (1 << (_SHIFT - 1))) >> _SHIFT
    return np.where(value > 0, np.minimum(saturation, 255), 0).astype(np.uint8)


def _indices(
    rgb: npt.NDArray[np.uint8],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Flat positions of pixels (n, 3) in the tables by (chroma, numerator) and by (value, chroma)."""
    red, green, blue = np.ascontiguousarray(rgb.T)
    value = np.maximum(np.maximum(red, green), blue)
    chroma = value - np.minimum(np.minimum(red, green), blue)
    r, g, b, c = (plane.astype(np.int16) for plane in (red, green, blue, chroma))
    # Red wins ties, then green, as in OpenCV; a third of a turn is 2 * chroma.
    numerator = np.where(value == green, b - r + 2 * c, r - g + 4 * c)
    np.copyto(numerator, g - b, where=value == red)
    by_hue = c.astype(np.int32) * (_HUE_WIDTH + 1) + numerator
    by_value = (value.astype(np.int32) << 8) | chroma
    return by_hue, by_value


def rgb_to_hsv(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Convert 8-bit RGB to 8-bit HSV in OpenCV's convention.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (..., 3)

    Returns
    -------
    ndarray of uint8, shape (..., 3)
        Hue 0..179 (steps of two degrees), saturation 0..255, value 0..255.
    """
    pixels = rgb.reshape(-1, 3)
    by_hue, by_value = _indices(pixels)
    hsv = np.empty_like(pixels)
    hsv[:, 0] = _hue_table().ravel()[by_hue]
    hsv[:, 1] = _saturation_table().ravel()[by_value]
    hsv[:, 2] = by_value >> 8
    return hsv.reshape(rgb.shape)


def hsv_counts(rgb: npt.NDArray[np.uint8], bins: tuple[int, int, int] = (8, 8, 8)) -> npt.NDArray[np.int64]:
    """Count the pixels of each colour bin.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (..., 3) or (..., 4)
        A fourth channel is not read; with it nothing is copied.
    bins : tuple of int
        Number of equal bins over hue [0, 180), saturation [0, 256) and value [0, 256).

    Returns
    -------
    ndarray of int64, shape (bins[0] * bins[1] * bins[2],)
        Hue-major: the value's bin varies fastest.
    """
    n_channels = rgb.shape[-1]
    if n_channels == 3:
        padded = np.zeros((rgb.size // 3, 4), dtype=np.uint8)
        padded[:, :3] = rgb.reshape(-1, 3)
        rgb = padded
    return colour_counts(np.ascontiguousarray(rgb).reshape(-1), bins)


def unit_length(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Counts divided by their Euclidean length; zeros stay zeros."""
    values = counts.astype(np.float64)
    norm = np.sqrt(np.dot(values, values))
    return (values / norm if norm > 0 else values).astype(np.float32)
