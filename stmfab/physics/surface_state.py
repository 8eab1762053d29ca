"""A noble metal's (111) face: scatterers of the surface state, steps and ridges, and the labels that follow."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from . import _surface_state_kernels, scattering, structure, terraces
from .defects import Placed
from .keys import check_ranges, key
from .materials import Material
from .metals import Metal
from .scatterers import Adatom
from .scattering import Scatterers, Waves
from .terraces import Flight, Pattern
from .units import Bools, Floats, Ints

NM_PER_PM = 1e-3
SEEN = 0.1  # a defect reaches as far as this share of its height
STEP_CLASS_nm = 2 * terraces.EDGE_nm


@dataclass(frozen=True)
class SurfaceBand:
    """How the surface state and the lattice of atoms show."""

    share: float = key("share of the surface state in the current at low bias", default=0.5, at_least=0, at_most=1)
    corrugation_pm: float = key(
        "peak to peak of the atomic lattice at the setpoint", default=0.0, at_least=0, at_most=50
    )

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class Scene:
    """A (111) face with what is on it: everything about the sample that does not depend on the tip.

    ``members`` maps the recipe's names to kinds and placed scatterers.
    """

    metal: Metal
    band: SurfaceBand
    members: Mapping[str, tuple[type[Adatom], Placed]]
    flight: Flight | None = None
    pattern: Pattern | None = None

    @functools.cached_property
    def material(self) -> Material:
        """The lattice."""
        return self.metal.lattice

    @functools.cached_property
    def points_nm(self) -> Floats:
        """Positions of the scatterers, member after member, shape (n, 2)."""
        every = [
            structure.positions(self.material, placed.cells, placed.site)[:, :2] for _, placed in self.members.values()
        ]
        return np.concatenate([np.zeros((0, 2)), *every])

    def values(self, name: str) -> Floats:
        """Return a value of the scatterers, member after member, shape (n,)."""
        return np.concatenate([np.zeros(0), *(placed.values[name] for _, placed in self.members.values())])

    @functools.cached_property
    def scatterers(self) -> Scatterers:
        """The scatterers of the surface state."""
        return Scatterers(self.points_nm, scattering.strengths(self.values("albedo"), self.values("phase_deg")))

    def distances(self, x_nm: Floats, y_nm: Floats) -> Floats:
        """Return the distances of points from the edges, (n_steps, *x.shape)."""
        return np.zeros((0, *x_nm.shape)) if self.flight is None else self.flight.distances(x_nm, y_nm)

    def heights(self, x_nm: Floats, y_nm: Floats) -> Floats:
        """Return the height of the surface over the lowest terrace in nm, in the shape of x."""
        above = 1 - terraces.passed(self.distances(x_nm, y_nm))
        steps: Floats = self.metal.step_nm * above.sum(axis=0)
        return steps if self.pattern is None else steps + self.pattern.heights(x_nm, y_nm)

    def terrace(self, x_nm: Floats, y_nm: Floats) -> Ints:
        """Return the number of the terrace at points, 0 on the lowest."""
        return terraces.terrace(self.distances(x_nm, y_nm))

    def class_map(self, x_nm: Floats, y_nm: Floats, classes: Ints, n_classes: int) -> Ints:
        """Return the class at points: 0 terrace, 1 + that of a scatterer within its reach, then step edges."""
        out = np.zeros(x_nm.shape, dtype=np.int64)
        out[terraces.at_edges(self.distances(x_nm, y_nm), within_nm=STEP_CLASS_nm)] = n_classes + 1
        reach_nm = seen_nm(self.values("height_pm"), self.values("fwhm_nm"))
        mark_nearest(x_nm, y_nm, self.points_nm, reach_nm, classes + 1, out)
        return out


def within(x_nm: Floats, y_nm: Floats, points_nm: Floats, radius_nm: float) -> Bools:
    """Return which nodes (n_y, n_x) lie within a radius of one of some points (n, 2)."""
    near, n_points = np.zeros(x_nm.shape, dtype=np.int64), len(points_nm)
    mark_nearest(x_nm, y_nm, points_nm, np.full(n_points, radius_nm), np.ones(n_points, dtype=np.int64), near)
    return near > 0


def mark_nearest(x_nm: Floats, y_nm: Floats, points_nm: Floats, reach_nm: Floats, marks: Ints, out: Ints) -> None:
    """Write the mark of the nearest of points (n, 2) that reaches a pixel to out, in the shape of x; leave others."""
    _surface_state_kernels.mark_nearest(x_nm, y_nm, points_nm, reach_nm, marks, out)


def seen_nm(height_pm: Floats, fwhm_nm: Floats) -> Floats:
    """Return how far from its middle a defect's height is above ``SEEN`` of itself, taking it for a Gaussian."""
    return np.asarray(np.where(height_pm == 0, 0.0, fwhm_nm / 2 * math.sqrt(math.log(1 / SEEN) / math.log(2))))


def disturbed(scene: Scene, waves: Waves, x_nm: Floats, y_nm: Floats, heard: Callable[[Scatterers], Floats]) -> Floats:
    """Return the mean of d rho / rho_0 over the energies at nodes (n_y, n_x): scatterers, as heard there, and edges.

    Electrons stay on their terrace: a scatterer or an edge is heard on its own terraces only. What one terrace's edges
    and scatterers do to the other's waves is left out.
    """
    away_nm = scene.distances(x_nm, y_nm)
    shares = terraces.shares(away_nm)
    own = len(away_nm) - scene.terrace(*scene.points_nm.T)
    change = np.zeros(x_nm.shape)
    for number in np.unique(own):
        change += shares[number] * heard(scene.scatterers.kept(own == number))
    for number, wave in enumerate(scattering.edge_change(np.abs(away_nm), waves)):
        assert scene.flight is not None  # it has edges
        steps = scene.flight.steps
        upper, lower = steps.upper_reflectivity * shares[number], steps.lower_reflectivity * shares[number + 1]
        change += (upper + lower) * wave
    return change
