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
from .masks import Mask, View, masks, views
from .pictures import described


class Coco(Writer):
    """``images/<split>/*.png``, ``annotations/instances_<split>.json``; the pieces of the latter stay in ``.parts``."""

    def used(self, store: Store, images: tuple[str, ...]) -> tuple[str, ...]:
        """Return all images: the first is drawn, and the map of the defects says how far their masks reach.

        Raises
        ------
        StoreError
            If the store has no defects.
        """
        if "defect_count" not in store.metadata:
            raise StoreError(f"{store}: has no table of defects to annotate")
        return images

    def files(self, batch: Batch) -> dict[str, bytes]:
        """Return the pictures of a batch and its piece of the annotations."""
        files: dict[str, bytes] = {}
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for view in (view for row in range(len(batch.indices)) for view in views(batch, row)):
            data, words = described(batch, view.image, view.row)
            files[f"images/{view.file}"] = data
            n_rows, n_cols = view.shape
            sizes = {"width": n_cols, "height": n_rows, "pixel_size_nm": batch.pixel_size_nm(view.row)}
            images.append({"id": view.number, "file_name": view.file, **sizes, **words})
            annotations += _annotations(view)
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


def _category(store: Store) -> str:
    """Return the column of the table of defects that is the category: the species, which stores of format 8 lack."""
    return "defect_species" if "defect_species" in store.metadata else "defect_kind"


def _categories(store: Store) -> list[dict[str, Any]]:
    words = store.metadata[_category(store)]["attributes"]["categories"]
    return [{"id": number, "name": word, "supercategory": "defect"} for number, word in enumerate(words, 1)]


def _annotations(view: View) -> Iterator[dict[str, Any]]:
    """Yield an annotation for each defect that is shown; its id follows from the picture and its row of the table."""
    categories, defects = view.of(_category(view.batch.store)), view.batch.defects(view.row)
    for slot, mask in masks(view):
        rows, cols = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
        yield {
            "id": view.number * len(categories) + slot + 1,
            "image_id": view.number,
            "category_id": int(categories[slot]) + 1,
            "bbox": [int(cols[0]), int(rows[0]), int(np.ptp(cols)) + 1, int(np.ptp(rows)) + 1],
            "area": int(mask.sum()),
            "segmentation": {"size": list(mask.shape), "counts": run_lengths(mask)},
            "iscrowd": 0,
            "attributes": view.own_of(defects[slot]),
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
