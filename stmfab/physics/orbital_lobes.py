"""What a junction sees of a surface of local orbitals: how much each lobe of its units carries, and what defects add.

Over a clean terrace the mean current at a gap of 0.7 nm is exp(-2 kappa 0.7 nm) of a point contact's: from

int exp(-2 kappa sqrt(r^2 + z^2)) d^2r = 2 pi (1 + 2 kappa z) exp(-2 kappa z) / (2 kappa)^2.

What stands a height h over the terrace at its setpoint carries A = (I_0 - I_rest) / exp(-2 kappa |d|) with I_0 that of
the setpoint and the others at z_0 + h, z_0 the mean height over the terrace: exact for an isolated one under a point.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from . import _orbital_lobes_kernels
from .keys import KeyRangeError
from .orbital_scene import Scene
from .orbital_units import Sited, points_nm
from .orbitals import Lobe
from .site_edits import Edit, Scaled
from .units import Floats

NM_PER_PM = 1e-3
PATCH = (range(-7, 8), range(-3, 4))  # units along and across, around a defect, that decide its height
WITHIN = (4, 16)  # points along and across a unit whose mean height is the terrace's
CALIBRATED_nm = 0.7  # a clean terrace carries at this gap what a point contact's exponential does
NEWTON = 4
FAR, LEAST_SWELL_nm = 6.0, 0.1  # charges and swellings end after so many of their lengths
HALO_CORE_nm = 1.0  # inside, the field of a charge is flat


@dataclass(frozen=True)
class Seen:
    """A scene at one junction: its filled or empty ``state``, and the decay constant.

    ``nominal`` is how far the bias is from the surface's low (0) to its nominal one (1).
    """

    scene: Scene
    state: int
    kappa_per_nm: float
    nominal: float

    @functools.cached_property
    def split_nm(self) -> float:
        """How far lobes of the top layer sit from the middle of their unit, across the row."""
        return self.scene.look.split_nm(self.scene.surface, self.state, self.nominal)

    @functools.cached_property
    def clean(self) -> Floats:
        """How much each lobe of a unit of the clean surface carries, (n_states, n_lobes)."""
        shares = np.array([[lobe.share(self.state, self.nominal) for lobe in unit] for unit in self._units])
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

    @functools.cached_property
    def _sources(self) -> Floats:
        """What charges and swellings change, as the kernel takes it, (n_sources, 7)."""
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
        return np.array(sources).reshape(-1, 7)

    def _tinted(self, points_nm: Floats) -> Floats:
        """Return the change of ln I by charges and swellings at points (n, 2)."""
        out, (x, y) = np.zeros(len(points_nm)), np.ascontiguousarray(points_nm.T)
        _orbital_lobes_kernels.add_tints(x, y, self._sources, HALO_CORE_nm, out)
        return out

    def added(self, gap_nm: float) -> Floats:
        """Return the lobes that defects add at a setpoint: rows (terrace, x, y, z over it, kappa ratio, strength)."""
        return self.rows([each for each in self.scene.sited if each.rates_per_s is None], gap_nm)

    def rows(self, sited: Sequence[Sited], gap_nm: float) -> Floats:
        """Return the lobes that some defects add, as ``added`` does."""
        alike: dict[tuple[int, float], list[Sited]] = {}
        for each in sited:
            if each.edit.added:
                alike.setdefault((id(each.edit), each.heights_pm[self.state]), []).append(each)
        parts = [self._added_by(own, height_pm, gap_nm) for (_, height_pm), own in alike.items()]
        table = np.concatenate([np.zeros((0, 6)), *parts])
        table[:, 5] *= np.exp(self._tinted(table[:, 1:3]))
        return table

    def _added_by(self, alike: Sequence[Sited], height_pm: float, gap_nm: float) -> Floats:
        """Return the rows of the lobes that defects of one edit and height add."""
        edit = alike[0].edit
        lobes = edit.added_table
        out = np.empty((len(alike), len(lobes), 6))
        out[:, :, 0] = np.array([each.level for each in alike])[:, None]
        out[:, :, 1:3] = points_nm(alike, lobes[:, :2])
        out[:, :, 3], out[:, :, 4] = lobes[:, 2], lobes[:, 5]
        out[:, :, 5] = self.scale(edit, height_pm, gap_nm) * _weights(lobes, self.state, self.kappa_per_nm)
        return out.reshape(-1, 6)

    def scale(self, edit: Edit, height_pm: float, gap_nm: float) -> float:
        """Return what the added lobes of an edit are multiplied by, so that they stand a height over the terrace.

        The height is that of the nominal bias; at the low one it is ``Edit.low_bias_pm`` more, log-linear between.

        Raises
        ------
        KeyRangeError
            If what is left without them already stands higher.
        """
        nominal, rise_pm = self._scale(edit, height_pm, gap_nm), edit.low_bias_pm[self.state]
        if rise_pm == 0:
            return nominal
        low = self._scale(edit, height_pm + rise_pm, gap_nm)
        return float(nominal**self.nominal * low ** (1 - self.nominal)) if nominal > 0 and low > 0 else 0.0

    def _scale(self, edit: Edit, height_pm: float, gap_nm: float) -> float:
        """Return ``scale`` of a height at one bias."""
        kappa, terrace_nm = self.kappa_per_nm, self._terrace_nm(gap_nm)
        at = (*edit.probe_nm, terrace_nm + height_pm * NM_PER_PM)
        lobes = edit.added_table[:, [0, 1, 2, 5]] * [1, 1, 1, kappa]
        own = _orbital_lobes_kernels.seen(np.array(at), lobes, _weights(edit.added_table, self.state, kappa))
        share = self._lacking(edit.scaled, at, gap_nm) / own
        if share < 0:
            name = ("height_filled_pm", "height_empty_pm")[self.state]
            raise KeyRangeError(name, round(height_pm, 3), "above what is left there without the atoms")
        return float(share)

    @functools.cached_property
    def _terrace_nm(self) -> Callable[[float], float]:
        """The mean height over a clean terrace where the current is the mean one at a gap."""
        surface = self.scene.surface
        sides_nm = np.array(surface.spacing_nm(0)) * [1, surface.pair]
        places = np.moveaxis(np.indices(WITHIN), 0, -1).reshape(-1, 2) / WITHIN * sides_nm

        def mean_nm(gap_nm: float) -> float:
            logs = [math.log(self._without((), np.array([*place, gap_nm]))) for place in places]
            return gap_nm + (float(np.mean(logs)) - math.log(self.mean_current(gap_nm))) / (2 * self.kappa_per_nm)

        return functools.lru_cache(maxsize=None)(mean_nm)

    @functools.cached_property
    def _patch(self) -> tuple[Floats, Floats]:
        """The lobes of the units around one of a clean terrace, (n_units, n_lobes, 4), and their strengths."""
        surface, unit = self.scene.surface, self.scene.surface.states[0]
        along_nm, across_nm = surface.spacing_nm(0)
        offsets = [(along, across) for along in PATCH[0] for across in PATCH[1]]
        middles = np.array(
            [(along * along_nm, across * surface.pair * across_nm, 0.0, 0.0) for along, across in offsets]
        )
        own = np.array([(lobe.along_nm, lobe.across(self.split_nm), lobe.z_nm, self.kappa_per_nm) for lobe in unit])
        return middles[:, None] + own, np.repeat(self.clean[:1], len(offsets), axis=0)

    @functools.cached_property
    def _lacking(self) -> Callable[[tuple[Scaled, ...], tuple[float, float, float], float], float]:
        """What the mean current at a gap is over ``_without`` at a point: many defects are alike."""
        return functools.lru_cache(maxsize=None)(
            lambda scaled, at, gap_nm: self.mean_current(gap_nm) - self._without(scaled, np.array(at))
        )

    def _without(self, scaled: tuple[Scaled, ...], at: Floats) -> float:
        """Return the current at a point (3,) of a clean terrace with lobes scaled in its middle."""
        lobes, clean = self._patch
        if not scaled:
            return float(_orbital_lobes_kernels.seen(at, lobes.reshape(-1, 4), clean.ravel()))
        strengths, (along, across) = clean.copy(), PATCH
        known = np.array(scaled, dtype=np.float64)
        offsets = known[:, :2].astype(np.int64) - [along.start, across.start]
        within = ((offsets >= 0) & (offsets < [len(along), len(across)])).all(axis=1)
        unit, factors = offsets @ [len(across), 1], known[:, 4 + self.state]
        for number, lobe in enumerate(self.scene.surface.states[0]):
            meant = within & (known[:, 3] == lobe.layer) & ((known[:, 2] == 0) | (known[:, 2] == lobe.side))
            np.multiply.at(strengths[:, number], unit[meant], factors[meant])
        return float(_orbital_lobes_kernels.seen(at, lobes.reshape(-1, 4), strengths.ravel()))


def _weights(added: Floats, state: int, kappa_per_nm: float) -> Floats:
    """Return how strong lobes, rows of ``Added``, are among themselves: alone each would stand its height."""
    lower_nm = added[:, 3 + state] * NM_PER_PM + added[:, 2]
    return np.asarray(np.exp(-2 * kappa_per_nm * added[:, 5] * lower_nm))
