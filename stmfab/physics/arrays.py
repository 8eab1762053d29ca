"""What an array of a dataset is, said without a number of it: cheap to import for whoever only reads a store."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ArraySpec:
    """One array of a dataset: name, dimensions and shape of one sample, dtype, unit, meaning, and its role.

    Roles: image, target, label, parameter.
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    unit: str
    long_name: str
    role: str
