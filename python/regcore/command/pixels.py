"""The memory of a Pillow image as an array.

Pillow keeps an image of several bands as four bytes a pixel. ``tobytes`` copies them into memory that is new
each time, and holds the interpreter's lock meanwhile: with two threads that read photos it costs more than
all else that is not decoding. The Arrow C data interface [1]_, which Pillow has from 11.2 on, hands out the
bytes where they are.

References
----------
.. [1] https://arrow.apache.org/docs/format/CDataInterface.html
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from PIL import Image

_BANDS = 4
_STRIP = 1 << 17  # pixels of a strip, which stays in cache between its copy and its use


class _ArrowArray(ctypes.Structure):
    """``struct ArrowArray``."""

    _fields_: ClassVar = [
        ("length", ctypes.c_int64),
        ("null_count", ctypes.c_int64),
        ("offset", ctypes.c_int64),
        ("n_buffers", ctypes.c_int64),
        ("n_children", ctypes.c_int64),
        ("buffers", ctypes.POINTER(ctypes.c_void_p)),
        ("children", ctypes.POINTER(ctypes.c_void_p)),
        ("dictionary", ctypes.c_void_p),
        ("release", ctypes.c_void_p),
        ("private_data", ctypes.c_void_p),
    ]


_pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


class _Borrowed:
    """Memory that the capsule `owner` keeps alive, for NumPy."""

    def __init__(self, address: int, shape: tuple[int, ...], owner: object) -> None:
        self.__array_interface__ = {"version": 3, "typestr": "|u1", "shape": shape, "data": (address, True)}
        self._owner = owner


def _borrow(image: Image.Image) -> npt.NDArray[np.uint8] | None:
    """The pixels where they are; None if Pillow cannot hand them out."""
    export = getattr(image, "__arrow_c_array__", None)
    if export is None:
        return None
    try:
        _, capsule = export()
    except ValueError:  # more than 16 MB: several blocks of memory
        return None
    # A list of four bytes for each pixel: the bytes are the second buffer of the only child.
    pixels = _ArrowArray.from_address(_pointer_of(capsule, b"arrow_array"))
    n_pixels = image.width * image.height
    if pixels.n_children != 1 or pixels.length != n_pixels or pixels.offset != 0:
        return None
    values = _ArrowArray.from_address(pixels.children[0])
    if values.n_buffers != 2 or values.length != _BANDS * n_pixels or values.offset != 0:
        return None
    return np.asarray(_Borrowed(values.buffers[1], (n_pixels, _BANDS), capsule))


def blocks_of_pixels(image: Image.Image) -> Iterator[npt.NDArray[np.uint8]]:
    """The pixels of an RGB image, without a copy where that can be.

    Parameters
    ----------
    image : PIL.Image.Image
        Mode "RGB". It must not be changed while a block is in use.

    Yields
    ------
    ndarray of uint8, shape (n_pixels, 4)
        Red, green, blue, and a byte that means nothing; read-only. Together the blocks are the image.
    """
    whole = _borrow(image)
    if whole is not None:
        yield whole
        return
    n_rows = max(1, _STRIP // max(1, image.width))
    for top in range(0, image.height, n_rows):
        strip = image.crop((0, top, image.width, min(top + n_rows, image.height)))
        borrowed = _borrow(strip)
        if borrowed is None:
            borrowed = np.frombuffer(strip.tobytes("raw", "RGBX"), dtype=np.uint8).reshape(-1, _BANDS)
        yield borrowed
