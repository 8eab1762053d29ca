"""Croissant: what an export is, for search engines and for loaders that read it (mlcommons.org/croissant/1.0)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .. import report
from ..splits import SPLITS
from ..store import Store

NAME = "croissant.json"
FILES, RECORDS = "files", "samples"
FORMATS: Mapping[str, tuple[str, str]] = {  # media type, and the pattern of the files of a split
    "webdataset": ("application/x-tar", "{split}-*.tar"),
    "hdf5": ("application/x-hdf5", "{split}-*.h5"),
    "parquet": ("application/x-parquet", "{split}-*.parquet"),
    "png": ("image/png", "{split}/*.png"),
    "coco": ("image/png", "images/{split}/*.png"),
    "ome-zarr": ("application/x-zarr", "{split}/*.zarr/**"),
    "episodes": ("application/x-npy", "crops.npy"),
    "gsf": ("application/x-gwyddion-gsf", "{split}/*.gsf"),
}
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def document(store: Store, to: str, files: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Return the description of an export in a format; of Parquet with records, which loaders read by it.

    ``files`` has bytes and sha256 of every file that holds a whole batch.
    """
    words = store.attributes
    kind, pattern = FORMATS[to]
    objects = [_file(name, kind, found) for name, found in files.items()]
    described = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": words["name"],
        "description": f"{words.get('summary', words['title'])}. {words['frames']}.",
        "citeAs": f"Made by stmfab {words['versions']['stmfab']} from a recipe with sha256 {words['recipe_sha256']}",
        "version": f"{words['format']}.0.0",
        "datePublished": words["created"],
        "distribution": [*objects, _set(kind, pattern)],
        "recordSet": [_records(store)] if to == "parquet" else [],
    }
    return json.dumps(described, indent=1).encode()


def _file(name: str, kind: str, found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{found['bytes']} B",
        "encodingFormat": kind,
        "sha256": found["sha256"],
    }


def _set(kind: str, pattern: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": FILES,
        "name": FILES,
        "encodingFormat": kind,
        "includes": list(dict.fromkeys(pattern.format(split=split) for split in SPLITS)),
    }


def _records(store: Store) -> dict[str, Any]:
    """Return the columns of the Parquet files that hold one number or word a sample."""
    columns = [("sample", "sc:Integer", "index of the sample"), ("pixel_size_nm", "sc:Float", "pixel pitch, nm")]
    columns += [
        (column["name"], "sc:Text" if column.get("categories") else "sc:Float", f"drawn or derived, {column['unit']}")
        for column in report.columns(store)
    ]
    return {
        "@type": "cr:RecordSet",
        "@id": RECORDS,
        "name": RECORDS,
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{RECORDS}/{name}",
                "name": name,
                "description": words,
                "dataType": kind,
                "source": {"fileSet": {"@id": FILES}, "extract": {"column": name}},
            }
            for name, kind, words in columns
        ],
    }
