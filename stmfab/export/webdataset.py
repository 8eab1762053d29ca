"""WebDataset: a tar a batch, the files of a sample side by side: ``000000012.topography.npy``, ``000000012.json``."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator

import numpy as np

from .batch import Batch, Writer


class WebDataset(Writer):
    """Images as ``.npy`` in the store's units; parameters, defects and units as JSON."""

    def files(self, batch: Batch) -> dict[str, bytes]:
        """Return the one tar of a batch: no times, no owners."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for row in range(len(batch.indices)):
                for name, data in _members(batch, row):
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        return {f"{batch.stem}.tar": buffer.getvalue()}


def _members(batch: Batch, row: int) -> Iterator[tuple[str, bytes]]:
    key = f"{batch.indices[row]:09d}"
    for name in batch.images:
        buffer = io.BytesIO()
        np.save(buffer, batch.arrays[name][row])
        yield f"{key}.{name}.npy", buffer.getvalue()
    words = {
        "sample": int(batch.indices[row]),
        "split": batch.split,
        "pixel_size_nm": batch.pixel_size_nm(row),
        "units": {name: batch.unit(name) for name in batch.images},
        "parameters": batch.parameters(row),
        "defects": batch.defects(row),
        **({"tables": tables} if (tables := batch.tables(row)) else {}),
    }
    yield f"{key}.json", json.dumps(words).encode()
