"""COCO: a PNG an image of the first channel, and for each split the defects as boxes, masks and attributes."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..errors import StoreError
from ..store import Store
from .batch import Batch, Read, Writer
from .masks import Mask, masks
from .pictures import described


class Coco(Writer):
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
    slots, defects = batch.arrays["defect_kind"].shape[1], batch.defects(row)
    for slot, mask in masks(batch, row):
        rows, cols = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
        yield {
            "id": int(batch.indices[row]) * slots + slot + 1,
            "image_id": int(batch.indices[row]),
            "category_id": int(batch.arrays["defect_kind"][row, slot]) + 1,
            "bbox": [int(cols[0]), int(rows[0]), int(np.ptp(cols)) + 1, int(np.ptp(rows)) + 1],
            "area": int(mask.sum()),
            "segmentation": {"size": list(mask.shape), "counts": run_lengths(mask)},
            "iscrowd": 0,
            "attributes": defects[slot],
        }


def run_lengths(mask: Mask) -> list[int]:
    """Return the lengths of the runs of False and True in turn, column after column, as COCO counts them.

    >>> run_lengths(np.array([[True, False], [True, True]]))
    [0, 2, 1, 1]
    """
    flat = mask.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()
    return [0, *runs] if flat[0] else runs
