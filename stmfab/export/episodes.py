"""Crops around isolated defects, and episodes drawn from them: what few-shot learning takes.

``crops.npy`` (n, n_junctions, pixels, pixels) in nm, each less its mean; ``index.csv`` with a line a crop;
``classes.json``; ``episodes.json``, so that two laboratories test the same ones. The pieces stay in ``.parts``.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import streams
from ..errors import StmfabError, StoreError
from ..physics.defect_targets import Instances, Target
from ..splits import SPLITS
from ..store import Store
from . import crops
from .batch import Batch, Read, Writer
from .masks import View, views
from .pictures import Picture, png

HEIGHT, VISIBILITY = "apparent_height_pm", "visibility"  # columns of the table of defects
POLARITY = "polarity"
INVERTED = "-inv"  # behind the name of a class whose crops are turned upside down
SHARES = (0.5, 0.75)  # of the classes: those that train, and those that train or validate, split by class
COLOURS = 3  # junctions that fit into the red, green and blue of a picture
LEVELS = 2**8 - 1
CLASS_BY, SPLIT_BY = ("kind", "name", "species"), ("scene", "class")


@dataclass(frozen=True)
class Episodes(Writer):
    """What is cut out and how episodes are drawn; the fields are the options of the command."""

    crop_nm: float = 2.15
    pixels: int = 40
    isolation_nm: float = 1.0
    class_by: str = CLASS_BY[0]
    split_by: str = SPLIT_BY[0]
    inverted: bool = False
    single_junction: str | None = None
    folders: bool = False
    n_way: int = 4
    k_shot: int = 1
    n_query: int = 5
    n_episodes: int = 200
    seed: int = 0

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return what decides the bytes beside the store."""
        return dataclasses.asdict(self)

    def used(self, store: Store, images: tuple[str, ...]) -> tuple[str, ...]:
        """Return the images that are cut: the first one, of all junctions or of the one asked for.

        Raises
        ------
        StmfabError
            If the store has no table of defects or not their species, the first image is no height, or there is
            no such junction.
        """
        if "defect_count" not in store.metadata:
            raise StoreError(f"{store}: has no table of defects to cut out")
        if f"defect_{self.class_by}" not in store.metadata:
            raise StoreError(f"{store}: has no {self.class_by} of its defects; legal: --class-by kind or name")
        first = images[0].partition(".")[0]
        if store.layout.array(first).unit != "nm":
            raise StmfabError(f"{first}: crops are of heights; choose an image in nm with --arrays")
        names = {name.partition(".")[2]: name for name in images if name.partition(".")[0] == first}
        if len(names) > COLOURS and self.folders:
            raise StmfabError(f"--folders: {len(names)} junctions do not fit into a picture; legal: {COLOURS}")
        if self.single_junction is None:
            return tuple(names.values())
        if self.single_junction not in names:
            legal = ", ".join(filter(None, names)) or "none, for the store has one"
            raise StmfabError(f"--single-junction {self.single_junction}: no such junction; legal: {legal}")
        return (names[self.single_junction],)

    def files(self, batch: Batch) -> dict[str, bytes]:
        """Return the crops of a batch and what is known of each; with ``folders`` each crop as a file too."""
        cut = [self._cut(batch, row) for row in range(len(batch.indices))]
        rows = [one for _, found in cut for one in found]
        values = np.concatenate([found for found, _ in cut])
        if self.inverted:
            rows += [_upside_down(one) for one in rows]
            values = np.concatenate([values, -values])
        parts = {_piece(batch, "npy"): _npy(values), _piece(batch, "json"): json.dumps(rows).encode()}
        return parts | (self._apart(batch, rows, values) if self.folders else {})

    def _cut(self, batch: Batch, row: int) -> tuple[NDArray[np.float32], list[dict[str, Any]]]:
        """Return the crops of a sample, (n_crops, n_junctions, pixels, pixels), and a line of the index for each."""
        seen, count = views(batch, row), int(batch.arrays["defect_count"][row])
        pixel_nm = batch.pixel_size_nm(row)
        sizes = {"pixel_nm": pixel_nm, "crop_nm": self.crop_nm}
        points_nm = np.stack([batch.arrays[f"defect_{axis}_nm"][row, :count] for axis in ("x", "y")], axis=-1)
        kept = crops.isolated(points_nm, self.isolation_nm)
        places = [
            np.stack([view.of(f"defect_{axis}")[:count] for axis in ("row", "col")], axis=-1).astype(np.float64)
            for view in seen
        ]
        for view, at in zip(seen, places, strict=True):
            kept &= crops.inside(at, view.shape, isolation_nm=self.isolation_nm, **sizes)
        images = [
            crops.cut(view.of(view.image), at[kept], pixels=self.pixels, **sizes)
            for view, at in zip(seen, places, strict=True)
        ]
        table, sample = batch.defects(row), self._sample(batch, row)
        rows = [
            sample | self._line(batch, sample["scene"], slot, table[slot]) for slot in np.flatnonzero(kept).tolist()
        ]
        return np.stack(images, axis=1), rows

    def _sample(self, batch: Batch, row: int) -> dict[str, Any]:
        recipe = batch.store.attributes["recipe"]
        turned = batch.parameters(row).get("scan.rotation_deg", recipe["scan"].get("rotation_deg") or 0.0)
        return {
            "id": "",
            "class": "",
            "surface": recipe["sample"]["material"],
            "scene": int(batch.indices[row]),
            "split": batch.split,
            "rotation_deg": turned,
            "pixel_size_nm": batch.pixel_size_nm(row),
        }

    def _line(self, batch: Batch, scene: int, slot: int, defect: Mapping[str, Any]) -> dict[str, Any]:
        name = str(defect[self.class_by])
        own = {"id": f"{scene:09d}-{slot:04d}", "class": name}
        split = (
            {"split": _class_splits(batch.store, self.class_by, self.seed)[name]} if self.split_by == "class" else {}
        )
        return own | split | {"defect": slot, **_polarities(batch.target_of(Instances), defect), **defect}

    def _apart(self, batch: Batch, rows: list[dict[str, Any]], values: NDArray[np.float32]) -> dict[str, bytes]:
        """Return each crop as a file of numbers and as a picture, in folders by split and class."""
        files: dict[str, bytes] = {}
        for one, crop in zip(rows, values, strict=True):
            stem = f"folders/{one['split']}/{one['class']}/{one['id']}"
            files |= {f"{stem}.npy": _npy(crop), f"{stem}.png": _coloured(crop)}
        return files

    def joined(self, batches: Iterable[Batch], read: Read) -> Iterator[tuple[str, Iterable[bytes]]]:
        """Yield the crops as one array, the index, the classes and the episodes."""
        members = list(batches)
        rows = [one for batch in members for one in json.loads(read(_piece(batch, "json")))]
        junctions = [_junction(view) for view in views(members[0], 0)]
        yield "crops.npy", self._joined(members, read, (len(rows), len(junctions), self.pixels, self.pixels))
        yield "index.csv", [_index(rows)]
        classes = list(dict.fromkeys(one["class"] for one in sorted(rows, key=lambda one: str(one["class"]))))
        counted = Counter((one["class"], one["split"]) for one in rows)
        words = {
            "surface": members[0].store.attributes["recipe"]["sample"]["material"],
            "array": members[0].images[0].partition(".")[0],
            "unit": "nm",
            "junctions": junctions,
            **{key: getattr(self, key) for key in ("crop_nm", "pixels", "isolation_nm", "class_by", "split_by")},
            "classes": [
                {"label": label, "class": name, "crops": {split: counted[name, split] for split in SPLITS}}
                for label, name in enumerate(classes)
            ],
        }
        yield "classes.json", [json.dumps(words, indent=1).encode()]
        yield "episodes.json", [self._episodes(rows)]
        if self.folders:
            for split in SPLITS:
                names = [name for name in classes if counted[name, split]]
                roots = [f"folders/{split}/{name}" for name in names]
                easy = {"class_names": names, "class_roots": roots}
                yield f"folders/easyset_{split}.json", [json.dumps(easy, indent=1).encode()]

    def _joined(self, members: Iterable[Batch], read: Read, shape: tuple[int, ...]) -> Iterator[bytes]:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
        yield header.getvalue()
        for batch in members:
            yield np.load(io.BytesIO(read(_piece(batch, "npy")))).tobytes()

    def _episodes(self, rows: list[dict[str, Any]]) -> bytes:
        """Return the episodes of every split, by the numbers of the crops; why, where a split has none."""
        found: dict[str, list[Any]] = {}
        why: dict[str, str] = {}
        wanted = self.k_shot + self.n_query
        for split in SPLITS:
            members: dict[str, list[int]] = defaultdict(list)
            for crop, one in enumerate(rows):
                if one["split"] == split:
                    members[one["class"]].append(crop)
            enough = {name: members[name] for name in sorted(members) if len(members[name]) >= wanted}
            if len(enough) < self.n_way:
                why[split] = f"{len(enough)} classes of the {self.n_way} wanted have {wanted} crops or more"
            number = self.n_episodes if split not in why else 0
            found[split] = [self._episode(split, index, enough) for index in range(number)]
        said = {key: getattr(self, key) for key in ("seed", "n_way", "k_shot", "n_query")}
        return json.dumps({**said, "none_because": why, "episodes": found}).encode()

    def _episode(self, split: str, index: int, members: Mapping[str, list[int]]) -> dict[str, Any]:
        rng = streams.stream(self.seed, index, f"episodes.{split}")
        names = [list(members)[place] for place in rng.permutation(len(members))[: self.n_way]]
        drawn = [rng.permutation(members[name])[: self.k_shot + self.n_query].tolist() for name in names]
        return {
            "classes": names,
            "support": [crops[: self.k_shot] for crops in drawn],
            "query": [crops[self.k_shot :] for crops in drawn],
        }

    def told(self, read: Read) -> list[str]:
        """Return the number of crops of each class, and why a split has no episodes."""
        classes, drawn = (json.loads(read(name)) for name in ("classes.json", "episodes.json"))
        counts = {one["class"]: sum(one["crops"].values()) for one in classes["classes"]}
        words = ", ".join(f"{name} {count}" for name, count in counts.items())
        lines = [f"{sum(counts.values())} crops of {len(counts)} classes{': ' if words else ''}{words}"]
        return lines + [f"no episodes of {split}: {why}" for split, why in drawn["none_because"].items()]


def _junction(view: View) -> str:
    return view.image.partition(".")[2]


def _upside_down(one: dict[str, Any]) -> dict[str, Any]:
    """Return a line of the index for the same crop turned upside down."""
    turned = {name: -value for name, value in one.items() if name.partition(".")[0] == POLARITY}
    return one | turned | {"class": one["class"] + INVERTED, "id": one["id"] + INVERTED}


def _polarities(target: Target | None, defect: Mapping[str, Any]) -> dict[str, int]:
    """Return whether a defect is bright (1) or dark (-1) through each junction, or does not show (0).

    By its apparent height, where the store has instances: it shows where their target would mark it.
    """
    if not isinstance(target, Instances):
        return {}
    found = {}
    for name, height_pm in defect.items():
        column, dot, junction = name.partition(".")
        if column == HEIGHT:
            visible = (defect[f"{VISIBILITY}{dot}{junction}"] or 0.0) > target.sigmas
            shown = visible and abs(height_pm) > target.threshold_pm
            found[f"{POLARITY}{dot}{junction}"] = int(np.sign(height_pm)) if shown else 0
    return found


def _piece(batch: Batch, kind: str) -> str:
    return f".parts/{batch.stem}.{kind}"


def _npy(values: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(values, "<f4"))
    return buffer.getvalue()


def _coloured(crop: NDArray[np.float32]) -> bytes:
    """Return a crop as a picture from its lowest to its highest pixel: grey, or a junction a colour."""
    low, high = float(crop.min()), float(crop.max())
    scale = (high - low) / LEVELS or 1.0
    levels = np.rint((crop - low) / scale).astype(np.uint8)
    if len(levels) > 1:
        shown = np.zeros((*levels.shape[1:], COLOURS), np.uint8)
        shown[..., : len(levels)] = np.moveaxis(levels, 0, -1)
    else:
        shown = levels[0]
    return png(Picture(shown, low, scale), unit="nm", offset=repr(low), scale=repr(scale))


def _index(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    names = dict.fromkeys(itertools.chain.from_iterable(rows))
    lines = csv.DictWriter(text, ["crop", *names], lineterminator="\n")
    lines.writeheader()
    lines.writerows({"crop": crop, **one} for crop, one in enumerate(rows))
    return text.getvalue().encode()


def _class_splits(store: Store, class_by: str, seed: int) -> dict[str, str]:
    """Return the split of every class that a store knows: half of them train, a quarter validates, a quarter tests."""
    names = store.metadata[f"defect_{class_by}"]["attributes"]["categories"]
    order = streams.stream(seed, 0, "episodes.classes").permutation(len(names))
    ends = [round(share * len(names)) for share in SHARES]
    return {names[place]: list(SPLITS)[int(np.searchsorted(ends, rank, "right"))] for rank, place in enumerate(order)}
