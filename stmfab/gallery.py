"""A contact sheet: a row a sample, its images beside its targets, as a microscopist looks at them."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .lettering import DPI, LINE, Canvas
from .lettering import GREY as GREY_WORDS
from .physics.arrays import JUNCTION, ArraySpec
from .place import disk_errors

TILE = 112  # pixels of one picture on a sheet of many
GAP = 6
BAR = 5  # pixels: height of a colour bar
CAPTION_LINES = 2
CAPTION = 14 + CAPTION_LINES * LINE + 8  # pixels under a picture, for its colour bar and the sample's values
FOLD = 34  # pixels between lines of pictures of one sample: colour bar, names
MOST_A_LINE = 6  # pictures of a sample that is alone on its sheet
HEADER = 36  # pixels above a block, for the names of its columns
MARGIN = 12
FONT = 6.5  # points
TITLE_FONT, RANGE_FONT = 9.0, 6.0
CHARACTER = 0.57  # width of a character of words, over the font's size
ASPECT = 1.5  # width over height that the sheet aims at
SHOWN_PERCENT = (0.5, 99.5)  # the grey scale ends here at the latest
SHOWN_SPREAD = 6.0  # median absolute deviations from the median: a deep vacancy must not hide the lattice
TOLD = ("param", "defect_count")  # arrays that a caption is told from
FIRST = ("topography", "topography_backward", "ideal", "clean")
BAR_SHARES = (0.5, 0.2)  # a scale bar is a round length between these shares of the frame
EVENTS_MAX = 127  # the events' bits, all set
GREY, HOT = "grey", "hot"  # colours of masks and of measured images
NUMBERED = np.array(  # colours of classes and instances: 0 black, the others in turn
    [(0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0)], np.uint8
)  # M. Okabe and K. Ito, Color Universal Design (2002)
NOT_A_NUMBER = (51, 102, 230)
CAPTIONS = {
    "scan.size_nm": "{:.3g} nm",
    "height_nm": "gap {:.2f} nm",
    "setpoint_nA": "{:.3g} nA",
    "tip.apex": "{}",
    "defect_count": "defects {:.0f}",
    "instrument.feedback.loop_gain": "gain {:.2g}",
    "instrument.feedback.crossover_Hz": "loop {:.3g} Hz",
}  # what a sample's caption says beside its bias, where the dataset has it

JUNCTIONS = "junctions"  # where the recipe has several
Image = NDArray[Any]


@dataclass(frozen=True)
class Row:
    """One sample on the sheet: its pictures by name, the width of its frame, and its caption; or why it has none."""

    images: Mapping[str, Image]
    size_nm: float
    caption: str
    trouble: str = ""


def shown(arrays: Sequence[ArraySpec]) -> list[ArraySpec]:
    """Return the arrays that are pictures, of several junctions one each: first the topographies and their ideals."""
    pictures = [picture for spec in arrays if spec.is_image for picture in spec.apart().values()]
    rank = {name: position for position, name in enumerate(FIRST)}
    return sorted(pictures, key=lambda spec: rank.get(spec.name.partition(".")[0], len(FIRST)))


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
    drawn = []
    for place, index in enumerate(indices):
        values = recorded(arrays["param"][place] if "param" in arrays else np.empty(0), columns)
        values |= {"defect_count": int(arrays["defect_count"][place])} if "defect_count" in arrays else {}
        images = {name: arrays[name][place] for name in names}
        drawn.append(row(images, f"#{index}", constants, values))
    return drawn


def recorded(record: NDArray[Any], columns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the values of a sample's record by name, those of choices in words."""
    values = zip(columns, record, strict=False)
    return {
        column["name"]: column["categories"][int(value)] if column.get("categories") else float(value)
        for column, value in values
    }


def row(images: Mapping[str, Image], name: str, constants: Mapping[str, Any], drawn: Mapping[str, Any]) -> Row:
    """Return the row of one sample from its pictures, what it is called, the recipe and the values drawn."""

    def value(path: str) -> Any:
        return drawn.get(path, _constant(constants, path))

    several = sorted(_constant(constants, JUNCTIONS) or {})
    biases_V = [_bias_V(value, f"{JUNCTIONS}.{name}") for name in several] or [_bias_V(value, JUNCTION)]
    there = {path: value(path) for path in CAPTIONS if isinstance(value(path), (int, float, str))}
    words = [CAPTIONS[path].format(found) for path, found in there.items()]
    shown = " ".join(f"{bias_V:+.2f}" for bias_V in biases_V)
    return Row(images, float(value("scan.size_nm") or 0.0), "   ".join([name, f"{shown} V", *words]))


def _bias_V(value: Callable[[str], Any], place: str) -> float:
    """Return the sample bias of a junction; what it has not of its own is that of ``junction``."""
    bias_V, polarity = (value(f"{place}.{key}") or value(f"{JUNCTION}.{key}") for key in ("bias_V", "polarity"))
    return float(bias_V or 0.0) * float(polarity or 1.0)


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
    y, x = (np.linspace(-1, 1, length) for length in values.shape)
    planes = np.stack([np.ones(values.size), np.tile(x, len(y)), np.repeat(y, len(x))])  # well conditioned
    flat = values.ravel()
    left, kept = flat, np.isfinite(flat)
    for _ in range(2):
        used = planes * kept
        plane = np.linalg.lstsq(used @ planes.T, used @ np.where(kept, flat, 0.0), rcond=None)[0]
        left = flat - plane @ planes
        there = np.isfinite(left)
        near = there & (np.abs(left) <= 2 * left[there].std() if there.any() else there)
        kept = near if near.any() else there  # a flat image keeps all
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


def sheet(title: str, specs: Sequence[ArraySpec], sheet_rows: Sequence[Row], *, tile: int = TILE) -> bytes:
    """Return the contact sheet as the bytes of a PNG; a picture is ``tile`` pixels wide."""
    grid = Grid.of(len(sheet_rows), len(specs), tile)
    canvas = np.full((grid.height, grid.width, 3), 255, np.uint8)
    drawn = [_draw_pictures(canvas, grid, place, specs, shown_row) for place, shown_row in enumerate(sheet_rows)]
    written = Canvas(canvas)
    _write_headings(written, grid, title, specs, blocks=min(grid.blocks, len(sheet_rows)))
    for position, (shown_row, pictures) in enumerate(zip(sheet_rows, drawn, strict=True)):
        left, top = grid.corner(position, 0)
        if shown_row.trouble:
            words = _fitting(shown_row.trouble, grid.block_width - 4 * GAP, FONT, tile // LINE)
            written.write((left + GAP, top + GAP), words, points=FONT, colour=GREY_WORDS)
        else:
            _write_ranges(written, grid, position, pictures)
            _write_bar(written, left, top, tile, shown_row.size_nm)
        words = _fitting(shown_row.caption, grid.block_width - 3 * GAP, FONT, CAPTION_LINES)
        written.write((left, top + grid.high + 17), words, points=FONT)
    return written.png()


def _write_headings(written: Canvas, grid: Grid, title: str, specs: Sequence[ArraySpec], *, blocks: int) -> None:
    words = _fitting(title, grid.width - 2 * MARGIN, TITLE_FONT, 1)
    written.write((MARGIN, MARGIN + 4), words, points=TITLE_FONT, anchor="lm")
    for block in range(blocks):
        for column, spec in enumerate(specs):
            left, top = grid.corner(block, column)
            written.write((left, top - 6), _fitting(cut_name(spec), grid.tile, FONT, 1), points=FONT, anchor="ls")


def _fitting(words: str, pixels: int, font: float, lines: int) -> str:
    """Return words broken into lines that fit; what is too much gives way to an ellipsis."""
    characters = int(pixels / (CHARACTER * font * DPI / 72))
    if lines == 1 and " " not in words and len(words) > characters:
        return "..." + words[3 - characters :]  # a name: its end tells more
    return "\n".join(textwrap.wrap(words, characters, max_lines=lines, placeholder=" ..."))


def _draw_pictures(
    canvas: NDArray[np.uint8], grid: Grid, position: int, specs: Sequence[ArraySpec], shown_row: Row
) -> list[Picture]:
    """Draw the pictures of one sample, each over its colour bar, and its scale bar; return them."""
    if shown_row.trouble:
        return []
    pictures = [picture(spec, _thinned(shown_row.images[spec.name], grid.tile)) for spec in specs]
    for column, drawn in enumerate(pictures):
        left, top = grid.corner(position, column)
        canvas[top : top + grid.tile, left : left + grid.tile] = _enlarged(drawn.rgb, grid.tile)
        long = grid.tile - round(RANGE_FONT * CHARACTER * DPI / 72 * len(drawn.words)) - GAP
        if drawn.words and drawn.bar and long > BAR:
            below = top + grid.tile + 5
            canvas[below : below + BAR, left : left + long] = colours(drawn.bar, np.linspace(0, 1, long))
    _draw_bar(canvas, *grid.corner(position, 0), grid.tile, shown_row.size_nm)
    return pictures


def _write_ranges(written: Canvas, grid: Grid, position: int, pictures: Sequence[Picture]) -> None:
    """Write the range of each picture of one sample under its right end."""
    for column, drawn in enumerate(pictures):
        left, top = grid.corner(position, column)
        place = left + grid.tile, top + grid.tile + 4
        written.write(place, drawn.words, points=RANGE_FONT, anchor="rt", colour=GREY_WORDS)


@dataclass(frozen=True)
class Grid:
    """Where the pictures lie on the sheet: samples run across the blocks, then down."""

    blocks: int
    lines: int
    columns: int
    tile: int
    folds: int = 1  # lines that the pictures of one sample take

    @classmethod
    def of(cls, n_rows: int, columns: int, tile: int) -> Grid:
        """Return the grid whose shape comes closest to ``ASPECT``."""
        wide, high = columns * (tile + GAP) + 3 * GAP, tile + CAPTION
        blocks = max(1, min(n_rows, round(math.sqrt(ASPECT * n_rows * high / wide))))
        across = pictures_across(n_rows, columns)
        return cls(blocks, math.ceil(n_rows / blocks), across, tile, math.ceil(columns / across))

    @property
    def high(self) -> int:
        """Return the height of all pictures of one sample."""
        return self.folds * (self.tile + FOLD) - FOLD

    @property
    def block_width(self) -> int:
        """Return the width of one block with the gap to the next."""
        return self.columns * (self.tile + GAP) + 3 * GAP

    @property
    def width(self) -> int:
        """Return the width of the sheet in pixels."""
        return 2 * MARGIN + self.blocks * self.block_width

    @property
    def height(self) -> int:
        """Return the height of the sheet in pixels."""
        return 2 * MARGIN + HEADER + self.lines * (self.high + CAPTION)

    def corner(self, position: int, column: int) -> tuple[int, int]:
        """Return the upper left pixel (x, y) of one picture of the sample at ``position`` on the sheet."""
        line, block = divmod(position, self.blocks)
        fold, place = divmod(column, self.columns)
        left = MARGIN + block * self.block_width + place * (self.tile + GAP)
        return left, MARGIN + HEADER + line * (self.high + CAPTION) + fold * (self.tile + FOLD)


def pictures_across(n_rows: int, n_pictures: int) -> int:
    """Return how many pictures of a sample lie side by side: of one alone on its sheet, an even number of a few.

    >>> [pictures_across(1, n) for n in (4, 7, 10)], pictures_across(3, 10)
    ([4, 4, 6], 10)
    """
    lines = math.ceil(n_pictures / MOST_A_LINE) if n_rows == 1 else 1
    return n_pictures if lines == 1 else 2 * math.ceil(n_pictures / lines / 2)


def cut_name(spec: ArraySpec) -> str:
    """Return a column's heading: the array's name, with its unit if it is no height."""
    return spec.name if spec.unit in ("nm", "1", "") else f"{spec.name} ({spec.unit})"


@dataclass(frozen=True)
class Picture:
    """An image in colours, shape (n_rows, n_cols, 3), row 0 of the array at the bottom; its range in words and colours.

    ``bar`` names the colours of its bar; empty where a bar would say nothing.
    """

    rgb: NDArray[np.uint8]
    words: str
    bar: str


def picture(spec: ArraySpec, image: Image) -> Picture:
    """Return an array of one sample as a microscopist looks at it: heights less their plane."""
    height = spec.unit == "nm"
    values = levelled(image) if height else np.asarray(image, np.float64)
    low, high = limits(spec, values)
    grey = np.clip((values - low) / (high - low), 0, 1) if high > low else np.full(values.shape, 0.5)
    flat = is_map(spec)
    if is_numbered(spec):
        turn = np.where(values > 0, 1 + (values.astype(int) - 1) % (len(NUMBERED) - 1), 0)
        return Picture(NUMBERED[turn][::-1], "", "")
    rgb = np.where(np.isfinite(values)[..., None], colours(GREY if flat else HOT, np.nan_to_num(grey)), NOT_A_NUMBER)
    return Picture(rgb[::-1].astype(np.uint8), _range_words(spec, low, high), "" if flat else HOT)


def colours(name: str, grey: Image) -> NDArray[np.uint8]:
    """Return grey values from 0 to 1 in colours, shape (..., 3): black over red and orange to white, or grey."""
    if name == GREY:
        return np.asarray(np.repeat(255 * grey[..., None], 3, axis=-1), np.uint8)
    return np.asarray(255 * np.clip(2 * grey[..., None] - [0.0, 0.5, 1.0], 0, 1), np.uint8)


def limits(spec: ArraySpec, values: Image) -> tuple[float, float]:
    """Return the values of an array that are shown black and white."""
    if np.dtype(spec.dtype).kind in "iu":
        return 0.0, float(EVENTS_MAX if spec.long_name.startswith("events") else max(1, values.max()))
    return (0.0, 1.0) if is_map(spec) else grey_range(values)


def is_map(spec: ArraySpec) -> bool:
    """Return whether an array is a map from 0 to 1."""
    return spec.role == "target" and spec.unit == "1"


def is_numbered(spec: ArraySpec) -> bool:
    """Return whether an array is a map of classes or of instances, whose numbers are names."""
    return spec.role == "target" and np.dtype(spec.dtype).kind == "i"


def _range_words(spec: ArraySpec, low: float, high: float) -> str:
    if spec.unit == "nm":
        return f"{1000 * (high - low):.3g} pm"
    return "" if is_map(spec) else f"{low:.2g} to {high:.2g}"  # the heading says the unit


def _thinned(image: Image, tile: int) -> Image:
    """Return the pixels of an image that a tile has room for."""
    return image[np.ix_(*(np.arange(n := min(tile, length)) * length // n for length in image.shape))]


def _enlarged(rgb: NDArray[np.uint8], tile: int) -> NDArray[np.uint8]:
    """Return a picture enlarged to a tile by repeating pixels."""
    pick = [np.arange(tile) * length // tile for length in rgb.shape[:2]]
    return np.asarray(rgb[np.ix_(*pick)], np.uint8)


def _draw_bar(canvas: NDArray[np.uint8], left: int, top: int, tile: int, size_nm: float) -> None:
    if size_nm > 0:
        y, x, wide = _bar_place(left, top, tile, size_nm)
        canvas[y - 1 : y + 4, x - 1 : x + wide + 1] = 0
        canvas[y : y + 3, x : x + wide] = 255


def _write_bar(written: Canvas, left: int, top: int, tile: int, size_nm: float) -> None:
    if size_nm > 0:
        y, x, wide = _bar_place(left, top, tile, size_nm)
        written.write_shaded((x + wide / 2, y - 4), f"{bar_nm(size_nm):g} nm", points=RANGE_FONT)


def _bar_place(left: int, top: int, tile: int, size_nm: float) -> tuple[int, int, int]:
    """Return the first row, the first column and the width of a scale bar on the sheet."""
    return top + tile - 10, left + 6, max(1, round(tile * bar_nm(size_nm) / size_nm))


def save(content: bytes, path: Path) -> None:
    """Write a picture or a page.

    Raises
    ------
    DiskError
        If the disk refuses.
    """
    with disk_errors(path, "write"):
        path.write_bytes(content)


def spread_out(available: Sequence[int], most: int) -> list[int]:
    """Return at most ``most`` of the available sample indices, evenly spaced.

    >>> spread_out(range(100), 5)
    [0, 24, 49, 74, 99]
    """
    return [available[int(place)] for place in np.linspace(0, len(available) - 1, min(most, len(available)))]
