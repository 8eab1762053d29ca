"""PNG with 16 bits: how numbers become grey levels, and how they are found again."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from .batch import Batch, Writer

LEVELS = 2**16 - 1
ROWS = "the first row is the smallest y"


@dataclass(frozen=True)
class Picture:
    """Grey levels of an image: value = offset + scale * level, exact to half a level."""

    levels: NDArray[Any]
    offset: float
    scale: float


def picture(values: NDArray[Any]) -> Picture:
    """Return an image as grey levels: bytes as they are, numbers from the least to the largest over 16 bits."""
    if values.dtype == np.uint8:
        return Picture(values, 0.0, 1.0)
    exact = values.astype(np.float64)
    low, high = float(exact.min()), float(exact.max())
    scale = (high - low) / LEVELS or 1.0
    return Picture(np.rint((exact - low) / scale).astype(np.uint16), low, scale)


def png(shown: Picture, **words: str) -> bytes:
    """Return a picture as a PNG file with text chunks."""
    text = PngImagePlugin.PngInfo()
    for key, value in words.items():
        text.add_text(key, value)
    buffer = io.BytesIO()
    Image.fromarray(shown.levels).save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()


def described(batch: Batch, name: str, row: int) -> tuple[bytes, dict[str, Any]]:
    """Return an image of a batch as a PNG file, and its scale, which the file's text chunks state too."""
    shown = picture(batch.arrays[name][row])
    words = {"unit": batch.unit(name), "offset": shown.offset, "scale": shown.scale}
    text = {key: str(value) for key, value in words.items()}
    data = png(
        shown,
        Title=f"{batch.store.attributes['name']} {name} {batch.indices[row]}",
        **text,
        pixel_size_nm=repr(batch.pixel_size_nm(row)),
        Comment=f"value = offset + scale * level, in unit; {ROWS}",
    )
    return data, words


class Png(Writer):
    """A PNG an image, and a JSON file a sample with the scales, parameters and defects."""

    def files(self, batch: Batch) -> dict[str, bytes]:
        """Return the files of a batch, in a folder of the split."""
        return {name: data for row in range(len(batch.indices)) for name, data in _files(batch, row)}


def _files(batch: Batch, row: int) -> Iterator[tuple[str, bytes]]:
    stem = f"{batch.split}/{batch.indices[row]:09d}"
    images: dict[str, dict[str, Any]] = {}
    for name in batch.images:
        data, words = described(batch, name, row)
        file = f"{stem}.{name}.png"
        images[name] = {"file": file.rpartition("/")[2], **words}
        yield file, data
    sidecar = {
        "sample": int(batch.indices[row]),
        "value": f"offset + scale * level, in unit; {ROWS}",
        "pixel_size_nm": batch.pixel_size_nm(row),
        "images": images,
        "parameters": batch.parameters(row),
        "defects": batch.defects(row),
    }
    yield f"{stem}.json", json.dumps(sidecar, indent=1).encode()
