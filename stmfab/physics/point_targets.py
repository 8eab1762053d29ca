"""Targets at points: spectra over the defects of the table and over bare places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from . import targets
from .arrays import ArraySpec
from .keys import KeyRangeError, check_ranges, key
from .targets import Labels
from .units import Bools, Floats, Ints

BIAS, POINT = "bias_V", "point"  # how the dimensions of a spectrum's arrays end
NOT_A_DEFECT = -1
STREAM = "targets.bare_points"  # the same places for all targets of a sample


@dataclass(frozen=True)
class Spectra:
    """Spectra: dI/dV over the bias at points where the loop holds the tip at the setpoint, nA/V.

    First the defects of the table that lie in the frame, in its order, then bare points drawn at random. Rows without a
    point hold NaN. The axis of biases is an array of the store, named ``<name>_bias_V``.
    """

    of_path: ClassVar[bool] = False

    from_V: float = key("first bias of the axis", at_least=-3, at_most=3, fixed=True)
    to_V: float = key("last bias of the axis", at_least=-3, at_most=3, fixed=True)
    n_biases: int = key("number of biases on the axis, evenly spaced", default=81, at_least=2, at_most=1001, fixed=True)
    n_defects: int = key("most defects that get a spectrum", default=8, at_least=0, at_most=1000, fixed=True)
    n_bare: int = key("number of points away from all defects", default=2, at_least=0, at_most=1000, fixed=True)
    bare_nm: float = key("how far from any defect these are", default=0.8, at_least=0, fixed=True)

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.to_V <= self.from_V:
            raise KeyRangeError("to_V", self.to_V, f"above from_V, {self.from_V:g}")
        if not self.n_points:
            raise KeyRangeError("n_bare", 0, "at least 1 where n_defects is 0")

    @property
    def n_points(self) -> int:
        """Number of rows."""
        return self.n_defects + self.n_bare

    @property
    def biases_V(self) -> Floats:
        """The axis of biases, (n_biases,)."""
        return np.linspace(self.from_V, self.to_V, self.n_biases)

    def arrays(self, name: str, pixels: int) -> list[ArraySpec]:
        """Return the arrays of this target."""
        n, point = self.n_points, f"{name}_{POINT}"
        axis = f"{name}_{BIAS}"
        meaning = "dI/dV at points, tip at the setpoint"
        spectra = ArraySpec(name, (point, axis), (n, self.n_biases), "float32", "nA/V", meaning, "label")
        columns = (
            ("x_nm", "float32", "nm", "x of the points in the sample frame"),
            ("y_nm", "float32", "nm", "y of the points in the sample frame"),
            ("defect", "int16", "1", "row of the table of defects that a point is over, -1 for none"),
        )
        return [
            spectra,
            *(
                ArraySpec(f"{name}_{end}", (point,), (n,), kind, unit, what, "label")
                for end, kind, unit, what in columns
            ),
        ]

    def render(self, labels: Labels) -> list[NDArray[Any]]:
        """Return the spectra, where they are, and over which defects."""
        assert labels.spectra is not None
        rows = self._defects(labels)
        bare = self._bare(labels)
        x_nm = np.concatenate([labels.listed_nm[rows, 0], labels.x_nm.ravel()[bare]])
        y_nm = np.concatenate([labels.listed_nm[rows, 1], labels.y_nm.ravel()[bare]])
        z_nm = labels.field.during(np.zeros((), dtype=np.int64)).heights(x_nm, y_nm, labels.log_setpoint)
        into = np.concatenate([np.arange(len(rows)), self.n_defects + np.arange(len(bare))])
        spectra = np.full((self.n_points, self.n_biases), np.nan)
        spectra[into] = labels.spectra(np.column_stack([x_nm, y_nm, z_nm]), self.biases_V)
        places = np.full((2, self.n_points), np.nan)
        places[:, into] = x_nm, y_nm
        defect = np.full(self.n_points, NOT_A_DEFECT)
        defect[: len(rows)] = rows
        return [spectra, *places, defect]

    def _defects(self, labels: Labels) -> Ints:
        """Return the first rows of the table whose defects lie between the frame's outer pixels."""
        pixels = targets.pixels_of(labels.x_nm, labels.y_nm, labels.listed_nm)
        inside = ((pixels >= 0) & (pixels <= np.array(labels.x_nm.shape) - 1)).all(axis=1)
        return np.flatnonzero(inside)[: self.n_defects]

    def _bare(self, labels: Labels) -> Ints:
        """Return some pixels, flat numbers, farther than ``bare_nm`` from every defect; fewer where there are few."""
        assert labels.random is not None
        order = labels.random(STREAM).permutation(labels.x_nm.size)
        free: Bools = np.ones(len(order), dtype=np.bool_)
        x_nm, y_nm = labels.x_nm.ravel()[order], labels.y_nm.ravel()[order]
        for site_nm in labels.defect_sites_nm:
            free &= (x_nm - site_nm[0]) ** 2 + (y_nm - site_nm[1]) ** 2 > self.bare_nm**2
        return np.asarray(order[free][: self.n_bare])
