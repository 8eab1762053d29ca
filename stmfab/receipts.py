"""Receipts: the proof that a shard is whole. A shard without one does not exist; one that disagrees is damaged."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import provenance

FOLDER = "receipts"
MERGED_AT_ONCE = 512  # of twenty arrays, 3 MB of numbers
Numbers: TypeAlias = tuple[Any, ...]  # bytes, count, minimum, maximum, sum, sum of squares


@dataclass(frozen=True)
class ArrayRecord:
    """One array's part of a shard: its file, and what is in it. Missing values (padding, NaN) are not counted."""

    file: str
    bytes: int
    sha256: str
    count: int
    minimum: float | None
    maximum: float | None
    sum: float
    sum_of_squares: float

    @property
    def mean(self) -> float | None:
        """Return the mean of the values that are there."""
        return self.sum / self.count if self.count else None

    @property
    def deviation(self) -> float | None:
        """Return the standard deviation of the values that are there."""
        if not self.count:
            return None
        return math.sqrt(max(0.0, self.sum_of_squares / self.count - (self.sum / self.count) ** 2))


FIELDS = frozenset(field.name for field in dataclasses.fields(ArrayRecord))
NUMBERS = attrgetter("bytes", "count", "minimum", "maximum", "sum", "sum_of_squares")


@dataclass(frozen=True)
class Receipt:
    """What a worker vouches for: samples ``start`` to ``stop`` (exclusive) lie whole in these files."""

    shard: int
    start: int
    stop: int
    arrays: Mapping[str, ArrayRecord]
    host: str
    identity: str
    versions: Mapping[str, str]
    seconds: float
    written: str


def name(shard: int) -> str:
    """Return the name of a shard's receipt in the store."""
    return f"{FOLDER}/{shard:08d}.json"


def shard_of(document: str) -> int | None:
    """Return the shard that a file in the folder of receipts speaks for; None for any other file."""
    stem, _, suffix = document.rpartition(".")
    return int(stem) if suffix == "json" and stem.isdigit() else None


def record(file: str, data: bytes, values: NDArray[Any]) -> ArrayRecord:
    """Return the record of one array's file: its hash, and its statistics in float64."""
    finite = np.isfinite(values)
    there = np.asarray(values if finite.all() else values[finite], np.float64).ravel()
    return ArrayRecord(
        file=file,
        bytes=len(data),
        sha256=provenance.sha256(data),
        count=int(there.size),
        minimum=float(there.min()) if there.size else None,
        maximum=float(there.max()) if there.size else None,
        sum=float(there.sum()),
        sum_of_squares=float(np.einsum("i,i", there, there)),
    )


def to_bytes(receipt: Receipt) -> bytes:
    """Return a receipt as JSON, sealed with the hash of itself."""
    body = dataclasses.asdict(receipt)
    return json.dumps({"seal": provenance.sha256(provenance.canonical(body)), **body}, indent=1).encode()


def from_bytes(data: bytes) -> Receipt:
    """Return the receipt written in a document.

    Raises
    ------
    ValueError
        If it is not a receipt, or not as it was written.
    """
    receipt, body, seal = _parsed(data)
    if seal != provenance.sha256(provenance.canonical(body)):
        raise ValueError("altered after it was written")
    return receipt


def unsealed(data: bytes) -> Receipt:
    """Return the receipt written in a document, its seal not held against it: in a fourth of the time.

    Raises
    ------
    ValueError
        If it is not a receipt.
    """
    return _parsed(data)[0]


def _parsed(data: bytes) -> tuple[Receipt, dict[str, Any], str]:
    try:
        body = json.loads(data)
        seal = body.pop("seal")
        arrays = {array: _record(fields) for array, fields in body["arrays"].items()}
        receipt = Receipt(**{**body, "arrays": arrays})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError("not a receipt") from error
    return receipt, body, seal


def _record(fields: dict[str, Any]) -> ArrayRecord:
    """Return the record with these fields, past the ``__init__`` of a frozen dataclass: that takes as long as JSON."""
    if fields.keys() != FIELDS:
        raise KeyError("fields of an array's record")
    found = object.__new__(ArrayRecord)
    found.__dict__.update(fields)
    return found


def totals(vouched: Iterable[Receipt]) -> dict[str, ArrayRecord]:
    """Return the record of every array over many shards; no receipt is kept, and the numbers of a few at a time."""
    rows: dict[str, list[Numbers]] = {}
    for receipt in vouched:
        for array, record in receipt.arrays.items():
            kept = rows.setdefault(array, [])
            kept.append(NUMBERS(record))
            if len(kept) >= MERGED_AT_ONCE:
                rows[array] = [NUMBERS(_merged(kept))]
    return {array: _merged(kept) for array, kept in rows.items()}


def merged(records: Iterable[ArrayRecord]) -> ArrayRecord:
    """Return the record of one array over many shards; ``file`` and ``sha256`` are empty."""
    return _merged(map(NUMBERS, records))


def _merged(rows: Iterable[Numbers]) -> ArrayRecord:
    sizes, counts, lows, highs, sums, squares = list(zip(*rows, strict=True)) or [()] * 6
    return ArrayRecord(
        file="",
        bytes=sum(sizes),
        sha256="",
        count=sum(counts),
        minimum=min((low for low in lows if low is not None), default=None),
        maximum=max((high for high in highs if high is not None), default=None),
        sum=math.fsum(sums),
        sum_of_squares=math.fsum(squares),
    )
