"""COCO: a PNG an image of the first channel, and for each split the defects as boxes, masks and attributes.

Where the store has instances, a defect's mask is its own, and one that shows nowhere is not annotated. Elsewhere it is
the disc of half a lattice constant around it: on the map of the defects, where the store has it, the pixels whose true
position lies so near a defect, of those the ones nearest to this one.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError
from ..parts import material_of
from ..physics.defect_targets import Instances, Target
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
        for view in _views(batch):
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


@dataclass(frozen=True)
class View:
    """A picture of a sample: through its only junction, or through one of several; ``number`` is its id."""

    batch: Batch
    row: int
    image: str
    number: int

    @property
    def file(self) -> str:
        """Return the name of its file."""
        index = int(self.batch.indices[self.row])
        _, dot, junction = self.image.partition(".")
        return f"{self.batch.split}/{index:09d}{dot}{junction}.png"

    @property
    def shape(self) -> tuple[int, int]:
        """Return its rows and columns."""
        n_rows, n_cols = self.batch.arrays[self.image].shape[1:]
        return n_rows, n_cols

    def of(self, name: str) -> NDArray[Any]:
        """Return an array of the sample, that of the view's junction where each has its own."""
        own = name + self.image.removeprefix(self.image.partition(".")[0])
        found: NDArray[Any] = self.batch.arrays[own if own in self.batch.arrays else name][self.row]
        return found

    def own(self, defect: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is known of a defect, of several junctions what this one shows."""
        _, dot, junction = self.image.partition(".")
        return {
            name.partition(".")[0]: value
            for name, value in defect.items()
            if "." not in name or name.endswith(f"{dot}{junction}")
        }


def _views(batch: Batch) -> Iterator[View]:
    """Yield the pictures of every sample: the first channel through every junction."""
    first = batch.images[0].partition(".")[0]
    names = [name for name in batch.images if name.partition(".")[0] == first]
    for row, index in enumerate(batch.indices):
        for place, name in enumerate(names):
            yield View(batch, row, name, int(index) * len(names) + place)


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


def _annotations(view: View) -> Iterator[dict[str, Any]]:
    """Yield an annotation for each defect that is shown; its id follows from the picture and its row of the table."""
    kinds, count = view.of("defect_kind"), int(view.of("defect_count"))
    places = np.stack([view.of("defect_row"), view.of("defect_col")], axis=-1)[:count]
    instances = _map(view.batch, lambda target: isinstance(target, Instances))
    for slot, defect in enumerate(view.batch.defects(view.row)):
        if instances is not None:
            mask = view.of(instances) == slot + 1
        else:
            mask = view.of("defect_in_view")[slot] & _mask(view, places.astype(np.float64), slot)
        if not mask.any():
            continue
        rows, cols = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
        yield {
            "id": view.number * len(kinds) + slot + 1,
            "image_id": view.number,
            "category_id": int(kinds[slot]) + 1,
            "bbox": [int(cols[0]), int(rows[0]), int(np.ptp(cols)) + 1, int(np.ptp(rows)) + 1],
            "area": int(mask.sum()),
            "segmentation": {"size": list(mask.shape), "counts": run_lengths(mask)},
            "iscrowd": 0,
            "attributes": view.own(defect),
        }


def _mask(view: View, places: NDArray[np.float64], slot: int) -> Mask:
    """Return the pixels of a defect, at least the one it is nearest to."""
    batch, shape = view.batch, view.shape
    at_row, at_col = np.mgrid[: shape[0], : shape[1]]
    squares = (at_row[..., None] - places[:, 0]) ** 2 + (at_col[..., None] - places[:, 1]) ** 2
    material = material_of(batch.store.attributes["recipe"])
    assert material is not None
    reach = material.lattice_constant_nm / 2 / batch.pixel_size_nm(view.row)
    shown = _map(batch, lambda target: isinstance(target, DefectCone) and target.layer == "all")
    near = squares[:, :, slot] <= reach**2 if shown is None else view.of(shown) >= NEAR
    own = squares[:, :, slot]
    mask: Mask = near & (own <= squares.min(axis=-1) + SAME_PLACE) & (own <= (2 * reach) ** 2)
    if not mask.any():
        mask[tuple(np.clip(np.rint(places[slot]).astype(int), 0, np.array(shape) - 1))] = True
    return mask


def _map(batch: Batch, wanted: Callable[[Target], bool]) -> str | None:
    """Return the name of the map of a target that is wanted, where one is exported."""
    targets = from_tree(batch.store.attributes["recipe"]).targets
    names = (name for name, target in targets.items() if wanted(target))
    return next((name for name in names if name in {array.partition(".")[0] for array in batch.arrays}), None)


def run_lengths(mask: Mask) -> list[int]:
    """Return the lengths of the runs of False and True in turn, column after column, as COCO counts them.

    >>> run_lengths(np.array([[True, False], [True, True]]))
    [0, 2, 1, 1]
    """
    flat = mask.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()
    return [0, *runs] if flat[0] else runs
