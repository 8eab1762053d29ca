"""Tips: apex atoms, their density of states, and how the tip is turned."""

from __future__ import annotations

import functools
import importlib.resources
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .keys import check_ranges, key
from .units import Floats

NM_PER_PM = 1e-3
TABLE = "tungsten.npz"  # made by tests/make_tips.py from physics/tungsten.py
MEAN_LDOS_per_eV = 0.096  # |E| <= 0.5 eV, mean of the two pristine apexes; test_tips.py::test_mean_ldos


@dataclass(frozen=True)
class Tip:
    """A tip as the current sees it.

    Attributes
    ----------
    positions_nm : array of shape (n_atoms, 3)
        Atoms relative to the centroid of the front atoms, z upward.
    at_eV : array of shape (n_at,)
        Equidistant energies from the tip's Fermi level.
    ldos_per_eV : array of shape (n_atoms, n_at)
        Local density of states, per spin.
    apexes_nm : sequence of (x, y)
        Where its apexes are.
    shape : str
        Orbital of its atoms: s, or for the coherent current also pz, px, py.
    """

    positions_nm: Floats
    at_eV: Floats
    ldos_per_eV: Floats
    apexes_nm: Sequence[tuple[float, float]] = ((0.0, 0.0),)
    shape: str = "s"

    def density(self, energies_eV: Floats) -> Floats:
        """Return the densities of states at energies, shape (n_atoms, n_energies), by 4-point Lagrange interpolation.

        Raises
        ------
        ValueError
            If an energy is outside the table.
        """
        step = self.at_eV[1] - self.at_eV[0]
        place = (energies_eV - self.at_eV[0]) / step
        node = np.floor(place).astype(np.int64)
        if node.min() < 1 or node.max() + 2 >= len(self.at_eV):
            raise ValueError(f"tip density of states is tabulated for |E| < {self.at_eV[-1]:g} eV")
        t = place - node
        weights = (
            -t * (t - 1) * (t - 2) / 6,
            (t + 1) * (t - 1) * (t - 2) / 2,
            -(t + 1) * t * (t - 2) / 2,
            (t + 1) * t * (t - 1) / 6,
        )
        return np.asarray(sum(w * self.ldos_per_eV[:, node - 1 + i] for i, w in enumerate(weights)))


@functools.cache
def _table() -> Mapping[str, tuple[int, Tip]]:
    """Return the shipped apexes: name -> (number of front atoms, tip in its own frame)."""
    with importlib.resources.as_file(importlib.resources.files(__package__) / TABLE) as path, np.load(path) as data:
        n_atoms = data["n_atoms"]
        first = np.concatenate([[0], np.cumsum(n_atoms)])
        parts = [slice(first[i], first[i + 1]) for i in range(len(n_atoms))]
        positions, at_eV, ldos = (
            data["positions_nm"],
            data["at_eV"],
            data["ldos_per_eV"].astype(np.float64)[data["which"]],
        )
        return {
            str(name): (int(n_front), Tip(positions[part], at_eV, ldos[part]))
            for name, n_front, part in zip(data["names"], data["n_front"], parts, strict=True)
        }


APEXES = (
    *("w111", "w111-d1-1of3", "w111-d1-2of3", "w111-d1", "w111-d2"),
    *("w111-d3-1of6a", "w111-d3-1of6b", "w111-d3-2of6a", "w111-d3-2of6b", "w111-d3-2of6c", "w111-d3-2of6d"),
    *("w111-d3-3of6a", "w111-d3-3of6b", "w111-d3-3of6c", "w111-d3-3of6d", "w111-d3-3of6e", "w111-d3-3of6f"),
    *("w111-d3-4of6a", "w111-d3-4of6b", "w111-d3-4of6c", "w111-d3-4of6d", "w111-d3-5of6a", "w111-d3-5of6b"),
    *("w111-d3", "w001", "w001-d1-1of4", "w001-d1-2of4a", "w001-d1-2of4b", "w001-d1-3of4", "w001-d1"),
)
ONE_ATOM_APEXES = ("w111", "w111-d1-1of3", "w111-d2", "w111-d3-1of6a", "w111-d3-1of6b", "w001", "w001-d1-1of4")


@dataclass(frozen=True)
class Tungsten:
    """A bcc tungsten tip: ``w111`` is pristine, ``w111-d2`` lacks two layers, ``w111-d1-2of3`` keeps part of one."""

    apex: str = key("orientation, whole layers lost, atoms left in the front layer", default="w111", one_of=APEXES)
    rotation_deg: float = key("rotation about the tip's axis, counter-clockwise from above", default=0.0)
    tilt_x_deg: float = key("tilt about x", default=0.0, above=-60, below=60)
    tilt_y_deg: float = key("tilt about y", default=0.0, above=-60, below=60)

    def __post_init__(self) -> None:
        check_ranges(self)

    def tip(self) -> Tip:
        """Return the turned tip: rotated about its axis first, then tilted about x, then about y."""
        _, upright = _table()[self.apex]
        turn = _rotation(self.tilt_y_deg, 1) @ _rotation(self.tilt_x_deg, 0) @ _rotation(self.rotation_deg, 2)
        return Tip(upright.positions_nm @ turn.T, upright.at_eV, upright.ldos_per_eV)


def _rotation(angle_deg: float, axis: int) -> Floats:
    """Return the matrix of a rotation about x (0), y (1) or z (2), counter-clockwise seen from its tip, (3, 3)."""
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    out = np.eye(3)
    out[first, first] = out[second, second] = cos
    out[second, first], out[first, second] = sin, -sin
    return out


@dataclass(frozen=True, kw_only=True)
class ExtraTungsten(Tungsten):
    """A further apex of the tip: its current adds to that of the first, and the picture is seen twice."""

    x_nm: float = key("place beside the first apex along the sample frame's x", above=-20, below=20)
    y_nm: float = key("place beside the first apex along the sample frame's y", above=-20, below=20)
    shorter_pm: float = key("how much higher than the first apex it ends", at_least=0)

    def tip(self) -> Tip:
        """Return the turned apex at its place."""
        alone = super().tip()
        place = np.array([self.x_nm, self.y_nm, self.shorter_pm * NM_PER_PM])
        return Tip(alone.positions_nm + place, alone.at_eV, alone.ldos_per_eV, ((self.x_nm, self.y_nm),))


def joined(parts: Sequence[Tip]) -> Tip:
    """Return several apexes as one tip, whose currents add; the first is what the tip's path is the path of."""
    first, *others = parts
    if not others:
        return first
    return Tip(
        np.concatenate([part.positions_nm for part in parts]),
        first.at_eV,
        np.concatenate([part.ldos_per_eV for part in parts]),
        [apex for part in parts for apex in part.apexes_nm],
    )


TIPS: Mapping[str, type[Tungsten]] = {"tungsten": Tungsten}
EXTRA_APEXES: Mapping[str, type[ExtraTungsten]] = {"tungsten": ExtraTungsten}
