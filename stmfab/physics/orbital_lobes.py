"""What a junction sees of a surface of local orbitals: how much each lobe of its units carries, and what defects add.

Over a clean terrace the mean current at a gap of 0.7 nm is exp(-2 kappa 0.7 nm) of a point contact's: from

int exp(-2 kappa sqrt(r^2 + z^2)) d^2r = 2 pi (1 + 2 kappa z) exp(-2 kappa z) / (2 kappa)^2.

What stands a height h over the terrace at its setpoint carries A = (I_0 - I_rest) / exp(-2 kappa |d|) with all currents
at z_0 + h over it: exact for an isolated one under a point.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import _orbital_lobes_kernels
from .orbital_scene import Scene
from .orbital_units import Sited
from .orbitals import Lobe
from .site_edits import Added, Edit
from .units import Floats

NM_PER_PM = 1e-3
PATCH = (range(-7, 8), range(-3, 4))  # units along and across, around a defect, that decide its height
CALIBRATED_nm = 0.7  # a clean terrace carries at this gap what a point contact's exponential does
NEWTON = 4
FAR, LEAST_SWELL_nm = 6.0, 0.1  # charges and swellings end after so many of their lengths
HALO_CORE_nm = 1.0  # inside, the field of a charge is flat


@dataclass(frozen=True)
class Seen:
    """A scene at one junction: its filled or empty ``state``, and the decay constant."""

    scene: Scene
    state: int
    kappa_per_nm: float

    @functools.cached_property
    def split_nm(self) -> float:
        """How far lobes of the top layer sit from the middle of their unit, across the row."""
        return self.scene.look.split_nm(self.scene.surface, self.state)

    @functools.cached_property
    def clean(self) -> Floats:
        """How much each lobe of a unit of the clean surface carries, (n_states, n_lobes)."""
        shares = np.array([[(lobe.filled, lobe.empty)[self.state] for lobe in unit] for unit in self._units])
        means = (shares * self._means(CALIBRATED_nm)).sum(axis=1, keepdims=True)
        return np.asarray(shares * math.exp(-2 * self.kappa_per_nm * CALIBRATED_nm) / means)

    def _means(self, gap_nm: float) -> Floats:
        """Return the mean current over a terrace of a lobe in every unit, at a gap, (n_states, n_lobes)."""
        kappa, surface = self.kappa_per_nm, self.scene.surface
        away_nm = gap_nm - np.array([[lobe.z_nm for lobe in unit] for unit in self._units])
        area_nm2 = surface.pair * surface.lattice.cell_area_nm2
        return 2 * math.pi / area_nm2 * (1 + 2 * kappa * away_nm) / (2 * kappa) ** 2 * np.exp(-2 * kappa * away_nm)

    @property
    def _units(self) -> tuple[tuple[Lobe, ...], ...]:
        return self.scene.surface.states

    def mean_current(self, gap_nm: float) -> float:
        """Return the mean current over a clean terrace at a gap, a point contact's being 1."""
        return float((self.clean[0] * self._means(gap_nm)[0]).sum())

    def gap_nm(self, current: float) -> float:
        """Return the gap at which the mean current over a clean terrace has a value."""
        kappa = self.kappa_per_nm
        gap_nm = -math.log(current) / (2 * kappa)
        for _ in range(NEWTON):
            fall = 2 * kappa * (1 - 1 / (1 + 2 * kappa * gap_nm))
            gap_nm += math.log(self.mean_current(gap_nm) / current) / fall
        return gap_nm

    @functools.cached_property
    def strengths(self) -> Floats:
        """How much each lobe of each unit carries, (n_units, n_lobes)."""
        scene, edits = self.scene, self.scene.edits
        out = self.clean[scene.states] * np.exp(self.local)[:, None]
        factors = (edits.filled, edits.empty)[self.state]
        for number, lobe in enumerate(self._units[0]):
            meant = (edits.layer == lobe.layer) & ((edits.side == 0) | (edits.side == lobe.side))
            np.multiply.at(out[:, number], edits.unit[meant], factors[meant])
        return out

    @functools.cached_property
    def local(self) -> Floats:
        """What disorder, edges, charges and swellings change in ln I, (n_units,)."""
        scene, units = self.scene, self.scene.units
        own = scene.strength[units.v - scene.region.v0, units.u - scene.region.u0]
        return np.asarray(own + self._tinted(scene.middles_nm))

    def _tinted(self, points_nm: Floats) -> Floats:
        """Return the change of ln I by charges and swellings at points (n, 2)."""
        look = self.scene.look
        halo = (look.halo_filled, look.halo_empty)[self.state]
        sources = [
            (
                *each.probe_nm,
                FAR * max(look.screening_nm * (each.charge != 0), each.edit.swell_nm),
                halo * each.charge,
                look.screening_nm,
                2 * self.kappa_per_nm * each.heights_pm[self.state] * NM_PER_PM * (each.edit.swell_nm > 0),
                max(each.edit.swell_nm, LEAST_SWELL_nm),
            )
            for each in self.scene.sited
            if each.charge != 0 or each.edit.swell_nm > 0
        ]
        out, (x, y) = np.zeros(len(points_nm)), np.ascontiguousarray(points_nm.T)
        _orbital_lobes_kernels.add_tints(x, y, np.array(sources).reshape(-1, 7), HALO_CORE_nm, out)
        return out

    def added(self, gap_nm: float) -> Floats:
        """Return the lobes that defects add at a setpoint: rows (terrace, x, y, z over it, kappa ratio, strength)."""
        return self.rows([each for each in self.scene.sited if each.rates_per_s is None], gap_nm)

    def rows(self, sited: Sequence[Sited], gap_nm: float) -> Floats:
        """Return the lobes that some defects add, as ``added`` does."""
        rows = [row for each in sited if each.edit.added for row in self._added_by(each, gap_nm)]
        table = np.array(rows).reshape(-1, 6)
        table[:, 5] *= np.exp(self._tinted(table[:, 1:3]))
        return table

    def _added_by(self, each: Sited, gap_nm: float) -> list[tuple[float, ...]]:
        """Return the rows of the lobes that a defect adds."""
        share = self.scale(each.edit, each.heights_pm[self.state], gap_nm)
        weights = _weights(each.edit.added, self.state, self.kappa_per_nm)
        places = [each.point_nm(lobe.along_nm, lobe.across_nm) for lobe in each.edit.added]
        return [
            (each.level, *place, lobe.z_nm, lobe.kappa_ratio, share * weight)
            for place, lobe, weight in zip(places, each.edit.added, weights, strict=True)
        ]

    def scale(self, edit: Edit, height_pm: float, gap_nm: float) -> float:
        """Return what the added lobes of an edit are multiplied by, so that they stand a height over the terrace.

        Raises
        ------
        ArithmeticError
            If what is left without them already stands higher.
        """
        kappa = self.kappa_per_nm
        at = np.array([*edit.probe_nm, gap_nm + height_pm * NM_PER_PM])
        lobes = np.array([[lobe.along_nm, lobe.across_nm, lobe.z_nm, kappa * lobe.kappa_ratio] for lobe in edit.added])
        own = _orbital_lobes_kernels.seen(at, lobes, _weights(edit.added, self.state, kappa))
        share = (self.mean_current(gap_nm) - self._without(edit, at)) / own
        if share < 0:
            raise ArithmeticError(
                f"a height of {height_pm:g} pm is out of reach: the surface without it is higher there"
            )
        return float(share)

    @functools.cached_property
    def _patch(self) -> tuple[dict[tuple[int, int], int], Floats, Floats]:
        """The units around one of a clean terrace by their offsets; their lobes, (n_units, n_lobes, 4), strengths."""
        surface, unit = self.scene.surface, self.scene.surface.states[0]
        along_nm, across_nm = surface.spacing_nm(0)
        offsets = [(along, across) for along in PATCH[0] for across in PATCH[1]]
        middles = np.array(
            [(along * along_nm, across * surface.pair * across_nm, 0.0, 0.0) for along, across in offsets]
        )
        own = np.array([(lobe.along_nm, lobe.across(self.split_nm), lobe.z_nm, self.kappa_per_nm) for lobe in unit])
        numbers = {offset: number for number, offset in enumerate(offsets)}
        return numbers, middles[:, None] + own, np.repeat(self.clean[:1], len(offsets), axis=0)

    def _without(self, edit: Edit, at: Floats) -> float:
        """Return the current at a point (3,) of a clean terrace with an edit in its middle, added lobes aside."""
        numbers, lobes, clean = self._patch
        strengths = clean.copy()
        for scaled in edit.scaled:
            number = numbers.get((scaled.along, scaled.across))
            if number is not None:
                chosen = _chosen(self.scene.surface.states[0], scaled.layer, scaled.side)
                strengths[number, chosen] *= (scaled.filled, scaled.empty)[self.state]
        return float(_orbital_lobes_kernels.seen(at, lobes.reshape(-1, 4), strengths.ravel()))


def _weights(added: Sequence[Added], state: int, kappa_per_nm: float) -> Floats:
    """Return how strong lobes are among themselves, so that alone each would stand its height: (n_lobes,)."""
    lower_pm = np.array([(lobe.below_filled_pm, lobe.below_empty_pm)[state] for lobe in added])
    kappas = kappa_per_nm * np.array([lobe.kappa_ratio for lobe in added])
    return np.asarray(np.exp(-2 * kappas * (lower_pm * NM_PER_PM + np.array([lobe.z_nm for lobe in added]))))


def _chosen(unit: Sequence[Lobe], layer: int, side: int) -> list[int]:
    """Return which lobes of a unit are of a layer and on a side (0: on any)."""
    return [number for number, lobe in enumerate(unit) if lobe.layer == layer and side in (0, lobe.side)]
