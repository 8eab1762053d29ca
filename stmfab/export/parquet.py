"""Parquet, as Hugging Face ``datasets`` reads it: a row a sample, images both as numbers and as one to look at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .. import report
from ..errors import StmfabError
from .batch import Batch, Writer
from .pictures import described

try:
    import pyarrow
    import pyarrow.parquet
except ImportError as error:
    raise StmfabError("export --to parquet needs pyarrow: pip install 'stmfab[export]'") from error

ROW_GROUP = 64  # samples: what a reader holds at least
PICTURE = "image"  # the first image as a PNG; the others, and itself in its unit, are arrays of numbers


class Parquet(Writer):
    """Columns: ``sample``, ``image``, one an image, one a parameter, one a column of a table."""

    def files(self, batch: Batch) -> dict[str, bytes]:
        """Return the one file of a batch."""
        table = pyarrow.table(dict(_columns(batch)))
        features = {"info": {"features": _features(batch)}}
        words = {
            "huggingface": json.dumps(features),
            "stmfab": json.dumps({key: batch.store.attributes[key] for key in ("name", "seed", "recipe_sha256")}),
            "units": json.dumps(_units(batch)),
        }
        sink = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(
            table.replace_schema_metadata(words), sink, compression="zstd", row_group_size=ROW_GROUP
        )
        return {f"{batch.stem}.parquet": sink.getvalue().to_pybytes()}


def _columns(batch: Batch) -> Iterator[tuple[str, Any]]:
    rows = range(len(batch.indices))
    yield "sample", pyarrow.array(batch.indices)
    pictures = [described(batch, batch.images[0], row)[0] for row in rows]
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    yield PICTURE, pyarrow.array([{"bytes": data, "path": None} for data in pictures], kind)
    for name in batch.images:
        yield name, _nested(batch.arrays[name])
    yield "pixel_size_nm", pyarrow.array(batch.arrays["pixel_size_nm"])
    parameters = [batch.parameters(row) for row in rows]
    for column in report.columns(batch.store):
        kind = pyarrow.string() if column.get("categories") else pyarrow.float64()
        yield column["name"], pyarrow.array([found[column["name"]] for found in parameters], kind)
    for name, type_ in _table(batch).items():
        own = [batch.column(row, name) for row in rows]
        yield name, pyarrow.array(own, pyarrow.list_(pyarrow.type_for_alias(type_)))


def _table(batch: Batch) -> dict[str, str]:
    """Return the Arrow type of each column of the tables."""
    words = {name: batch.attributes(name).get("categories") for name in batch.columns}
    return {name: "string" if words[name] else batch.specs[name].dtype for name in batch.columns}


def _nested(images: Any) -> Any:
    """Return images (n_samples, n_rows, n_cols) as lists of lists."""
    n_samples, n_rows, n_cols = images.shape
    lines = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(images.ravel()), n_cols)
    nested = pyarrow.FixedSizeListArray.from_arrays(lines, n_rows)
    assert len(nested) == n_samples
    return nested.cast(pyarrow.list_(pyarrow.list_(pyarrow.from_numpy_dtype(images.dtype))))


def _features(batch: Batch) -> dict[str, Any]:
    """Return what each column is to ``datasets``."""
    shape = {name: list(batch.arrays[name].shape[1:]) for name in batch.images}
    return {
        "sample": _value("int64"),
        PICTURE: {"_type": "Image"},
        **{
            name: {"shape": shape[name], "dtype": str(batch.arrays[name].dtype), "_type": "Array2D"}
            for name in batch.images
        },
        "pixel_size_nm": _value("float64"),
        **{c["name"]: _value("string" if c.get("categories") else "float64") for c in report.columns(batch.store)},
        **{name: {"feature": _value(kind), "_type": "List"} for name, kind in _table(batch).items()},
    }


def _value(kind: str) -> dict[str, str]:
    return {"dtype": kind, "_type": "Value"}


def _units(batch: Batch) -> dict[str, str]:
    names = [*batch.images, "pixel_size_nm", *_table(batch)]
    return {name: batch.unit(name) for name in names} | {c["name"]: c["unit"] for c in report.columns(batch.store)}
