"""A contact sheet: a row a sample, its images beside its targets, as a microscopist looks at them."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .physics.arrays import ArraySpec
from .place import disk_errors

TILE = 112  # pixels of one picture on the sheet
GAP = 4
CAPTION = 26  # pixels under a picture, for its range and the sample's values
HEADER = 36  # pixels above a block, for the names of its columns
MARGIN = 12
DPI = 100
ASPECT = 1.5  # width over height that the sheet aims at
SHOWN_PERCENT = (0.5, 99.5)  # the grey scale ends here at the latest
SHOWN_SPREAD = 6.0  # median absolute deviations from the median: a deep vacancy must not hide the lattice
FIRST = ("topography", "topography_backward", "ideal", "clean")
BAR_SHARES = (0.5, 0.2)  # a scale bar is a round length between these shares of the frame
EVENTS_MAX = 127  # the events' bits, all set
CAPTIONS = {
    "scan.size_nm": "{:.3g} nm",
    "height_nm": "gap {:.2f} nm",
    "setpoint_nA": "{:.2g} nA",
    "instrument.feedback.loop_gain": "gain {:.2g}",
}  # what a sample's caption says beside its bias, where the dataset has it

Image = NDArray[Any]


@dataclass(frozen=True)
class Row:
    """One sample on the sheet: its pictures by name, the width of its frame, and its caption."""

    images: Mapping[str, Image]
    size_nm: float
    caption: str


def shown(arrays: Sequence[ArraySpec]) -> list[ArraySpec]:
    """Return the arrays that are pictures: the topographies and their ideals first, then the rest in their order."""
    pictures = [spec for spec in arrays if spec.dims == ("y", "x")]
    rank = {name: position for position, name in enumerate(FIRST)}
    return sorted(pictures, key=lambda spec: rank.get(spec.name, len(FIRST)))


def rows(
    arrays: Mapping[str, NDArray[Any]],
    *,
    indices: Sequence[int],
    names: Sequence[str],
    constants: Mapping[str, Any],
    columns: Sequence[Mapping[str, Any]],
) -> list[Row]:
    """Return the rows of a sheet from arrays with a leading sample axis; ``constants`` is the recipe.

    A value that is drawn is read from the record, any other from the recipe.
    """
    position = {column["name"]: place for place, column in enumerate(columns)}
    drawn = []
    for place, index in enumerate(indices):
        record = arrays["param"][place] if "param" in arrays else np.empty(0)
        values = {name: float(record[column]) for name, column in position.items() if column < len(record)}
        images = {name: arrays[name][place] for name in names}
        drawn.append(_row(images, index, constants, values))
    return drawn


def _row(images: Mapping[str, Image], index: int, constants: Mapping[str, Any], drawn: Mapping[str, float]) -> Row:
    def value(path: str) -> Any:
        return drawn.get(path, _constant(constants, path))

    bias_V = float(value("junction.bias_V") or 0.0) * float(value("junction.polarity") or 1.0)
    words = [words.format(value(path)) for path, words in CAPTIONS.items() if isinstance(value(path), (int, float))]
    return Row(images, float(value("scan.size_nm") or 0.0), "   ".join([f"#{index}", f"{bias_V:+.2f} V", *words]))


def _constant(tree: Any, path: str) -> Any:
    for key in path.split("."):
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def levelled(image: Image) -> NDArray[np.float64]:
    """Return an image less its plane, shape (n_rows, n_cols): what is left of a tilted sample is its surface.

    The plane is fitted by least squares and again without the pixels farther than 2 deviations from it, so that a
    step or a stop does not tilt the rest.
    """
    values = np.asarray(image, np.float64)
    y, x = np.indices(values.shape)
    design = np.stack([np.ones(values.size), x.ravel(), y.ravel()], axis=1)
    flat = values.ravel()
    kept = np.isfinite(flat)
    left = flat - np.nanmean(flat)
    for _ in range(2):
        plane, *_rest = np.linalg.lstsq(design[kept], flat[kept], rcond=None)
        left = flat - design @ plane
        kept = np.isfinite(left) & (np.abs(left) <= 2 * np.nanstd(left) + np.finfo(np.float64).tiny)
    return left.reshape(values.shape)


def grey_range(image: Image) -> tuple[float, float]:
    """Return the values that are shown black and white: as far as the lattice needs, not the deepest defect."""
    there = np.asarray(image)[np.isfinite(image)]
    if not there.size:
        return 0.0, 1.0
    low, high = np.percentile(there, SHOWN_PERCENT)
    middle = np.median(there)
    reach = SHOWN_SPREAD * np.median(np.abs(there - middle))
    return float(max(low, middle - reach)), float(min(high, middle + reach))


def bar_nm(size_nm: float) -> float:
    """Return the length of a scale bar: 1, 2 or 5 times a power of ten, and at most half of the frame.

    >>> [bar_nm(size) for size in (1.0, 3.3, 30.0)]
    [0.5, 1.0, 10.0]
    """
    power = 10.0 ** math.floor(math.log10(size_nm * BAR_SHARES[0]))
    return max(step * power for step in (1, 2, 5) if step * power <= size_nm * BAR_SHARES[0])


def sheet(title: str, specs: Sequence[ArraySpec], sheet_rows: Sequence[Row]) -> bytes:
    """Return the contact sheet as the bytes of a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    grid = Grid.of(len(sheet_rows), len(specs))
    canvas = np.full((grid.height, grid.width, 3), 255, np.uint8)
    figure = Figure(figsize=(grid.width / DPI, grid.height / DPI), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.text(MARGIN, MARGIN + 4, title, fontsize=9, va="center")
    for block in range(min(grid.blocks, len(sheet_rows))):
        for column, spec in enumerate(specs):
            left, top = grid.corner(block, column)
            axes.text(left, top - 4, cut_name(spec), fontsize=6.5, va="bottom")
    for position, row in enumerate(sheet_rows):
        for column, spec in enumerate(specs):
            left, top = grid.corner(position, column)
            tile, caption = picture(spec, row.images[spec.name])
            canvas[top : top + TILE, left : left + TILE] = tile
            axes.text(left + TILE, top + TILE + 2, caption, fontsize=6, va="top", ha="right", color="0.35")
        left, top = grid.corner(position, 0)
        _draw_bar(canvas, axes, left, top, row.size_nm)
        axes.text(left, top + TILE + 12, row.caption, fontsize=6.5, va="top")
    axes.imshow(canvas, interpolation="nearest", extent=(0, grid.width, grid.height, 0), aspect="auto")
    stream = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(stream, format="png")
    return stream.getvalue()


@dataclass(frozen=True)
class Grid:
    """Where the pictures lie on the sheet: samples run across the blocks, then down."""

    blocks: int
    lines: int
    columns: int

    @classmethod
    def of(cls, n_rows: int, columns: int) -> Grid:
        """Return the grid whose shape comes closest to ``ASPECT``."""
        wide, high = columns * (TILE + GAP) + 3 * GAP, TILE + CAPTION + GAP
        blocks = max(1, min(n_rows, round(math.sqrt(ASPECT * n_rows * high / wide))))
        return cls(blocks, math.ceil(n_rows / blocks), columns)

    @property
    def block_width(self) -> int:
        """Return the width of one block with the gap to the next."""
        return self.columns * (TILE + GAP) + 3 * GAP

    @property
    def width(self) -> int:
        """Return the width of the sheet in pixels."""
        return 2 * MARGIN + self.blocks * self.block_width

    @property
    def height(self) -> int:
        """Return the height of the sheet in pixels."""
        return 2 * MARGIN + HEADER + self.lines * (TILE + CAPTION + GAP)

    def corner(self, position: int, column: int) -> tuple[int, int]:
        """Return the upper left pixel (x, y) of one picture of the sample at ``position`` on the sheet."""
        line, block = divmod(position, self.blocks)
        left = MARGIN + block * self.block_width + column * (TILE + GAP)
        return left, MARGIN + HEADER + line * (TILE + CAPTION + GAP)


def cut_name(spec: ArraySpec) -> str:
    """Return a column's heading: the array's name, with its unit if it is no height."""
    return spec.name if spec.unit in ("nm", "1", "") else f"{spec.name} ({spec.unit})"


def picture(spec: ArraySpec, image: Image) -> tuple[NDArray[np.uint8], str]:
    """Return one picture as RGB, shape (TILE, TILE, 3), row 0 of the array at the bottom, and its range in words."""
    from matplotlib import colormaps

    height = spec.unit == "nm"
    values = levelled(image) if height else np.asarray(image, np.float64)
    low, high = _limits(spec, values)
    grey = np.clip((values - low) / (high - low), 0, 1) if high > low else np.full(values.shape, 0.5)
    colours = colormaps["gray" if spec.role == "target" and not height else "afmhot"](np.nan_to_num(grey))[..., :3]
    rgb = np.where(np.isfinite(values)[..., None], colours, [0.2, 0.4, 0.9])
    return _enlarged((255 * rgb).astype(np.uint8)), _range_words(spec, low, high)


def _limits(spec: ArraySpec, values: Image) -> tuple[float, float]:
    if np.dtype(spec.dtype).kind in "iu":
        return 0.0, float(EVENTS_MAX)
    return (0.0, 1.0) if spec.role == "target" and spec.unit != "nm" else grey_range(values)


def _range_words(spec: ArraySpec, low: float, high: float) -> str:
    if spec.unit == "nm":
        return f"{1000 * (high - low):.3g} pm"
    return "" if spec.role == "target" else f"{low:.2g} to {high:.2g} {spec.unit}"


def _enlarged(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture enlarged to the tile by repeating pixels (or thinned), y upwards."""
    pick = [np.arange(TILE) * length // TILE for length in rgb.shape[:2]]
    return np.asarray(rgb[::-1][np.ix_(*pick)], np.uint8)


def _draw_bar(canvas: NDArray[np.uint8], axes: Any, left: int, top: int, size_nm: float) -> None:
    if size_nm <= 0:
        return
    length = bar_nm(size_nm)
    y, x, wide = top + TILE - 10, left + 6, max(1, round(TILE * length / size_nm))
    canvas[y - 1 : y + 4, x - 1 : x + wide + 1] = 0
    canvas[y : y + 3, x : x + wide] = 255
    words = axes.text(x + wide / 2, y - 2, f"{length:g} nm", fontsize=6, color="white", ha="center", va="bottom")
    words.set_bbox({"facecolor": "black", "alpha": 0.45, "pad": 0.5, "linewidth": 0})


def save(png: bytes, path: Path) -> None:
    """Write a picture.

    Raises
    ------
    DiskError
        If the disk refuses.
    """
    with disk_errors(path, "write"):
        path.write_bytes(png)


def spread_out(available: Sequence[int], most: int) -> list[int]:
    """Return at most ``most`` of the available sample indices, evenly spaced.

    >>> spread_out(range(100), 5)
    [0, 24, 49, 74, 99]
    """
    return [available[int(place)] for place in np.linspace(0, len(available) - 1, min(most, len(available)))]
