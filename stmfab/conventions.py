"""What other programs look for in a store: the words of CF, coordinates of the pixels, the images of OME-Zarr.

Written once, by whoever creates the store; nothing here changes a sample.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .physics.arrays import IMAGE, JUNCTION, ArraySpec
from .physics.instrument import Raster
from .plan import Plan

CF = "CF-1.11"
OME_ZARR = "0.5"
GOLDEN_RATIO = (5**0.5 - 1) / 2
EVENTS: Mapping[int, str] = {
    1: "z_stop",
    2: "slew_or_step_limit",
    4: "outside_the_tabulated_heights",
    8: "jump_of_the_tip",
    16: "streak",
    32: "ringing",
    64: "amplifier_at_its_end",
}
DIRECTIONS: Mapping[str, str] = {
    "x": "to the right, with the column: column 0 is the smallest x",
    "y": "upwards, with the row: row 0 is the smallest y",
}
EVENTS_NAME = "events"  # as the meaning of a map of bits begins
FRAMES = (
    "images are (sample, y, x), in space whatever the fast axis; row 0 is the smallest y and column 0 the smallest x: "
    "a picture of them has its origin below; the backward pass lies at the same pixels as the forward pass"
)


def root(plan: Plan, arrays: Sequence[ArraySpec]) -> dict[str, Any]:
    """Return the attributes of the root that are addressed to other programs."""
    words = plan.tree.get("description")
    return {
        "Conventions": CF,
        "title": f"{plan.name}: synthetic scanning-tunnelling-microscope images",
        **({"summary": words} if words else {}),
        "source": "simulated by stmfab from the recipe in the attribute recipe",
        "frames": FRAMES.replace("(sample, ", "(sample, junction, ") if plan.junctions else FRAMES,
        "ome": {
            "version": OME_ZARR,
            "multiscales": [_multiscale(plan, spec, spec.name) for spec in arrays if spec.is_image],
        },
    }


def label_names(names: Iterable[str]) -> dict[str, Any]:
    """Return what OME-Zarr's group of labels says of itself."""
    return {"version": OME_ZARR, "labels": list(names)}


def label_layer(plan: Plan, spec: ArraySpec, words: Mapping[str, Any]) -> dict[str, Any]:
    """Return how OME-Zarr describes a map of whole numbers as a layer over the images, its array at the path 0.

    ``words`` are the attributes of the array: what its numbers mean.
    """
    meant = meanings(words)
    described = {
        "source": {"image": "../../"},
        "colors": [colour(number) for number in meant or (0,)],
        **({"properties": [{"label-value": number, "name": word} for number, word in meant.items()]} if meant else {}),
    }
    return {"version": OME_ZARR, "multiscales": [_multiscale(plan, spec, "0")], "image-label": described}


def colour(number: int) -> dict[str, Any]:
    """Return the colour of a number of a label layer: none of 0, hues as far apart as they can be of the others."""
    hue = number * GOLDEN_RATIO % 1.0
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.7, 1.0))
    return {"label-value": number, "rgba": [red, green, blue, 255 if number else 0]}


def meanings(words: Mapping[str, Any]) -> dict[int, str]:
    """Return what the numbers of a coded array mean by its CF attributes: of bits, every sum of them but none.

    >>> meanings({"flag_masks": [1, 2], "flag_meanings": "stop limit"})
    {1: 'stop', 2: 'limit', 3: 'stop, limit'}
    """
    names = words.get("flag_meanings", "").split()
    if "flag_masks" not in words:
        return dict(enumerate(names))
    bits = list(zip(words["flag_masks"], names, strict=True))
    every = range(1, 1 + sum(words["flag_masks"]))
    return {number: ", ".join(name for bit, name in bits if number & bit) for number in every}


def _multiscale(plan: Plan, spec: ArraySpec, path: str) -> dict[str, Any]:
    """Return an image as OME-Zarr describes it, at its one resolution: in nm where all frames have one size.

    Otherwise a step is a pixel; how wide that is in each sample, ``pixel_size_nm`` tells.
    """
    size_nm = constant_size_nm(plan)
    space: dict[str, str] = {"type": "space"} if size_nm is None else {"type": "space", "unit": "nanometer"}
    pitch = 1.0 if size_nm is None else size_nm / plan.raster.pixels
    start = 0.0 if size_nm is None else (pitch - size_nm) / 2
    several = [{"name": JUNCTION, "type": "channel"}] if spec.junctions else []
    return {
        "name": spec.name,
        "axes": [{"name": "sample", "type": "sample"}, *several, *({"name": name, **space} for name in IMAGE)],
        "datasets": [
            {
                "path": path,
                "coordinateTransformations": [
                    {"type": "scale", "scale": [1.0, *(1.0 for _ in several), pitch, pitch]},
                    {"type": "translation", "translation": [0.0, *(0.0 for _ in several), start, start]},
                ],
            }
        ],
        "metadata": {"role": spec.role, "long_name": spec.long_name, "units": spec.unit},
    }


def constant_size_nm(plan: Plan) -> float | None:
    """Return the width of the frames; None where it is drawn."""
    scan = next(part for part in plan.parts if part.path == "scan")
    return None if "size_nm" in scan.drawn else float(scan.constants["size_nm"])


def coordinates(plan: Plan) -> dict[str, tuple[NDArray[np.float64], dict[str, Any]]]:
    """Return the coordinates of pixels and junctions by dimension, each with its attributes.

    Distances of the pixel centres from the centre of the undistorted frame, along its axes: in nm where all frames have
    one size, else in widths of the frame. Junctions are numbered in the order of their names.
    """
    raster: Raster = plan.raster
    shares = (np.arange(raster.pixels) + 0.5) / raster.pixels - 0.5
    size_nm = constant_size_nm(plan)
    unit, of = ("1", "in widths of the frame") if size_nm is None else ("nm", "undistorted")
    values = shares if size_nm is None else shares * size_nm
    several = {JUNCTION: _junctions(plan.junctions)} if plan.junctions else {}
    return several | {
        name: (
            values,
            {
                "units": unit,
                "long_name": f"pixel centre along {name} from the centre of the frame, {of}",
                "axis": name.upper(),
                "direction": DIRECTIONS[name],
            },
        )
        for name in IMAGE
    }


def _junctions(names: Sequence[str]) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """Return the coordinate of the junctions: their numbers, whose meanings are their names."""
    words = {
        "units": "1",
        "long_name": "junction",
        "flag_values": list(range(len(names))),
        "flag_meanings": " ".join(names),
    }
    return np.arange(len(names), dtype=np.float64), words


def flags(spec: ArraySpec, categories: Sequence[str] | None) -> dict[str, Any]:
    """Return the CF attributes of a coded array: what its numbers, or its bits, mean; none for any other."""
    if categories is not None:
        return {
            "flag_values": list(range(len(categories))),
            "flag_meanings": " ".join(word.replace(" ", "_") for word in categories),
        }
    if spec.long_name.startswith(EVENTS_NAME):
        return {"flag_masks": list(EVENTS), "flag_meanings": " ".join(EVENTS.values())}
    return {}
