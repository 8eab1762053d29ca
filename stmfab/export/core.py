"""One way out of a store for every format: shard by shard, in files that are whole or not there.

An export is a folder. ``export.json`` says what it is of; ``.shards/00000007.json`` is written when the files of a
shard are on disk, and vouches for their bytes. Whatever kills a run, the same command goes on with the next shard, and
the files are the same in the end. To verify is to encode every shard again and to compare the bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import provenance, splits, verify
from .. import store as stores
from ..errors import DamagedError, DiskError, IncompleteError, StmfabError, StoreError, did_you_mean
from ..layout import apart, differences
from ..place import Folder
from ..progress import Progress
from ..store import Store
from . import croissant
from .batch import Batch, Writer

ABOUT = "export.json"
LEDGER = ".shards"
PIECE_BYTES = 1 << 20  # of a file, read at a time


@dataclass(frozen=True)
class Export:
    """What is asked for: a store, a format, a folder, the images and the splits."""

    store: Store
    to: str
    writer: Writer
    out: Folder
    images: tuple[str, ...]
    splits: tuple[str, ...]

    @property
    def about(self) -> dict[str, Any]:
        """Return what decides the bytes of every file."""
        return {
            "generator": "stmfab export",
            "to": self.to,
            "store": self.store.attributes["name"],
            "store_format": self.store.attributes["format"],
            "recipe_sha256": self.store.attributes["recipe_sha256"],
            "samples": self.store.layout.samples,
            "images": list(self.images),
            "splits": list(self.splits),
            **self.writer.settings,
            "stmfab": provenance.versions()["stmfab"],
        }


def chosen_images(store: Store, names: Iterable[str] | None) -> tuple[str, ...]:
    """Return the images that are exported: those named, in the order of the store; all of them for None.

    Of several junctions there is one each, ``topography.filled``; ``topography`` names them all.

    Raises
    ------
    StmfabError
        If there is no such image.
    """
    whole = {spec.name: tuple(spec.apart()) for spec in store.layout.arrays if spec.is_image}
    there = [name for each in whole.values() for name in each]
    asked = there if names is None else [one for name in names for one in whole.get(name, (name,))]
    for name in asked:
        if name not in there:
            raise StmfabError(f"{store}: {name!r}: no such image{did_you_mean(name, [*whole, *there])}")
    if not asked:
        raise StmfabError(f"{store}: no image to export")
    return tuple(name for name in there if name in asked)


def hold_complete(store: Store) -> None:
    """Hold that every shard of a store is there.

    Raises
    ------
    IncompleteError
        If not: an export skips nothing.
    """
    missing = verify.missing_shards(store)
    if missing:
        count = f"{len(missing)} of {store.layout.n_shards} shards are missing"
        raise IncompleteError(f"{store}: {count}; complete it with: stmfab generate")


def run(export: Export, progress: Progress) -> None:
    """Write what an export still lacks.

    Raises
    ------
    StoreError
        If the folder holds something else.
    IncompleteError, DamagedError
        If the store is not whole.
    DiskError
        If the disk refuses.
    """
    hold_complete(export.store)
    _begin(export)
    bounds = [export.store.layout.bounds(shard) for shard in range(export.store.layout.n_shards)]
    todo = [shard for shard in range(len(bounds)) if not _is_done(export, shard)]
    there = export.store.layout.samples - sum(bounds[shard][1] - bounds[shard][0] for shard in todo)
    export.out.sweep(["", LEDGER])
    progress.start(there, export.store.layout.samples)
    try:
        for shard in todo:
            files = _encoded(export, shard)
            if shard == todo[0]:  # in which a run was killed, if one was
                export.out.sweep(sorted({name.rpartition("/")[0] for name in files}))
            _write(export, shard, files)
            there += bounds[shard][1] - bounds[shard][0]
            progress.show(there)
    finally:
        progress.close()
    _join(export)


def faults(export: Export, progress: Progress) -> list[str]:
    """Return every file of a finished export that is not what the store gives, a line each.

    Raises
    ------
    StoreError
        If the folder holds something else.
    """
    hold_complete(export.store)
    _same(export)
    found = []
    progress.start(0, export.store.layout.samples)
    try:
        for shard in range(export.store.layout.n_shards):
            for name, data in _encoded(export, shard).items():
                found += _differs(export.out, name, provenance.sha256(data))
            progress.show(export.store.layout.bounds(shard)[1])
    finally:
        progress.close()
    for name, pieces in _joined(export):
        found += _differs(export.out, name, _hashed(pieces))
    return found


def _differs(out: Folder, name: str, sha256: str) -> list[str]:
    path = out.root / name
    if not path.is_file():
        return [f"{name} is missing"]
    return [] if _hashed(_pieces(path)) == sha256 else [f"{name} is not what the store gives"]


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _hashed(pieces: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _begin(export: Export) -> None:
    """Take a new or empty folder, or one that holds the same export, if only the beginning of its first document."""
    export.out.sweep([""])
    if export.out.exists():
        _same(export)
        return
    try:
        export.out.root.mkdir(exist_ok=True)
    except OSError as error:
        raise DiskError(f"{export.out}: cannot create ({error.strerror})") from error
    export.out.write(ABOUT, json.dumps(export.about, indent=1).encode())


def _same(export: Export) -> None:
    """Hold that a folder is of the export that is asked for.

    Raises
    ------
    StoreError
        If it is not; what differs is named.
    """
    data = export.out.read(ABOUT) if export.out.root.is_dir() else None
    if data is None:
        raise StoreError(f"{export.out}: is there, and no export of stmfab; it is left as it is")
    try:
        found = differences(json.loads(data), export.about)
    except ValueError:
        found = [f"{ABOUT} cannot be read"]
    if found:
        raise StoreError(f"{export.out}: holds another export: {'; '.join(found)}; give another OUT")


def _ledger(shard: int) -> str:
    return f"{LEDGER}/{shard:08d}.json"


def _is_done(export: Export, shard: int) -> bool:
    """Return whether all files of a shard are there, at the lengths that its ledger says."""
    try:
        promised = json.loads(export.out.read(_ledger(shard)) or b"")
        return all(export.out.size(name) == words["bytes"] for name, words in promised.items())
    except (ValueError, TypeError, KeyError, AttributeError):
        return False


def _write(export: Export, shard: int, files: Mapping[str, bytes]) -> None:
    """Write the files of a shard, then the ledger that says so."""
    export.out.write_all(files)
    words = {name: {"bytes": len(data), "sha256": provenance.sha256(data)} for name, data in files.items()}
    export.out.write(_ledger(shard), json.dumps(words, indent=1).encode())


def _encoded(export: Export, shard: int) -> dict[str, bytes]:
    """Return the files of a shard, from bytes of the store that its receipt vouches for.

    Raises
    ------
    DamagedError
        If they are others.
    """
    for fault in verify.full_shard_faults(export.store, [shard]):
        raise DamagedError(f"{export.store}: {fault}; stmfab generate --repair mends it")
    files: dict[str, bytes] = {}
    for batch in _batches(export, shard, _names(export)):
        files |= export.writer.files(batch)
    return files


def _names(export: Export) -> list[str]:
    """Return the arrays that are read: those of the images chosen, and every label and parameter."""
    chosen = {*export.images}
    return [spec.name for spec in export.store.layout.arrays if not spec.is_image or chosen & {*spec.apart()}]


def _apart(export: Export, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays that are exported, of several junctions one each."""
    specs = {name: spec for whole in export.store.layout.arrays for name, spec in whole.apart().items()}
    found = apart(export.store.layout.arrays, arrays)
    return {name: array for name, array in found.items() if not specs[name].is_image or name in export.images}


def _batches(export: Export, shard: int, names: Iterable[str]) -> Iterator[Batch]:
    """Yield what a shard has of each split, if anything."""
    start, stop = export.store.layout.bounds(shard)
    arrays = {name: stores.read_block(export.store, name, shard) for name in names}
    for split in export.splits:
        indices = splits.members(np.arange(start, stop), split)
        if len(indices):
            chosen = {name: values[indices - start] for name, values in arrays.items()}
            yield Batch(export.store, split, shard, indices, export.images, _apart(export, chosen))


def _outlines(export: Export) -> Iterator[Batch]:
    """Yield all batches without their numbers: arrays of the right shapes that take no memory."""
    specs = {name: export.store.layout.array(name) for name in _names(export)}
    for shard in range(export.store.layout.n_shards):
        indices = np.arange(*export.store.layout.bounds(shard))
        for split in export.splits:
            found = splits.members(indices, split)
            empty = {
                name: np.broadcast_to(np.zeros((), spec.dtype), (len(found), *spec.shape))
                for name, spec in specs.items()
            }
            if len(found):
                yield Batch(export.store, split, shard, found, export.images, _apart(export, empty))


def _joined(export: Export) -> Iterator[tuple[str, Iterable[bytes]]]:
    yield from export.writer.joined(_outlines(export), lambda name: export.out.read(name) or b"")
    yield croissant.NAME, [croissant.document(export.store, export.to, _batch_files(export))]


def _batch_files(export: Export) -> dict[str, Mapping[str, Any]]:
    """Return what the ledger says of every file that holds a whole batch: those in the folder of the export itself."""
    found: dict[str, Mapping[str, Any]] = {}
    for shard in range(export.store.layout.n_shards):
        promised = json.loads(export.out.read(_ledger(shard)) or b"{}")
        found |= {name: words for name, words in promised.items() if "/" not in name}
    return found


def _join(export: Export) -> None:
    """Write the files that join the others, piece by piece, each whole or not at all."""
    for name, pieces in _joined(export):
        path = export.out.root / name
        partial = path.with_name(f".{path.name}.joining")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError as error:
            raise DiskError(f"{path}: cannot write ({error.strerror})") from error
