"""What an array of a dataset is, said without a number of it: cheap to import for whoever only reads a store."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

Column: TypeAlias = tuple[str, str, str, str]  # of a table: name, dtype, unit, meaning
IN_SAMPLE: tuple[Column, ...] = (
    ("x_nm", "float64", "nm", "x in the sample frame"),
    ("y_nm", "float64", "nm", "y in the sample frame"),
)
ON_PATH: tuple[Column, ...] = (
    ("row", "float32", "1", "fractional row on the forward true path"),
    ("col", "float32", "1", "fractional column on the forward true path"),
)
JUNCTION = "junction"  # the dimension of what several junctions have each their own of
IMAGE = ("y", "x")


@dataclass(frozen=True)
class ArraySpec:
    """One array of a dataset: name, dimensions and shape of one sample, dtype, unit, meaning, and its role.

    Roles: image, target, label, parameter. ``junctions`` names what the dimension of that name, the first, runs over.
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    unit: str
    long_name: str
    role: str
    junctions: tuple[str, ...] = ()

    @property
    def is_image(self) -> bool:
        """Return whether it is an image, or one a junction."""
        return self.dims[-2:] == IMAGE

    def of_each(self, junctions: Sequence[str]) -> ArraySpec:
        """Return the array that holds one of these for each of some junctions; itself for none."""
        if not junctions:
            return self
        names = tuple(junctions)
        return dataclasses.replace(self, dims=(JUNCTION, *self.dims), shape=(len(names), *self.shape), junctions=names)

    def apart(self) -> dict[str, ArraySpec]:
        """Return one array a junction, without that dimension, each by a name of its own; itself where it has none."""
        if not self.junctions:
            return {self.name: self}
        alone = dataclasses.replace(self, dims=self.dims[1:], shape=self.shape[1:], junctions=())
        return {
            name: dataclasses.replace(alone, name=name, long_name=f"{self.long_name}; {junction}")
            for junction in self.junctions
            for name in [f"{self.name}.{junction}"]
        }
