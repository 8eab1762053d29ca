"""The random streams of a dataset; nobody else makes one.

Leaf and tile streams are Philox 4x64-10 (counter based): a number is a pure function of its name. The key names the
stream, the counter the number:

====== ==================================== ==================================
word   column (one number a sample)         tile (numbers of a lattice tile)
====== ==================================== ==================================
key    blake2b-128(person "column", seed and path)  blake2b-128(person "tile", seed and path)
c0     word // 4                            word // 4
c1     sample index                         sample index
c2     0                                    tile u (low 32 bits), v (high 32 bits)
c3     attempt (redraws of a joint rule)    0
====== ==================================== ==================================

The word is lane ``word % 4`` of the block; a number is (top 52 bits + 1/2) 2^-52. Stage streams (``stream``) are PCG64
generators for the few stages that need arrays of numbers, started by blake2b of seed, index and name. A sample that is
drawn again as a whole (a recipe's ``keep``) has all streams under another seed, ``seed_again``. A change of any of this
changes every dataset: count up ``layout.FORMAT``.
"""

from __future__ import annotations

import functools
import hashlib
from typing import Any, cast

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import DTypeLike, NDArray

from . import _streams_kernels

LANES = 4  # words of a Philox block
TILE_LIMIT = 2**31  # tile coordinates are packed as two signed 32-bit words
SMALLEST, LARGEST = 2.0**-53, 1 - 2.0**-53  # the ends of what a uniform can be

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Words = NDArray[np.uint64]


def column(seed: int, path: str, start: int, stop: int, word: int = 0, attempt: int = 0) -> Floats:
    """Return one uniform number in (0, 1) for each sample index in [start, stop), shape (stop - start,)."""
    return column_at(seed, path, np.arange(start, stop, dtype=np.int64), word=word, attempt=attempt)


def column_at(seed: int, path: str, indices: Ints, *, word: int = 0, attempt: int = 0) -> Floats:
    """Return one uniform number in (0, 1) for each of some sample indices, shape (n_indices,)."""
    counters = np.zeros((len(indices), LANES), np.uint64)
    counters[:, 0] = word // LANES
    counters[:, 1] = indices
    counters[:, 3] = attempt
    return _uniforms(philox(_key("column", seed, path), counters)[:, word % LANES])


def tile_uniforms(seed: int, index: int, path: str, tiles: Ints, n_words: int) -> Floats:
    """Return the uniform numbers in (0, 1) of lattice tiles, shape (n_tiles, n_words).

    A tile's numbers depend on (seed, path, index, tile) only, and the first words on no later one: neither a larger
    window nor a longer list of words changes them.

    Raises
    ------
    ValueError
        If a tile coordinate does not fit 32 bits.
    """
    out = np.empty((len(tiles), n_words))
    if not _streams_kernels.tile_uniforms(_key("tile", seed, path), index, tiles, TILE_LIMIT, out):
        raise ValueError(f"tile coordinates must be below {TILE_LIMIT}")
    return out


def stream(seed: int, index: int, name: str) -> np.random.Generator:
    """Return the generator of one stage of one sample; stages never share numbers, whatever their order."""
    return np.random.Generator(np.random.PCG64(cast(Any, _Seed(seed, index, name))))


class _Seed(ISeedSequence):
    """The start of a stage's stream: blake2b of its name, in a tenth of the time of ``numpy.random.SeedSequence``."""

    def __init__(self, seed: int, index: int, name: str) -> None:
        self.name = f"{seed}\0{index}\0{name}".encode()

    def generate_state(self, n_words: int, dtype: DTypeLike = np.uint32) -> NDArray[Any]:
        """Return the words that numpy starts a bit generator with, shape (n_words,)."""
        size = n_words * np.dtype(dtype).itemsize
        return np.frombuffer(hashlib.blake2b(self.name, digest_size=size, person=b"stage").digest(), dtype)


def seed_again(seed: int, attempt: int) -> int:
    """Return the seed of all streams of a sample that was drawn again so many times; of none the seed itself."""
    if not attempt:
        return seed
    digest = hashlib.blake2b(f"{seed}\0{attempt}".encode(), digest_size=8, person=b"again").digest()
    return int.from_bytes(digest, "little") >> 1  # what a recipe may have as its seed


def philox(key: Words, counters: Words) -> Words:
    """Return the Philox 4x64-10 words, shape (n, 4), of counters, shape (n, 4), under one key, shape (2,)."""
    out = np.empty_like(counters)
    _streams_kernels.words(key, counters, out)
    return out


def _uniforms(words: Words) -> Floats:
    """Return the number in (0, 1) of each word, shape (n,)."""
    out = np.empty(len(words))
    _streams_kernels.uniforms(np.ascontiguousarray(words), out)
    return out


@functools.lru_cache(maxsize=4096)
def _key(person: str, seed: int, path: str) -> Words:
    """Return the Philox key of a named stream, shape (2,)."""
    digest = hashlib.blake2b(f"{seed}\0{path}".encode(), digest_size=16, person=person.encode()).digest()
    return np.frombuffer(digest, "<u8")
