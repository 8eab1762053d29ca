"""Tips: apex atoms, their density of states, and how the tip is turned."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.resources
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _tips_kernels
from .keys import check_ranges, key
from .units import Floats, Ints

NM_PER_PM = 1e-3
TABLE = "tungsten.npz"  # made by tests/make_tips.py from physics/tungsten.py
SPD_TABLE = "tungsten_spd.npz"  # and from physics/tungsten_spd.py: the same apexes
MEAN_LDOS_per_eV = 0.096  # |E| <= 0.5 eV, mean of the two pristine apexes; test_tips.py::test_mean_ldos
SPD_MEAN_LDOS_per_eV = 0.874  # the same of the spd model; test_tungsten_spd.py::test_mean_density_near_the_fermi_level
PT_IR_NM = 0.3907  # fcc Pt 80 % Ir 20 %: Vegard's law between Pt 0.3924 and Ir 0.3839 (CRC Handbook of Chemistry)
PT_IR_LAYERS = 3  # whose atoms carry current: the fourth stands 0.68 nm behind the front
AT_eV = np.linspace(-3.0, 3.0, 241)


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
        Local density of states, per spin, on the calibration's scale: a model's pristine apexes have the mean
        ``MEAN_LDOS_per_eV`` near the Fermi level, so that a gap of zero is a point contact whatever the model.
    apexes_nm : sequence of (x, y)
        Where its apexes are.
    p_shares : array of shape (n_atoms,), or None
        The share of p waves, p_x and p_y alike, in each atom's tunnelling; None: all s waves.
    shape : str
        Orbital of its atoms: s, or for the coherent current also pz, px, py.
    """

    positions_nm: Floats
    at_eV: Floats
    ldos_per_eV: Floats
    apexes_nm: Sequence[tuple[float, float]] = ((0.0, 0.0),)
    p_shares: Floats | None = None
    shape: str = "s"

    @property
    def waves(self) -> list[tuple[str, float]]:
        """The shapes of its orbitals, as a coherent current takes them, and how much each carries.

        Raises
        ------
        ValueError
            If its atoms have different shares of p waves.
        """
        if self.p_shares is None:
            return [(self.shape, 1.0)]
        share = float(self.p_shares[0])
        if np.ptp(self.p_shares) > 0:
            raise ValueError("a coherent current needs the same share of p waves of all atoms")
        return [(shape, own) for shape, own in (("s", 1 - share), ("px", share), ("py", share)) if own > 0]

    def density(self, energies_eV: Floats) -> Floats:
        """Return the densities of states at energies, shape (n_atoms, n_energies), by 4-point Lagrange interpolation.

        Raises
        ------
        ValueError
            If an energy is outside the table.
        """
        places = (energies_eV - self.at_eV[0]) / (self.at_eV[1] - self.at_eV[0])
        if not (places.min() >= 1 and places.max() < len(self.at_eV) - 2):
            raise ValueError(f"tip density of states is tabulated for |E| < {self.at_eV[-1]:g} eV")
        out = np.empty((len(self.ldos_per_eV), len(places)))
        _tips_kernels.lagrange(self.ldos_per_eV, places, out)
        return out


@functools.cache
def _table() -> Mapping[str, tuple[int, Tip]]:
    """Return the shipped apexes: name -> (number of front atoms, tip in its own frame)."""
    with _shipped(TABLE) as data:
        ldos = data["ldos_per_eV"].astype(np.float64)[data["which"]]
        names, n_front, parts = data["names"], data["n_front"], _parts(data["n_atoms"])
        positions, at_eV = data["positions_nm"], data["at_eV"]
    return {
        str(name): (int(n), Tip(positions[part], at_eV, ldos[part]))
        for name, n, part in zip(names, n_front, parts, strict=True)
    }


@functools.cache
def _spd_table() -> Mapping[str, tuple[int, Tip]]:
    """Return the same apexes with the densities of states of the spd model."""
    with _shipped(SPD_TABLE) as data:
        counts = data["second_differences"].astype(np.int64).cumsum(axis=1).cumsum(axis=1)
        ldos = (counts * float(data["unit_per_eV"]) * (MEAN_LDOS_per_eV / SPD_MEAN_LDOS_per_eV))[data["which"]]
    parts = _parts([len(tip.positions_nm) for _, tip in _table().values()])
    return {
        name: (n_front, dataclasses.replace(tip, ldos_per_eV=ldos[part]))
        for (name, (n_front, tip)), part in zip(_table().items(), parts, strict=True)
    }


@contextlib.contextmanager
def _shipped(table: str) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Open a table of the package."""
    with importlib.resources.as_file(importlib.resources.files(__package__) / table) as path, np.load(path) as data:
        yield data


def _parts(counts: Sequence[int] | Ints) -> list[slice]:
    """Return the rows of each of some parts that follow each other."""
    ends = np.cumsum(counts)
    return [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]


APEXES = (
    *("w111", "w111-d1-1of3", "w111-d1-2of3", "w111-d1", "w111-d2"),
    *("w111-d3-1of6a", "w111-d3-1of6b", "w111-d3-2of6a", "w111-d3-2of6b", "w111-d3-2of6c", "w111-d3-2of6d"),
    *("w111-d3-3of6a", "w111-d3-3of6b", "w111-d3-3of6c", "w111-d3-3of6d", "w111-d3-3of6e", "w111-d3-3of6f"),
    *("w111-d3-4of6a", "w111-d3-4of6b", "w111-d3-4of6c", "w111-d3-4of6d", "w111-d3-5of6a", "w111-d3-5of6b"),
    *("w111-d3", "w111-d4", "w111-d5"),
    *("w001", "w001-d1-1of4", "w001-d1-2of4a", "w001-d1-2of4b", "w001-d1-3of4", "w001-d1", "w001-d2", "w001-d3"),
)
ONE_ATOM_APEXES = ("w111", "w111-d1-1of3", "w111-d2", "w111-d3-1of6a", "w111-d3-1of6b", "w001", "w001-d1-1of4")


@dataclass(frozen=True)
class Apex:
    """A kind of apex."""

    def __post_init__(self) -> None:
        check_ranges(self)

    def tip(self) -> Tip:
        """Return the tip."""
        raise NotImplementedError


@dataclass(frozen=True)
class Tungsten(Apex):
    """A bcc tungsten tip: ``w111`` is pristine, ``w111-d2`` lacks two layers, ``w111-d1-2of3`` keeps part of one."""

    apex: str = key("orientation, whole layers lost, atoms left in the front layer", default="w111", one_of=APEXES)
    rotation_deg: float = key("rotation about the tip's axis, counter-clockwise from above", default=0.0)
    tilt_x_deg: float = key("tilt about x", default=0.0, above=-60, below=60)
    tilt_y_deg: float = key("tilt about y", default=0.0, above=-60, below=60)
    model: str | None = key(
        "orbitals of the tip: s, the published model, or s, p and d; none: s", default=None, one_of=("s", "spd")
    )

    def tip(self) -> Tip:
        """Return the turned tip."""
        _, upright = (_spd_table() if self.model == "spd" else _table())[self.apex]
        return _turned(upright, self.rotation_deg, self.tilt_x_deg, self.tilt_y_deg)


@dataclass(frozen=True)
class PlatinumIridium(Apex):
    """A Pt/Ir tip: a pyramid of close-packed layers, whose front atoms are lost layer by layer.

    Its s and p waves, which reach farthest out, carry the current: their density of states is taken as flat over a
    bias window, and only the pyramid's shape shows in an image. Any constant cancels: the current is calibrated.
    """

    front_atoms: int = key("atoms of the front layer", default=1, one_of=(1, 3, 6, 10))
    rotation_deg: float = key("rotation about the tip's axis, counter-clockwise from above", default=0.0)
    tilt_x_deg: float = key("tilt about x", default=0.0, above=-60, below=60)
    tilt_y_deg: float = key("tilt about y", default=0.0, above=-60, below=60)

    def tip(self) -> Tip:
        """Return the turned tip."""
        edge = (1, 3, 6, 10).index(self.front_atoms)
        places = np.array(
            [
                (x + y / 2 - side / 2, (y - side / 3) * math.sqrt(3) / 2, layer * math.sqrt(2 / 3))
                for layer in range(PT_IR_LAYERS)
                for side in [edge + layer]
                for y in range(side + 1)
                for x in range(side + 1 - y)
            ]
        )
        return _turned(_flat(PT_IR_NM / math.sqrt(2) * places), self.rotation_deg, self.tilt_x_deg, self.tilt_y_deg)


@dataclass(frozen=True)
class CarbonMonoxide(Apex):
    """A CO molecule at the apex: it tunnels by p waves, which see the slope of the sample's, beside s waves.

    By the derivative rule a p_x wave picks (1/kappa) d psi / dx of the sample's exp(-kappa D): over an atom at the
    lateral distance rho the share of p waves carries (rho / D)^2 of what it would by s waves. In an incoherent current
    intensities of atoms add, without interference; the metal 0.3 nm behind is left out of both.

    References
    ----------
    Chen, Phys. Rev. Lett. 65, 448 (1990), doi:10.1103/PhysRevLett.65.448; Gross et al., Phys. Rev. Lett. 107, 086101
    (2011), doi:10.1103/PhysRevLett.107.086101.
    """

    p_share: float = key("share of p waves, the rest is s", default=0.5, at_least=0, at_most=1)

    def tip(self) -> Tip:
        """Return the tip."""
        return dataclasses.replace(_flat(np.zeros((1, 3))), p_shares=np.array([self.p_share]))


def _flat(positions_nm: Floats) -> Tip:
    """Return a tip whose density of states does not depend on energy."""
    return Tip(positions_nm, AT_eV, np.full((len(positions_nm), len(AT_eV)), MEAN_LDOS_per_eV))


def _turned(upright: Tip, rotation_deg: float, tilt_x_deg: float, tilt_y_deg: float) -> Tip:
    """Return an upright tip turned: rotated about its axis first, then tilted about x, then about y.

    All counter-clockwise seen from the axis' own tip.
    """
    angles = [math.radians(angle) for angle in (rotation_deg, tilt_x_deg, tilt_y_deg)]
    (cos_z, cos_x, cos_y), (sin_z, sin_x, sin_y) = map(math.cos, angles), map(math.sin, angles)
    back = sin_x * sin_z, sin_x * cos_z, cos_x  # the last row after the first two turns
    turn = np.array(
        [
            [cos_y * cos_z + sin_y * back[0], sin_y * back[1] - cos_y * sin_z, sin_y * back[2]],
            [cos_x * sin_z, cos_x * cos_z, -sin_x],
            [cos_y * back[0] - sin_y * cos_z, cos_y * back[1] + sin_y * sin_z, cos_y * back[2]],
        ]
    )
    return Tip(upright.positions_nm @ turn.T, upright.at_eV, upright.ldos_per_eV)


@dataclass(frozen=True, kw_only=True)
class Beside(Apex):
    """A further apex of the tip: its current adds to that of the first, and the picture is seen twice."""

    x_nm: float = key("place beside the first apex along the sample frame's x", above=-20, below=20)
    y_nm: float = key("place beside the first apex along the sample frame's y", above=-20, below=20)
    shorter_pm: float = key("how much higher than the first apex it ends", at_least=0)

    def tip(self) -> Tip:
        """Return the turned apex at its place."""
        alone = super().tip()
        place = np.array([self.x_nm, self.y_nm, self.shorter_pm * NM_PER_PM])
        apexes_nm = ((self.x_nm, self.y_nm),)
        return dataclasses.replace(alone, positions_nm=alone.positions_nm + place, apexes_nm=apexes_nm)


@dataclass(frozen=True, kw_only=True)
class ExtraTungsten(Beside, Tungsten):
    """A further apex of tungsten: its current adds to that of the first, and the picture is seen twice."""


@dataclass(frozen=True, kw_only=True)
class ExtraPlatinumIridium(Beside, PlatinumIridium):
    """A further apex of Pt/Ir: its current adds to that of the first, and the picture is seen twice."""


@dataclass(frozen=True, kw_only=True)
class ExtraCarbonMonoxide(Beside, CarbonMonoxide):
    """A CO molecule beside the first apex: its current adds to that of the first, and the picture is seen twice."""


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
        None if all(part.p_shares is None for part in parts) else np.concatenate([_p_shares(part) for part in parts]),
    )


def _p_shares(tip: Tip) -> Floats:
    """Return the share of p waves of each atom, (n_atoms,)."""
    return np.zeros(len(tip.positions_nm)) if tip.p_shares is None else tip.p_shares


TIPS: Mapping[str, type[Apex]] = {"tungsten": Tungsten, "platinum_iridium": PlatinumIridium, "co": CarbonMonoxide}
EXTRA_APEXES: Mapping[str, type[Beside]] = {
    "tungsten": ExtraTungsten,
    "platinum_iridium": ExtraPlatinumIridium,
    "co": ExtraCarbonMonoxide,
}
