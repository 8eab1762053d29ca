"""HDF5: a file a batch, and ``dataset.h5`` in which they appear as one array a split."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from ..errors import StmfabError
from ..store import Store
from .batch import Batch, Read, Writer

try:
    import h5py
except ImportError as error:
    raise StmfabError("export --to hdf5 needs h5py: pip install 'stmfab[export]'") from error

JOINED = "dataset.h5"
COMPRESSION_LEVEL = 4  # of gzip behind a byte shuffle: what every HDF5 reader has


class Hdf5(Writer):
    """Arrays as they are in the store, with their attributes; ``sample`` holds the samples' indices."""

    def files(self, batch: Batch) -> dict[str, bytes]:
        """Return the one file of a batch."""
        buffer = io.BytesIO()
        with h5py.File(buffer, "w", libver=("earliest", "v110")) as file:
            _describe(file, batch.store)
            file.create_dataset("sample", data=batch.indices)
            for name, values in batch.arrays.items():
                chunks = (min(len(values), batch.store.layout.chunk), *values.shape[1:])
                array = file.create_dataset(
                    name, data=values, chunks=chunks, compression=COMPRESSION_LEVEL, shuffle=True, track_times=False
                )
                array.attrs.update(_words(batch, name))
        return {f"{batch.stem}.h5": buffer.getvalue()}

    def joined(self, batches: Iterable[Batch], read: Read) -> Iterator[tuple[str, Iterable[bytes]]]:
        """Yield the file that shows the others as one, split by split, without copying them."""
        found: dict[str, list[Batch]] = defaultdict(list)
        for batch in batches:
            found[batch.split].append(batch)
        buffer = io.BytesIO()
        with h5py.File(buffer, "w", libver=("earliest", "v110")) as file:
            for split, members in found.items():
                group = file.create_group(split)
                _describe(group, members[0].store)
                for name, values in {"sample": members[0].indices, **members[0].arrays}.items():
                    _join(group, name, values.shape[1:], values.dtype, members)
        yield JOINED, [buffer.getvalue()]


def _join(group: Any, name: str, shape: tuple[int, ...], dtype: Any, members: list[Batch]) -> None:
    """Show an array of many files as one."""
    whole = h5py.VirtualLayout((sum(len(batch.indices) for batch in members), *shape), dtype)
    whole.dcpl.set_obj_track_times(False)
    start = 0
    for batch in members:
        stop = start + len(batch.indices)
        whole[start:stop] = h5py.VirtualSource(f"{batch.stem}.h5", name, (stop - start, *shape), dtype)
        start = stop
    group.create_virtual_dataset(name, whole)
    if name != "sample":
        group[name].attrs.update(_words(members[0], name))


def _describe(node: Any, store: Store) -> None:
    for key in ("name", "seed", "recipe_sha256", "frames"):
        node.attrs[key] = store.attributes[key]
    node.attrs["recipe"] = json.dumps(store.attributes["recipe"])


def _words(batch: Batch, name: str) -> dict[str, Any]:
    """Return the attributes of an array; what HDF5 has no form for, as JSON."""
    words = {**batch.attributes(name), "long_name": batch.specs[name].long_name}
    return {key: json.dumps(value) if isinstance(value, (list, dict)) else value for key, value in words.items()}
