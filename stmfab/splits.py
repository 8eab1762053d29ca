"""Which samples train, which validate, which test: from a hash of the index alone, as every store states it.

One index is one scene, in whatever store: the undistorted twin of a sample, or the same sample of a store that has
grown, falls into the same split. Nothing of a scene that was trained on is ever met in a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import StmfabError, did_you_mean

SPLITS: Mapping[str, tuple[int, int]] = {"train": (0, 80), "val": (80, 90), "test": (90, 100)}  # of 100 remainders
REMAINDERS = 100
RULE = "splitmix64(sample) mod 100, first included, last not"


def stated() -> dict[str, Any]:
    """Return the splits as the attributes of a store state them."""
    return {"rule": RULE, **{name: list(ends) for name, ends in SPLITS.items()}}


def splitmix64(states: NDArray[Any]) -> NDArray[np.uint64]:
    """Return the first word of SplitMix64 from each state, shape of ``states``.

    References
    ----------
    Steele, Lea & Flood, OOPSLA 2014, doi:10.1145/2660193.2660195.

    Examples
    --------
    >>> splitmix64(np.array([1234567]))
    array([6457827717110365317], dtype=uint64)
    """
    word = states.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(word ^ (word >> np.uint64(31)))


def members(indices: NDArray[np.int64], split: str | None) -> NDArray[np.int64]:
    """Return those of some sample indices that are of a split; all of them where it is None.

    Raises
    ------
    StmfabError
        If there is no such split.
    """
    if split is None:
        return indices
    if split not in SPLITS:
        raise StmfabError(f"split {split!r}: no such split{did_you_mean(split, SPLITS)}")
    low, high = SPLITS[split]
    remainder = splitmix64(indices) % np.uint64(REMAINDERS)
    return indices[(remainder >= low) & (remainder < high)]
