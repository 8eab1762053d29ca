"""OME-Zarr 0.5: an image a sample, in nanometres, with label layers, as napari opens it.

``train/000000012.zarr`` has the images of numbers as the channels of one array (float32, in the store's units), and
under ``labels`` what is a class, a count or bits, and the defects, each with its own number and attributes.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..conventions import FRAMES, OME_ZARR, colour, label_names, meanings
from ..physics.defect_targets import Instances
from .batch import Batch, Writer
from .masks import instances, views

DEFECTS = "defect_instances"
COMPRESSION_LEVEL = 1  # of gzip, which every reader of zarr v3 has
WHITE = "FFFFFF"
NUMBERS = "f"  # kind of dtype


class OmeZarr(Writer):
    """One group a sample: channels, labels, and in the attribute ``stmfab`` its parameters."""

    def files(self, batch: Batch) -> dict[str, bytes]:
        """Return the documents and chunks of a batch, in a folder of the split."""
        return {
            f"{batch.split}/{batch.indices[row]:09d}.zarr/{name}": data
            for row in range(len(batch.indices))
            for name, data in _image(batch, row).items()
        }


def _image(batch: Batch, row: int) -> dict[str, bytes]:
    channels, labels = _layers(batch, row)
    pitch_nm = batch.pixel_size_nm(row)
    words: dict[str, Any] = {"version": OME_ZARR}
    files: dict[str, bytes] = {}
    if channels:
        stack = np.stack([image for image, _ in channels.values()]).astype(np.float32)
        words |= {"multiscales": [_multiscale(batch, row, stack.shape)], "omero": {"channels": _shown(channels)}}
        files |= _array("0", stack, ("c", "y", "x"))
    sample = {
        "sample": int(batch.indices[row]),
        "split": batch.split,
        "frames": FRAMES,
        "pixel_size_nm": pitch_nm,
        "units": {name: unit for name, (_, unit) in channels.items()},
        "parameters": batch.parameters(row),
        "recipe_sha256": batch.store.attributes["recipe_sha256"],
    }
    files["zarr.json"] = _group({"ome": words, "stmfab": sample})
    if labels:
        files["labels/zarr.json"] = _group({"ome": label_names(labels)})
    for name, values in labels.items():
        numbers = [number for number in np.unique(values).tolist() if number] or [0]
        described = {
            "source": {"image": "../../"},
            "colors": [colour(number) for number in numbers],
            "properties": _properties(batch, row, name, numbers),
        }
        multiscale = _multiscale(batch, row, values.shape) | {"name": name}
        ome = {"version": OME_ZARR, "multiscales": [multiscale], "image-label": described}
        files[f"labels/{name}/zarr.json"] = _group({"ome": ome})
        files |= _array(f"labels/{name}/0", values, ("y", "x"))
    return files


def _layers(batch: Batch, row: int) -> tuple[dict[str, tuple[NDArray[Any], str]], dict[str, NDArray[Any]]]:
    """Return the channels of a sample, each with its unit, and its label layers."""
    channels: dict[str, tuple[NDArray[Any], str]] = {}
    labels: dict[str, NDArray[Any]] = {}
    for name in batch.images:
        image = batch.arrays[name][row]
        if image.dtype.kind == NUMBERS:
            channels[name] = (image, batch.unit(name))
        else:
            labels[name] = image
    if "defect_count" not in batch.arrays or batch.map_of(Instances) is not None:
        return channels, labels
    for view in views(batch, row):
        name = view.own("defect_row").replace("defect_row", DEFECTS)  # one a junction, where each has its own path
        if name not in labels:
            labels[name] = instances(view)
    return channels, labels


def _multiscale(batch: Batch, row: int, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the one resolution of an image: nm from the centre of the frame."""
    pitch_nm, more = batch.pixel_size_nm(row), len(shape) - 2
    corner_nm = [pitch_nm * (1 - length) / 2 for length in shape[-2:]]
    space = {"type": "space", "unit": "nanometer"}
    return {
        "name": f"{batch.store.attributes['name']} {batch.indices[row]}",
        "axes": [*[{"name": "c", "type": "channel"}] * more, *({"name": name, **space} for name in ("y", "x"))],
        "datasets": [
            {
                "path": "0",
                "coordinateTransformations": [
                    {"type": "scale", "scale": [*[1.0] * more, pitch_nm, pitch_nm]},
                    {"type": "translation", "translation": [*[0.0] * more, *corner_nm]},
                ],
            }
        ],
    }


def _shown(channels: Mapping[str, tuple[NDArray[Any], str]]) -> list[dict[str, Any]]:
    """Return how the channels are drawn: each from its least to its largest value, the first one to begin with."""
    found: list[dict[str, Any]] = []
    for name, (image, unit) in channels.items():
        low, high = float(image.min()), float(image.max())
        window = {"min": low, "max": high, "start": low, "end": high if high > low else low + 1.0}
        label = name if unit == "1" else f"{name}, {unit}"
        found.append({"label": label, "color": WHITE, "active": not found, "window": window})
    return found


def _properties(batch: Batch, row: int, name: str, numbers: list[int]) -> list[dict[str, Any]]:
    """Return what the numbers of a label layer stand for: the attributes of a defect, the words of classes and bits."""
    if name.partition(".")[0] in (DEFECTS, batch.map_of(Instances)):
        table = batch.defects(row)
        return [{"label-value": number, **(table[number - 1] if number else {})} for number in numbers]
    named = meanings(batch.attributes(name))
    return [{"label-value": number, "name": named.get(number, "") or str(number)} for number in numbers]


def _group(attributes: Mapping[str, Any]) -> bytes:
    return json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}, indent=1).encode()


def _array(path: str, values: NDArray[Any], dims: tuple[str, ...]) -> dict[str, bytes]:
    """Return the document and the only chunk of an array, as the core of zarr v3 has it."""
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": values.shape,
        "data_type": values.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": values.shape}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "gzip", "configuration": {"level": COMPRESSION_LEVEL}},
        ],
        "dimension_names": dims,
        "attributes": {},
    }
    chunk = gzip.compress(np.ascontiguousarray(values).tobytes(), COMPRESSION_LEVEL, mtime=0)
    return {
        f"{path}/zarr.json": json.dumps(document, indent=1).encode(),
        "/".join([path, "c", *("0" for _ in dims)]): chunk,
    }
