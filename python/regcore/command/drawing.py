"""Small drawings in SVG and PNG for the report: they take their colours from the page, light or dark."""

from __future__ import annotations

import base64
import colorsys
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Curve:
    """A quantity over strengths, with a spread.

    Attributes
    ----------
    name : str
        Also the CSS class of its colour.
    alphas, mean, sd : sequence of float
    zero_share : sequence of float
    best : int
    """

    name: str
    alphas: Sequence[float]
    mean: Sequence[float]
    sd: Sequence[float]
    zero_share: Sequence[float]
    best: int


def _svg(width: float, height: float, label: str, body: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}">'
        + "".join(body)
        + "</svg>"
    )


def _ticks(low: float, high: float) -> list[float]:
    """Some three to six round numbers between two."""
    step = 10.0 ** floor(log10(high - low))
    for factor in (0.2, 0.5, 1.0, 2.0):
        if (high - low) / (step * factor) <= 6:
            step *= factor
            break
    first = np.ceil(low / step - 1e-9)
    return [float(k * step) for k in np.arange(first, np.floor(high / step + 1e-9) + 1)]


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = max(0.08 * (high - low), 0.002)
    return low - margin, high + margin


def strips(rows: Sequence[tuple[str, Sequence[float]]]) -> str:
    """A dot for each value, a row for each name, and a bar at the mean; values are shares."""
    width, left, right, row_height = 440, 84, 14, 32
    height = row_height * len(rows) + 34
    low, high = _range([value for _, values in rows for value in values])

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (width - left - right)

    body = []
    for tick in _ticks(100 * low, 100 * high):
        at = x(tick / 100)
        body.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="4" y2="{height - 24}"/>')
        body.append(
            f'<text class="tick" x="{at:.1f}" y="{height - 8}" text-anchor="middle">{tick:g} %</text>'
        )
    for k, (name, values) in enumerate(rows):
        y = row_height * k + 18
        mean = x(float(np.mean(values)))
        body.append(f'<text x="{left - 12}" y="{y + 5}" text-anchor="end">{escape(name)}</text>')
        body += [
            f'<circle class="{escape(name)} dot" cx="{x(value):.1f}" cy="{y}" r="4"/>' for value in values
        ]
        body.append(
            f'<line class="{escape(name)} bar" x1="{mean:.1f}" x2="{mean:.1f}" y1="{y - 10}" y2="{y + 10}"/>'
        )
    return _svg(width, height, "test accuracy of each penalty, a dot for each split", body)


def curve(found: Curve, limits: tuple[float, float]) -> str:
    """Accuracy over strength with a band of one deviation, and below it the share of zero weights."""
    width, height, left, right, top, bottom = 320, 256, 48, 12, 12, 98
    low, high = limits
    logs = np.log10(found.alphas)
    first, last = float(logs.min()), float(logs.max())
    span = (last - first) or 1.0

    step = (width - left - right) / len(found.alphas)

    def x(value: float) -> float:
        return left + step / 2 + (value - first) / span * (width - left - right - step)

    def y(value: float) -> float:
        return top + (high - min(high, max(low, value))) / (high - low) * (height - top - bottom)

    body = []
    for tick in _ticks(100 * low, 100 * high):
        at = y(tick / 100)
        body.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{at:.1f}" y2="{at:.1f}"/>')
        body.append(f'<text class="tick" x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{tick:g} %</text>')
    points = [(x(a), m, s) for a, m, s in zip(logs.tolist(), found.mean, found.sd, strict=True)]
    band = [(at, mean + sd) for at, mean, sd in points]
    band += [(at, mean - sd) for at, mean, sd in reversed(points)]
    body.append(
        f'<polygon class="{found.name} band" points="'
        + " ".join(f"{at:.1f},{y(value):.1f}" for at, value in band)
        + '"/>'
    )
    body.append(
        f'<polyline class="{found.name} line" points="'
        + " ".join(f"{at:.1f},{y(mean):.1f}" for at, mean, _ in points)
        + '"/>'
    )
    best = points[found.best]
    body.append(f'<circle class="{found.name} dot" cx="{best[0]:.1f}" cy="{y(best[1]):.1f}" r="5"/>')
    base = height - 36
    for (at, _, _), share in zip(points, found.zero_share, strict=True):
        tall = 34 * share
        body.append(
            f'<rect class="zeros" x="{at - step / 3:.1f}" y="{base - tall:.1f}" width="{step / 1.5:.1f}"'
            f' height="{tall:.1f}"/>'
        )
    body.append(f'<line class="axis" x1="{left}" x2="{width - right}" y1="{base}" y2="{base}"/>')
    body.append(f'<text class="tick" x="{left - 6}" y="{base - 14}" text-anchor="end">zeros</text>')
    exponents = range(int(np.ceil(first - 1e-9)), int(np.floor(last + 1e-9)) + 1, max(1, round(span / 4)))
    body += [
        f'<text class="tick" x="{x(exponent):.1f}" y="{base + 16}" text-anchor="middle">'
        f"10<tspan dy='-5' font-size='9'>{exponent}</tspan></text>"
        for exponent in exponents
    ]
    body.append(
        f'<text class="tick" x="{(left + width - right) / 2}" y="{height - 5}" text-anchor="middle">'
        "strength, weak to strong</text>"
    )
    return _svg(width, height, f"accuracy over the strength of {found.name}", body)


def curve_limits(curves: Sequence[Curve]) -> tuple[float, float]:
    """One vertical range for all of them, where most of them are: strengths that leave no weight are not."""
    low = min(float(np.min(np.subtract(one.mean, one.sd))) for one in curves)
    high = max(float(np.max(np.add(one.mean, one.sd))) for one in curves)
    middle = min(float(np.median(one.mean)) for one in curves)
    low = max(low, middle - 1.5 * max(high - middle, 0.02))
    return max(0.0, low - 0.01), min(1.0, high + 0.01)


def bins(weights: npt.NDArray[Any], shape: tuple[int, int, int], largest: float, label: str) -> str:
    """Weights of an HSV histogram: in its own colour, a square for each bin, its area the weight.

    Only weights above zero are drawn: the bins that speak for a class.
    """
    n_hue, n_saturation, n_value = shape
    cell, gap = 14, 16
    across = min(4, n_value)
    panel_width, panel_height = n_hue * cell + gap, n_saturation * cell + gap + 12
    down = -(-n_value // across)
    body = []
    for v in range(n_value):
        left, top = (v % across) * panel_width, (v // across) * panel_height
        body.append(
            f'<text class="tick" x="{left}" y="{top + 11}">value {v + 1}/{n_value}</text>'
            f'<rect class="frame" x="{left}" y="{top + 15}" width="{n_hue * cell}"'
            f' height="{n_saturation * cell}"/>'
        )
        for h in range(n_hue):
            for s in range(n_saturation):
                share = float(weights[h, s, v]) / largest if largest > 0 else 0.0
                if share < 0.003:
                    continue
                side = cell * min(1.0, share) ** 0.5
                red, green, blue = (
                    round(255 * part)
                    for part in colorsys.hsv_to_rgb(
                        (h + 0.5) / n_hue, (s + 0.5) / n_saturation, (v + 0.5) / n_value
                    )
                )
                body.append(
                    f'<rect class="bin" fill="#{red:02x}{green:02x}{blue:02x}"'
                    f' x="{left + (h + 0.5) * cell - side / 2:.1f}"'
                    f' y="{top + 15 + (n_saturation - s - 0.5) * cell - side / 2:.1f}"'
                    f' width="{side:.1f}" height="{side:.1f}"/>'
                )
    return _svg(across * panel_width - gap, down * panel_height, label, body)


def png(pixels: npt.NDArray[np.uint8]) -> str:
    """A picture (height, width, 3 or 4) as a data URL."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def weight_image(weights: npt.NDArray[Any], largest: float) -> str:
    """Weights of pixels as a picture, enlarged to some 200 pixels.

    Of shape (height, width): red speaks for the class, blue against it, nothing is transparent. Of shape
    (height, width, 3): grey is zero, a lighter channel speaks for the class.
    """
    scaled = np.clip(weights / (largest or 1.0), -1, 1)
    if scaled.ndim == 3:
        pixels = np.rint(127.5 + 127.5 * scaled).astype(np.uint8)
    else:
        pixels = np.zeros((*scaled.shape, 4), np.uint8)
        pixels[scaled > 0] = (214, 69, 65, 0)
        pixels[scaled < 0] = (52, 120, 190, 0)
        pixels[..., 3] = np.rint(255 * np.abs(scaled) ** 0.7)
    factor = max(1, 200 // max(scaled.shape[:2]))
    return png(np.repeat(np.repeat(pixels, factor, axis=0), factor, axis=1))


def thumbnail(path: str, side: int = 200) -> str | None:
    """A small JPEG of an image file as a data URL; None if it cannot be read any more."""
    from PIL import Image

    from .images import DAMAGE, to_rgb, upright

    buffer = io.BytesIO()
    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * side, 2 * side))
            small = to_rgb(upright(image))
            small.thumbnail((side, side))
            small.save(buffer, "JPEG", quality=82)
    except DAMAGE:
        return None
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def grey_image(row: npt.NDArray[Any], shape: tuple[int, ...]) -> str:
    """A row of pixels as a picture."""
    values = row.reshape(shape).astype(np.float64)
    top = values.max() or 1.0
    pixels = np.rint(255 * values / top).astype(np.uint8)
    factor = max(1, 120 // max(shape[:2]))
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., np.newaxis], 3, axis=2)
    return png(np.repeat(np.repeat(pixels, factor, axis=0), factor, axis=1))
