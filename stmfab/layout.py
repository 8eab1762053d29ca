"""What lies where in a store: arrays, chunks, shards; from the recipe alone, never from who writes or with how many."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import google_crc32c
import numpy as np
from numcodecs import blosc  # type: ignore[import-untyped]  # it ships no types
from numpy.typing import NDArray

from .physics.arrays import ArraySpec

FORMAT = 9  # of the layout and of the samples' bytes; a change of either counts it up
LABELS = "labels"  # the group where readers of OME-Zarr look for label layers
CHUNK_BYTES = 512 * 1024  # of the largest image: a random read of one sample decodes this much
SHARD_BYTES = 16 * 1024 * 1024  # of the largest image: what a worker holds a few times over in memory
ABSENT = object()
COMPRESSOR: Final = "lz4"  # of blosc, behind its byte shuffle: a quarter of the time of zstd-1 for 5 % more bytes
COMPRESSION_LEVEL: Final = 5
CHECKSUM_BYTES = 4  # of a CRC-32C
ABSENT_CHUNK = (2**64 - 1, 2**64 - 1)  # offset and length in a shard's index, zarr-specs: sharding-indexed 1.0
SHARDS = 64  # aimed at, so that a small dataset still spreads over many workers


@dataclass(frozen=True)
class Layout:
    """The shape of a dataset: how many samples, which arrays, and how they are cut into chunks and shards.

    Attributes
    ----------
    samples : int
        Samples in the whole dataset.
    chunk, shard : int
        Samples in one chunk of images (the unit of reading) and in one shard (the unit of writing: a file an array).
    arrays : tuple of ArraySpec
        The arrays without their leading ``sample`` axis.
    """

    samples: int
    chunk: int
    shard: int
    arrays: tuple[ArraySpec, ...]

    @property
    def n_shards(self) -> int:
        """Return the number of shards; the last may hold fewer samples."""
        return math.ceil(self.samples / self.shard)

    def bounds(self, shard: int) -> tuple[int, int]:
        """Return the first sample of a shard and the one after its last."""
        return shard * self.shard, min((shard + 1) * self.shard, self.samples)

    def chunk_of(self, spec: ArraySpec) -> int:
        """Return the samples in one chunk of an array: small ones have one a shard."""
        return self.shard if self.shard * array_bytes(spec) <= CHUNK_BYTES else self.chunk

    def file_of(self, spec: ArraySpec, shard: int) -> str:
        """Return the name of the one file that a shard of an array is."""
        return "/".join([spec.name, "c", str(shard), *("0" for _ in spec.shape)])

    def file_bytes(self, spec: ArraySpec, block: NDArray[Any]) -> bytes:
        """Return the file of a shard that begins with the samples of ``block``, byte for byte what zarr would write.

        Chunks one after the other, each followed by its checksum; then the index, an offset and a length a chunk, and
        its checksum (zarr-specs: sharding-indexed 1.0). zarr itself takes three times as long, in its event loop.
        """
        samples = self.chunk_of(spec)
        parts, index, offset = [], [], 0
        for first in range(0, len(block), samples):
            parts.append(_checked(_compressed(block[first : first + samples], samples)))
            index.append((offset, len(parts[-1])))
            offset += len(parts[-1])
        index += [ABSENT_CHUNK] * (self.shard // samples - len(index))
        return b"".join([*parts, _checked(np.array(index, dtype="<u8").tobytes())])

    def block(self, spec: ArraySpec, data: bytes) -> NDArray[Any]:
        """Return the samples in a file that ``file_bytes`` made, those behind the end of the dataset with them.

        Raises
        ------
        ValueError
            If the bytes are not those of such a file.
        """
        samples = self.chunk_of(spec)
        n_bytes = self.shard // samples * 16 + CHECKSUM_BYTES
        index = np.frombuffer(_unchecked(data[-n_bytes:]), dtype="<u8").reshape(-1, 2)
        found = [_decompressed(data[first : first + length]) for first, length in index.tolist() if length < len(data)]
        chunks = [np.frombuffer(chunk, spec.dtype).reshape(samples, *spec.shape) for chunk in found]
        return np.concatenate(chunks)

    def array(self, name: str) -> ArraySpec:
        """Return the declaration of one array.

        Raises
        ------
        KeyError
            If the dataset has no such array.
        """
        return next((spec for spec in self.arrays if spec.name == name), None) or _no_array(name)

    @property
    def sample_bytes(self) -> int:
        """Return the bytes of one sample before compression."""
        return sum(array_bytes(spec) for spec in self.arrays)


def fill_value(dtype: np.dtype[Any]) -> float | int:
    """Return what stands where no sample is."""
    return np.nan if dtype.kind == "f" else 0


def _compressed(samples: NDArray[Any], n_samples: int) -> bytes:
    """Return a compressed chunk of ``n_samples``, the last of a dataset filled up."""
    chunk = np.ascontiguousarray(samples)
    if len(chunk) < n_samples:
        chunk = np.full((n_samples, *samples.shape[1:]), fill_value(samples.dtype), dtype=samples.dtype)
        chunk[: len(samples)] = samples
    codec = blosc.Blosc(cname=COMPRESSOR, clevel=COMPRESSION_LEVEL, shuffle=blosc.SHUFFLE)
    return bytes(codec.encode(chunk))


def _checked(data: bytes) -> bytes:
    """Return some bytes with their CRC-32C behind them."""
    checksum: int = google_crc32c.value(data)
    return data + checksum.to_bytes(CHECKSUM_BYTES, "little")


def is_checked(data: bytes) -> bool:
    """Return whether some bytes end with the CRC-32C of those before it.

    >>> is_checked(b"")
    False
    """
    return len(data) > CHECKSUM_BYTES and _checked(data[:-CHECKSUM_BYTES]) == data


def _unchecked(data: bytes) -> bytes:
    """Return some bytes without the CRC-32C behind them.

    Raises
    ------
    ValueError
        If it is not theirs.
    """
    if not is_checked(data):
        raise ValueError("a checksum is not that of its bytes")
    return data[:-CHECKSUM_BYTES]


def _decompressed(chunk: bytes) -> bytes:
    try:
        return bytes(blosc.decompress(_unchecked(chunk)))
    except RuntimeError as error:
        raise ValueError(f"a chunk cannot be decompressed ({error})") from error


def _no_array(name: str) -> ArraySpec:
    raise KeyError(name)


def layout(samples: int, arrays: tuple[ArraySpec, ...]) -> Layout:
    """Return the layout of a dataset: chunks of 512 KiB of image, 64 shards or more, of at most 16 MiB of image.

    >>> topography = ArraySpec("topography", ("y", "x"), (64, 64), "float32", "nm", "commanded height", "image")
    >>> [(cut.chunk, cut.shard) for cut in (layout(n, (topography,)) for n in (256, 4096, 100_000))]
    [(32, 32), (32, 64), (32, 1024)]
    """
    images = [spec for spec in arrays if spec.role == "image"] or arrays
    image = max(array_bytes(spec) for spec in images)
    chunk = max(1, CHUNK_BYTES // image)
    most = max(1, SHARD_BYTES // image // chunk)
    chunks = min(most, math.ceil(math.ceil(samples / SHARDS) / chunk))
    return Layout(samples, chunk, chunk * max(1, chunks), arrays)


def apart(specs: Iterable[ArraySpec], arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return those of some arrays that are there, (n_samples, ...), one a junction, by ``ArraySpec.apart``'s names."""
    found: dict[str, NDArray[Any]] = {}
    for spec in specs:
        if spec.name in arrays:
            whole = arrays[spec.name]
            found |= {name: whole[:, place] if spec.junctions else whole for place, name in enumerate(spec.apart())}
    return found


def array_bytes(spec: ArraySpec) -> int:
    """Return the bytes of one sample of an array before compression."""
    return math.prod(spec.shape) * np.dtype(spec.dtype).itemsize


def from_metadata(attributes: Mapping[str, Any], metadata: Mapping[str, Any]) -> Layout:
    """Return the layout written in a store: its root attributes and its consolidated metadata."""
    arrays = {name: node for name, node in metadata.items() if node["node_type"] == "array"}
    order: list[str] = attributes["arrays"]
    specs = tuple(_spec(name, arrays[name]) for name in order)
    return Layout(attributes["samples"], attributes["chunk_samples"], attributes["shard_samples"], specs)


def _spec(name: str, node: Mapping[str, Any]) -> ArraySpec:
    words = node["attributes"]
    return ArraySpec(
        name=name,
        dims=tuple(node["dimension_names"][1:]),
        shape=tuple(node["shape"][1:]),
        dtype=node["data_type"],
        unit=words["units"],
        long_name=words["long_name"],
        role=words["role"],
        junctions=tuple(words.get("junctions", ())),
    )


def differences(theirs: Any, ours: Any, path: str = "", *, words: tuple[str, str] = ("there", "asked")) -> list[str]:
    """Return how two recipes differ, key by key, in the order of the keys; ``words`` say whose value is whose.

    >>> differences({"seed": 1, "tip": {"kind": "tungsten"}}, {"seed": 2, "tip": {"kind": "tungsten"}})
    ['seed: 1 there, 2 asked']
    >>> differences({"size_nm": {"uniform": [1, 4]}}, {"size_nm": 3})
    ['size_nm: {"uniform": [1, 4]} there, 3 asked']
    """
    if theirs == ours:
        return []
    if not (isinstance(theirs, Mapping) and isinstance(ours, Mapping) and theirs.keys() & ours.keys()):
        return [f"{path}: {_shown(theirs)} {words[0]}, {_shown(ours)} {words[1]}"]
    return [
        line
        for key in sorted(theirs.keys() | ours.keys())
        for line in differences(
            theirs.get(key, ABSENT), ours.get(key, ABSENT), f"{path}.{key}" if path else key, words=words
        )
    ]


def _shown(value: Any) -> str:
    return "nothing" if value is ABSENT else json.dumps(value)
