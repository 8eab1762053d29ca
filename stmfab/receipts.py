"""Receipts: the proof that a shard is whole. A shard without one does not exist; one that disagrees is damaged.

A shard that could not be made leaves a receipt of failure, which says why and stands until the shard is made.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from . import provenance

FOLDER = "receipts"
FAILED = ".failed"  # before the suffix of a receipt of failure
LENGTH = re.compile(rb'"file": "([^"]+)",\s*"bytes": (\d+),')  # in a receipt as ``to_bytes`` spells it
MERGED_AT_ONCE = 512  # of twenty arrays, 3 MB of numbers
BLOCK = 1 << 15  # values whose statistics are made at once: 256 KB in float64
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


@dataclass(frozen=True)
class FailedReceipt:
    """Why samples ``start`` to ``stop`` (exclusive) could not be made, and where this was tried last."""

    shard: int
    start: int
    stop: int
    line: str
    traceback: str
    host: str
    identity: str
    versions: Mapping[str, str]
    written: str


Sealed = TypeVar("Sealed", Receipt, FailedReceipt)


def name(shard: int) -> str:
    """Return the name of a shard's receipt in the store."""
    return f"{FOLDER}/{shard:08d}.json"


def failed_name(shard: int) -> str:
    """Return the name of a shard's receipt of failure in the store."""
    return f"{FOLDER}/{shard:08d}{FAILED}.json"


def failed_shard_of(document: str) -> int | None:
    """Return the shard that a file in the folder of receipts calls failed; None for any other file."""
    stem, _, suffix = document.rpartition(".")
    return shard_of(f"{stem.removesuffix(FAILED)}.{suffix}") if stem.endswith(FAILED) else None


def shard_of(document: str) -> int | None:
    """Return the shard that a file in the folder of receipts speaks for; None for any other file."""
    stem, _, suffix = document.rpartition(".")
    return int(stem) if suffix == "json" and stem.isdigit() else None


def record(file: str, data: bytes, values: NDArray[Any]) -> ArrayRecord:
    """Return the record of one array's file: its hash, and its statistics in float64, made block after block."""
    flat = values.reshape(-1)
    parts = [_statistics(flat[first : first + BLOCK]) for first in range(0, flat.size, BLOCK)]
    there = [part for part in parts if part[0]]
    return ArrayRecord(
        file=file,
        bytes=len(data),
        sha256=provenance.sha256(data),
        count=sum(part[0] for part in there),
        minimum=min((part[1] for part in there), default=None),
        maximum=max((part[2] for part in there), default=None),
        sum=math.fsum(part[3] for part in there),
        sum_of_squares=math.fsum(part[4] for part in there),
    )


def _statistics(values: NDArray[Any]) -> tuple[int, float, float, float, float]:
    """Return number, minimum, maximum, sum and sum of squares of the finite values; zeros where there is none."""
    there = values.astype(np.float64)
    total = float(there.sum())
    if not math.isfinite(total):
        there = there[np.isfinite(there)]
        total = float(there.sum())
    if not there.size:
        return 0, 0.0, 0.0, 0.0, 0.0
    return there.size, float(there.min()), float(there.max()), total, float(np.einsum("i,i", there, there))


def to_bytes(receipt: Receipt | FailedReceipt) -> bytes:
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
    body, seal = _body(data)
    return _unaltered(_receipt(body), body, seal)


def failed_from_bytes(data: bytes) -> FailedReceipt:
    """Return the receipt of failure written in a document.

    Raises
    ------
    ValueError
        If it is not one, or not as it was written.
    """
    body, seal = _body(data)
    try:
        receipt = FailedReceipt(**body)
    except TypeError as error:
        raise ValueError("not a receipt of failure") from error
    return _unaltered(receipt, body, seal)


def unsealed(data: bytes) -> Receipt:
    """Return the receipt written in a document, its seal not held against it: in a fourth of the time.

    Raises
    ------
    ValueError
        If it is not a receipt.
    """
    return _receipt(_body(data)[0])


def _receipt(body: Mapping[str, Any]) -> Receipt:
    """Return the receipt of a document without its seal."""
    try:
        arrays = {array: _record(fields) for array, fields in body["arrays"].items()}
        return Receipt(**{**body, "arrays": arrays})
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError("not a receipt") from error


def _body(data: bytes) -> tuple[dict[str, Any], object]:
    """Return what a sealed document says, and its seal."""
    try:
        body = json.loads(data)
        return body, body.pop("seal")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError("not a receipt") from error


def _unaltered(receipt: Sealed, body: Mapping[str, Any], seal: object) -> Sealed:
    if seal != provenance.sha256(provenance.canonical(body)):
        raise ValueError("altered after it was written")
    return receipt


def _record(fields: dict[str, Any]) -> ArrayRecord:
    """Return the record with these fields, past the ``__init__`` of a frozen dataclass: that takes as long as JSON."""
    if fields.keys() != FIELDS:
        raise KeyError("fields of an array's record")
    found = object.__new__(ArrayRecord)
    object.__setattr__(found, "__dict__", fields)
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


def lengths(data: bytes) -> dict[str, int]:
    """Return the files of a receipt and their bytes, in a twentieth of the time of reading all of it, unproven."""
    return {file.decode(errors="replace"): int(count) for file, count in LENGTH.findall(data)}


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
