"""COCO: a PNG an image of the first channel, and for each split the defects as boxes, masks and attributes.

The mask of a defect is the disc of half a lattice constant around it: on the map of the defects, where the store has
it, the pixels whose true position lies so near a defect, of those the ones nearest to this one.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError
from ..parts import material_of
from ..physics.targets import DefectCone
from ..plan import from_tree
from ..store import Store
from .batch import Batch, Read
from .pictures import described

NEAR = 0.1  # of the cone map: 1.1 - d / (a / 2) at d = a / 2
SAME_PLACE = 1e-3  # square pixels: a defect of the top layer and one below it share their pixels
Mask = NDArray[np.bool_]


class Coco:
    """``images/<split>/*.png``, ``annotations/instances_<split>.json``; the pieces of the latter stay in ``.parts``."""

    def files(self, batch: Batch) -> dict[str, bytes]:
        """Return the pictures of a batch and its piece of the annotations.

        Raises
        ------
        StoreError
            If the store has no defects.
        """
        if "defect_count" not in batch.arrays:
            raise StoreError(f"{batch.store}: has no table of defects to annotate")
        files: dict[str, bytes] = {}
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for row, index in enumerate(batch.indices):
            data, words = described(batch, batch.images[0], row)
            name = f"{batch.split}/{index:09d}.png"
            files[f"images/{name}"] = data
            n_rows, n_cols = batch.arrays[batch.images[0]].shape[1:]
            sizes = {"width": n_cols, "height": n_rows, "pixel_size_nm": batch.pixel_size_nm(row)}
            images.append({"id": int(index), "file_name": name, **sizes, **words})
            annotations += _annotations(batch, row)
        files[_piece(batch)] = json.dumps({"images": images, "annotations": annotations}).encode()
        return files

    def joined(self, batches: Iterable[Batch], read: Read) -> Iterator[tuple[str, Iterable[bytes]]]:
        """Yield the annotations of each split, put together from their pieces, one in memory at a time."""
        found: dict[str, list[Batch]] = defaultdict(list)
        for batch in batches:
            found[batch.split].append(batch)
        for split, members in found.items():
            yield f"annotations/instances_{split}.json", _document(members, read)


def _piece(batch: Batch) -> str:
    return f"annotations/.parts/{batch.stem}.json"


def _document(members: list[Batch], read: Read) -> Iterator[bytes]:
    words = members[0].store.attributes
    info = {"description": words["title"], "recipe_sha256": words["recipe_sha256"], "date_created": words["created"]}
    head = {"info": info, "licenses": [], "categories": _categories(members[0].store)}
    yield json.dumps(head).encode()[:-1]
    for key in ("images", "annotations"):
        yield f', "{key}": ['.encode()
        comma = ""
        for batch in members:
            items = json.loads(read(_piece(batch)))[key]
            yield "".join(
                f"{mark}{json.dumps(item)}" for mark, item in zip(_commas(comma), items, strict=False)
            ).encode()
            comma = ", " if items or comma else ""
        yield b"]"
    yield b"}\n"


def _commas(first: str) -> Iterator[str]:
    return itertools.chain([first], itertools.repeat(", "))


def _categories(store: Store) -> list[dict[str, Any]]:
    kinds = store.metadata["defect_kind"]["attributes"]["categories"]
    return [{"id": number, "name": kind, "supercategory": "defect"} for number, kind in enumerate(kinds, 1)]


def _annotations(batch: Batch, row: int) -> Iterator[dict[str, Any]]:
    """Yield an annotation for each defect in view; its id follows from the sample and its row of the table."""
    count, slots = int(batch.arrays["defect_count"][row]), batch.arrays["defect_kind"].shape[1]
    places = np.stack([batch.arrays["defect_row"][row], batch.arrays["defect_col"][row]], axis=-1)[:count]
    for slot, defect in enumerate(batch.defects(row)):
        if not defect["in_view"]:
            continue
        mask = _mask(batch, row, places.astype(np.float64), slot)
        rows, cols = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
        yield {
            "id": int(batch.indices[row]) * slots + slot + 1,
            "image_id": int(batch.indices[row]),
            "category_id": int(batch.arrays["defect_kind"][row, slot]) + 1,
            "bbox": [int(cols[0]), int(rows[0]), int(np.ptp(cols)) + 1, int(np.ptp(rows)) + 1],
            "area": int(mask.sum()),
            "segmentation": {"size": list(mask.shape), "counts": run_lengths(mask)},
            "iscrowd": 0,
            "attributes": defect,
        }


def _mask(batch: Batch, row: int, places: NDArray[np.float64], slot: int) -> Mask:
    """Return the pixels of a defect, at least the one it is nearest to."""
    shape = batch.arrays[batch.images[0]].shape[1:]
    at_row, at_col = np.mgrid[: shape[0], : shape[1]]
    squares = (at_row[..., None] - places[:, 0]) ** 2 + (at_col[..., None] - places[:, 1]) ** 2
    material = material_of(batch.store.attributes["recipe"])
    assert material is not None
    reach = material.lattice_constant_nm / 2 / batch.pixel_size_nm(row)
    shown = _map_of_all(batch)
    near = squares[:, :, slot] <= reach**2 if shown is None else batch.arrays[shown][row] >= NEAR
    own = squares[:, :, slot]
    mask: Mask = near & (own <= squares.min(axis=-1) + SAME_PLACE) & (own <= (2 * reach) ** 2)
    if not mask.any():
        mask[tuple(np.clip(np.rint(places[slot]).astype(int), 0, np.array(shape) - 1))] = True
    return mask


def _map_of_all(batch: Batch) -> str | None:
    """Return the name of the map of the defects of all layers, where one is exported."""
    targets = from_tree(batch.store.attributes["recipe"]).targets
    names = (name for name, target in targets.items() if isinstance(target, DefectCone) and target.layer == "all")
    return next((name for name in names if name in batch.arrays), None)


def run_lengths(mask: Mask) -> list[int]:
    """Return the lengths of the runs of False and True in turn, column after column, as COCO counts them.

    >>> run_lengths(np.array([[True, False], [True, True]]))
    [0, 2, 1, 1]
    """
    flat = mask.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()
    return [0, *runs] if flat[0] else runs
