"""The junction: bias, barrier and setpoint; of several, each sees the same sample in a scan of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from . import units
from .keys import check_ranges, exactly_one, key


@dataclass(frozen=True)
class Junction:
    """Bias, barrier and setpoint. ``polarity * bias_V`` is the sample bias: positive probes empty sample states."""

    either: ClassVar[tuple[tuple[str, str], ...]] = (("kappa_per_nm", "work_function_eV"), ("height_nm", "current_nA"))
    bias_V: float = key("sample bias (times the polarity)")
    polarity: int = key("sign of the sample bias", default=1, one_of=(-1, 1))
    kappa_per_nm: float | None = key("decay constant of the wave function", default=None, above=0)
    work_function_eV: float | None = key(
        "apparent barrier height; kappa = 5.123 sqrt(phi) per nm", default=None, above=0
    )
    current: str | None = key(
        "what adds up: each site's density (incoherent, if absent) or all orbitals' amplitudes (coherent)",
        default=None,
        one_of=("incoherent", "coherent"),
        fixed=True,
    )
    fermi_eV: float | None = key("Fermi level above the material's own (of one with a gap: its middle)", default=None)
    height_nm: float | None = key("setpoint as the gap whose median |I| is the setpoint", default=None, above=0)
    current_nA: float | None = key("setpoint current", default=None, above=0)

    def __post_init__(self) -> None:
        check_ranges(self)
        for names in self.either:
            exactly_one(self, *names)

    @property
    def offset_nm(self) -> tuple[float, float]:
        """By how much its scan is off those of other junctions, along the frame's axes."""
        return 0.0, 0.0

    @property
    def sample_bias_V(self) -> float:
        """Sample bias: V > 0 probes empty sample states."""
        return self.polarity * self.bias_V

    @property
    def window_eV(self) -> tuple[float, float]:
        """Least and largest energy that carries current, from the material's own Fermi level."""
        fermi_eV, bias_V = self.fermi_eV or 0.0, self.sample_bias_V
        return fermi_eV + min(0.0, bias_V), fermi_eV + max(0.0, bias_V)

    @property
    def decay_per_nm(self) -> float:
        """Decay constant kappa of the wave function in 1/nm; the current falls by exp(-2 kappa)."""
        if self.kappa_per_nm is not None:
            return self.kappa_per_nm
        assert self.work_function_eV is not None  # exactly_one
        return units.decay_constant(self.work_function_eV)

    def at(self, log_setpoint: float) -> Junction:
        """Return the junction at a setpoint ln(I / nA)."""
        return replace(self, height_nm=None, current_nA=math.exp(log_setpoint))

    def expected_height_nm(self) -> float:
        """Return the setpoint's gap, or for a setpoint current the gap of a point contact's exponential."""
        if self.height_nm is not None:
            return self.height_nm
        assert self.current_nA is not None  # exactly_one
        contact_nA = units.CONDUCTANCE_QUANTUM_nA_per_V * abs(self.bias_V)
        return math.log(contact_nA / self.current_nA) / (2 * self.decay_per_nm)


@dataclass(frozen=True)
class OwnJunction(Junction):
    """One of several junctions over the same sample: what is its own, the rest being that of ``junction``."""

    offset_x_nm: float = key("by how much its scan is off the others', along the frame's x", default=0.0)
    offset_y_nm: float = key("by how much its scan is off the others', along the frame's y", default=0.0)

    @property
    def offset_nm(self) -> tuple[float, float]:
        """By how much its scan is off those of other junctions, along the frame's axes."""
        return self.offset_x_nm, self.offset_y_nm
