"""The junction: bias, barrier and setpoint; of several, each sees the same sample in a scan of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from . import units
from .keys import KeyRangeError, check_ranges, exactly_one, key

LEAST_BARRIER_eV = 0.5  # at the end of a trapezoid: less is no tunnelling


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
    barrier: str | None = key(
        "the barrier: of one decay constant (constant, if absent), or a trapezoid between two work functions",
        default=None,
        one_of=("constant", "trapezoid"),
        fixed=True,
    )
    tip_work_function_eV: float | None = key("work function at the tip's end of a trapezoid", default=None, above=0)
    fermi_eV: float | None = key("Fermi level above the material's own (of one with a gap: its middle)", default=None)
    height_nm: float | None = key("setpoint as the gap whose median |I| is the setpoint", default=None, above=0)
    current_nA: float | None = key("setpoint current", default=None, above=0)

    def __post_init__(self) -> None:
        check_ranges(self)
        for names in self.either:
            exactly_one(self, *names)
        self._check_barrier()

    def _check_barrier(self) -> None:
        """Hold a trapezoid's keys against one another."""
        if self.barrier != "trapezoid":
            if self.tip_work_function_eV is not None:
                raise KeyRangeError("tip_work_function_eV", self.tip_work_function_eV, "given with barrier: trapezoid")
            return
        if self.work_function_eV is None or self.tip_work_function_eV is None:
            legal = "given together with work_function_eV and tip_work_function_eV"
            raise KeyRangeError("barrier", "trapezoid", legal)
        bias_V = self.sample_bias_V
        lowest_eV = min(self.work_function_eV - max(0.0, bias_V), self.tip_work_function_eV + min(0.0, bias_V))
        if lowest_eV < LEAST_BARRIER_eV:
            legal = f"a bias that leaves {LEAST_BARRIER_eV:g} eV of the barrier at both ends"
            raise KeyRangeError("bias_V", bias_V, legal)

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
        """Decay constant kappa of the wave function in 1/nm; the current falls by exp(-2 kappa).

        Under a trapezoid that of the energy at which the barrier is lowest: of the tip's Fermi level or the sample's.
        """
        if self.barrier == "trapezoid":
            assert self.work_function_eV is not None  # _check_barrier
            assert self.tip_work_function_eV is not None
            ends = {"sample_eV": self.work_function_eV, "tip_eV": self.tip_work_function_eV}
            bias_V = self.sample_bias_V
            return float(units.trapezoid_decay(np.array([max(0.0, bias_V)]), bias_V=bias_V, **ends)[0])
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
