"""Rules over several parts of a recipe: what one part makes impossible for another, at the corners of their ranges."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ..distributions import Words
from ..parts import Part
from ..physics.materials import Material
from ..physics.path import SUB_STEPS_PER_RADIAN, SUB_STEPS_PER_SWING
from ..physics.scan import CURRENT_CHANNELS
from ..physics.tips import AT_eV
from .checking import Report

MAX_CELLS = 300_000  # of a frame: 3 GB with its field
MAX_SUB_STEPS = 5_000  # a pixel
MAX_STEPS = 400_000_000  # of a frame, forward and backward: 3 GB of noise a source
CROSSOVER = "instrument.feedback.crossover_Hz"

Ends = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class _Corners:
    """The parts of a recipe by their paths, and the ends of every number in them."""

    parts: Mapping[str, Part]
    ends: Ends
    report: Report

    def of(self, path: str) -> tuple[float, float] | None:
        """Return the least and the largest value of a number; None where it is not given, or faulty."""
        place, _, name = path.rpartition(".")
        if place not in self.parts or self.report.hidden(path) or path in self.report.meant:
            return None
        value = self.parts[place].constants.get(name)
        return self.ends.get(path) if value is None else (float(value), float(value))

    def can_be(self, path: str, word: str) -> bool:
        """Return whether a key can have a word as its value."""
        place, _, name = path.rpartition(".")
        part = self.parts[place]
        if name not in part.drawn:
            return bool(part.constants[name] == word)
        distribution = part.drawn[name].distribution
        return isinstance(distribution, Words) and word in distribution.categories

    def fault(self, path: str, text: str) -> None:
        """Report a fault at a path, but for one that has one already."""
        if not self.report.hidden(path):
            self.report.fault_at(path, text)


def check_across(
    report: Report, parts: list[Part], ends: Ends, *, material: Material | None, channels: Collection[str]
) -> None:
    """Add the faults of the rules over several parts to a report."""
    corners = _Corners({part.path: part for part in parts}, ends, report)
    if "instrument.constant_height" in corners.parts:
        _check_constant_height(corners, channels)
    size, pixels, dwell = (corners.of(f"scan.{name}") for name in ("size_nm", "pixels", "dwell_s"))
    if size is not None:
        _check_apexes(corners, size[0])
        if material is not None:
            _check_cells(corners, size[1], material.cell_area_nm2)
    if material is None:
        _check_bias(corners)
    if dwell is not None and pixels is not None:
        _check_steps(corners, pixels[1], dwell[1])


def _check_constant_height(corners: _Corners, channels: Collection[str]) -> None:
    path = "instrument.constant_height"
    if "instrument.feedback" in corners.parts:
        corners.fault(path, "found beside instrument.feedback; legal: one of the two (null removes an inherited one)")
    if CURRENT_CHANNELS.isdisjoint(channels):
        corners.fault(
            path, "found without a channel of the current; legal: current, current_backward among the channels"
        )


def _check_apexes(corners: _Corners, least_nm: float) -> None:
    """Report apexes so far away that they see nothing of what the first one sees."""
    for path in corners.parts:
        for key in ("x_nm", "y_nm"):
            ends = corners.of(f"{path}.{key}") if path.startswith("extra_apexes.") else None
            farthest = 0.0 if ends is None else max(abs(end) for end in ends)
            if farthest > least_nm:
                text = f"reaches {farthest:g}, outside a frame of {least_nm:g} nm; legal: at most scan.size_nm"
                corners.fault(f"{path}.{key}", text)


def _check_cells(corners: _Corners, size_nm: float, cell_area_nm2: float) -> None:
    """Report frames of too many cells."""
    if size_nm**2 / cell_area_nm2 > MAX_CELLS:
        most_nm = math.floor(math.sqrt(MAX_CELLS * cell_area_nm2))
        found = f"a frame of {size_nm:g} nm has {size_nm**2 / cell_area_nm2:.2g} cells"
        corners.fault("scan.size_nm", f"{found}; legal: at most {MAX_CELLS:g}, {most_nm} nm")


def _check_bias(corners: _Corners) -> None:
    """Report a bias beyond the energies at which tips are known; of crystals the window of energies tells."""
    most_V = AT_eV[-2] - (AT_eV[1] - AT_eV[0])
    for path in corners.parts:
        ends = corners.of(f"{path}.bias_V") if path.partition(".")[0] in ("junction", "junctions") else None
        if ends is not None and max(abs(end) for end in ends) > most_V:
            corners.fault(f"{path}.bias_V", f"reaches {max(ends, key=abs):g} V; legal: at most {most_V:g} V either way")


def _check_update(corners: _Corners, dwell_s: float) -> None:
    """Report a crossover above the Nyquist frequency of one update a pixel."""
    fastest_Hz = (corners.of(CROSSOVER) or (0.0, 0.0))[1]
    if corners.can_be("instrument.feedback.update", "pixel") and fastest_Hz > 1 / (2 * dwell_s):
        found = f"reaches {fastest_Hz:g} with one update in {dwell_s:g} s"
        legal = f"at most {1 / (2 * dwell_s):g}, the updates' Nyquist frequency (or update: continuous)"
        corners.fault(CROSSOVER, f"{found}; legal: {legal}")


def _check_steps(corners: _Corners, pixels: float, dwell_s: float) -> None:
    """Report loops and piezos too fast for the steps of the scan, and frames of too many steps."""
    steps = (corners.of("scan.sub_steps") or (1.0, 1.0))[1]
    periods = {"instrument.z_resonance.frequency_Hz": float(SUB_STEPS_PER_SWING)}
    if "instrument.feedback" in corners.parts:
        _check_update(corners, dwell_s)
        if corners.can_be("instrument.feedback.update", "continuous"):
            periods[CROSSOVER] = SUB_STEPS_PER_RADIAN * 2 * math.pi
    for path, steps_a_period in periods.items():
        fastest_Hz = (corners.of(path) or (0.0, 0.0))[1]
        needed = math.ceil(steps_a_period * fastest_Hz * dwell_s)
        if needed > MAX_SUB_STEPS:
            most_Hz = MAX_SUB_STEPS / steps_a_period / dwell_s
            found = f"reaches {fastest_Hz:g}, which takes {needed:.3g} sub-steps a pixel of {dwell_s:g} s"
            corners.fault(path, f"{found}; legal: at most {MAX_SUB_STEPS}, {most_Hz:.3g} Hz")
        steps = max(steps, min(needed, MAX_SUB_STEPS))
    total = 2 * pixels**2 * steps
    if total > MAX_STEPS:
        found = f"a frame of {pixels:g} pixels with {steps:g} sub-steps each takes {total:.2g} steps"
        corners.fault("scan.pixels", f"{found}; legal: at most {MAX_STEPS:.2g}")
