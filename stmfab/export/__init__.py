"""A store in other formats: one streaming core, one file a format.

A new format is a module with a ``Writer`` and a line in the table.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..place import Folder
from ..splits import SPLITS
from ..store import Store
from .batch import Writer
from .core import Export, chosen_images, faults, run

__all__ = ["FORMATS", "Export", "export_of", "faults", "run"]

FORMATS: Mapping[str, tuple[str, str]] = {  # by name: module and class
    "webdataset": ("webdataset", "WebDataset"),
    "hdf5": ("hdf5", "Hdf5"),
    "parquet": ("parquet", "Parquet"),
    "png": ("pictures", "Png"),
    "coco": ("coco", "Coco"),
    "gsf": ("gsf", "Gsf"),
    "ome-zarr": ("ome_zarr", "OmeZarr"),
    "episodes": ("episodes", "Episodes"),
}


def export_of(
    store: Store,
    to: str,
    out: Path,
    *,
    images: Iterable[str] | None,
    split: str | None,
    options: Mapping[str, Any] | None = None,
) -> Export:
    """Return what is to be exported: ``images`` None for all, ``split`` None for every one; ``options`` of the format.

    Raises
    ------
    StmfabError
        If there is no such image, or a library is not installed.
    """
    module, name = FORMATS[to]
    writer: Writer = getattr(importlib.import_module(f".{module}", __package__), name)(**(options or {}))
    chosen = writer.used(store, chosen_images(store, images))
    return Export(store, to, writer, Folder(out), chosen, tuple(SPLITS) if split is None else (split,))
