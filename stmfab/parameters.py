"""The parameters of one sample: what a plan draws and the simulation takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .distributions import Distribution
from .parts import JUNCTIONS
from .physics import bumps, halos
from .physics.defects import CrystalDefect
from .physics.instrument import Instrument, Raster
from .physics.junction import Junction
from .physics.materials import Material
from .physics.tips import Apex
from .streams import Floats

DEFECTS, NOISE, PICK_UPS = "sample.defects", "instrument.noise", "instrument.pick_ups"
PLACES = (DEFECTS, "sample", NOISE, PICK_UPS, "instrument", "extra_apexes", "later_tips", JUNCTIONS, "")


def place_of(path: str) -> tuple[str, str]:
    """Return the first of ``PLACES`` that the path of a part begins with, and the part's name there."""
    place = next(place for place in PLACES if path.startswith(f"{place}." if place else ""))
    return place, path[len(place) + 1 :] if place else path


@dataclass(frozen=True)
class DefectDraw:
    """One entry of ``sample.defects`` in one sample: its kind, its values, and what is still drawn for each defect."""

    kind: type[CrystalDefect]
    constants: Mapping[str, Any]
    per_defect: Mapping[str, Distribution]

    @property
    def site(self) -> str:
        """Return the site of the material that the defects take."""
        return str(self.constants["site"])

    @property
    def density_per_nm2(self) -> float:
        """Return the mean number of defects per area in this sample."""
        return float(self.constants["density_per_nm2"])

    @property
    def spread(self) -> tuple[float | None, float | None, float | None]:
        """Return least distance, members of a cluster and its radius; None for what is not asked."""
        get = self.constants.get
        return get("min_distance_nm"), get("cluster_n"), get("cluster_radius_nm")

    @property
    def words(self) -> dict[str, str]:
        """Return the values of the keys that are words."""
        return {name: value for name, value in self.constants.items() if isinstance(value, str)}

    @property
    def of_all(self) -> dict[str, float]:
        """Return the numbers that all the defects share and that decide what they do: those of a charge, for one."""
        shared = {name: self.constants[name] for name in self.kind.shared}
        return self._charge | {name: float(value) for name, value in shared.items() if value is not None}

    @property
    def _charge(self) -> dict[str, float]:
        return halos.of_charge(self.constants) if self.constants.get("charge") is not None else {}

    @property
    def reach_nm(self) -> float:
        """Return how far a defect is felt by its charge, or as a bump."""
        if (
            self.constants.get("charge") is None
            and "fwhm_nm" not in self.constants
            and "fwhm_nm" not in self.per_defect
        ):
            return 0.0
        widths_nm = self.per_defect["fwhm_nm"].ends() if "fwhm_nm" in self.per_defect else ()
        width_nm = max([self.constants.get("fwhm_nm") or 0.0, *widths_nm])
        charged = {name: value for name, value in self._charge.items() if name != "depth_nm"}
        return max(bumps.WIDTHS * float(width_nm), halos.reach_nm(**charged) if charged else 0.0)

    def values(self, key: str, uniforms: Floats) -> Floats:
        """Return a key's values for some defects, shape (n_defects,), from one uniform number each."""
        if key in self.per_defect:
            return self.per_defect[key].ppf(uniforms)
        return np.full(np.shape(uniforms), float(self.constants[key]))


@dataclass(frozen=True)
class Parameters:
    """The parameters of one sample.

    ``seed`` is that of its streams: the recipe's, unless the sample was drawn again. ``junctions`` has names in their
    order; the name of an only one may be empty. ``left_out`` names a defect that is taken away, and its cell (u, v).
    """

    index: int
    seed: int
    raster: Raster
    material: Material
    defects: Mapping[str, DefectDraw]
    sample: Mapping[str, Any]  # what else is on the sample, by its place there
    tip: Apex
    extra_apexes: Mapping[str, Apex]
    later_tips: Mapping[str, Apex]
    junctions: Mapping[str, Junction]
    instrument: Instrument
    left_out: tuple[str, int, int] | None = None

    def without(self, name: str, u: int, v: int) -> Parameters:
        """Return the parameters of the same sample without the defect of a name in a cell (u, v)."""
        return replace(self, left_out=(name, u, v))

    def pristine(self) -> Parameters:
        """Return the parameters of the same sample without its defects."""
        kept = {name: made for name, made in self.sample.items() if not name.startswith("corrals.")}
        return replace(self, defects={}, sample=kept)

    @property
    def junction(self) -> Junction:
        """Return the first junction: the only one, where they are not named."""
        return next(iter(self.junctions.values()))
