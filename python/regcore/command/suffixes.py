"""File names by which images and texts are known: apart, as this needs neither Pillow nor SciPy."""

from __future__ import annotations

# fmt: off
IMAGES = frozenset({
    ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg",
    ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp",
})
# fmt: on
"""File names taken for images; other files in a class folder are left alone."""

TEXTS = frozenset({"", ".txt", ".text", ".md"})
"""File names taken for texts where there are no images; collections of messages often have none."""
