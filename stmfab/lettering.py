"""Words on a picture, in pixels: a few hundredths of a second for a sheet of a hundred labels."""

from __future__ import annotations

import functools
import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

DPI = 100
DEFLATE = 3  # of a PNG: half the time of 6, a twentieth more bytes
LINE = 12  # pixels of a line of words
POINTS_AN_INCH = 72
FACE = (
    "mpl-data/fonts/ttf/DejaVuSans.ttf"  # in the folder of matplotlib, which is not imported for it: it takes a second
)
GREY = (89, 89, 89)
SHADE = (0, 0, 0, 115)  # under white words
SHADE_PIXELS = 1  # it is wider than its words by
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


class Canvas:
    """A picture to write on, shape (n_rows, n_cols, 3); places are pixels (x, y) from its upper left."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._image = Image.fromarray(pixels)
        self._draw = ImageDraw.Draw(self._image, "RGBA")

    def write(
        self,
        place: tuple[float, float],
        words: str,
        *,
        points: float,
        anchor: str = "lt",
        colour: Sequence[int] = BLACK,
    ) -> None:
        """Write lines of words; ``anchor`` says which point of a line is at the place, as Pillow does: "lt", "ms"."""
        x, y = place
        for number, line in enumerate(words.splitlines()):
            self._draw.text((x, y + number * LINE), line, fill=tuple(colour), font=_font(points), anchor=anchor)

    def write_shaded(self, place: tuple[float, float], words: str, *, points: float) -> None:
        """Write a line of words in white on a shade, its middle above the place."""
        left, top, right, bottom = self._draw.textbbox(place, words, font=_font(points), anchor="ms")
        grown = (left - SHADE_PIXELS, top - SHADE_PIXELS, right + SHADE_PIXELS, bottom + SHADE_PIXELS)
        self._draw.rectangle(grown, fill=SHADE)
        self.write(place, words, points=points, anchor="ms", colour=WHITE)

    def pixels(self) -> NDArray[np.uint8]:
        """Return the picture with its words, shape (n_rows, n_cols, 3)."""
        return np.array(self._image)

    def png(self) -> bytes:
        """Return the picture with its words as the bytes of a PNG."""
        stream = io.BytesIO()
        self._image.save(stream, "PNG", dpi=(DPI, DPI), compress_level=DEFLATE)
        return stream.getvalue()


@functools.cache
def _font(points: float) -> Any:
    """Return the face in a size; Pillow's own, which has fewer letters, where matplotlib comes without its fonts."""
    size = points * DPI / POINTS_AN_INCH
    package = importlib.util.find_spec("matplotlib")
    folders = (package.submodule_search_locations if package else None) or ()
    face = next((path for folder in folders if (path := Path(folder, FACE)).is_file()), None)
    return ImageFont.truetype(str(face), size) if face else ImageFont.load_default(size)
