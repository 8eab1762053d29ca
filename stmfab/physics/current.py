"""The tunnelling current of a scene under a tip: one ``CurrentField`` a junction."""

from __future__ import annotations

from dataclasses import dataclass

from .keys import check_ranges, exactly_one, key


@dataclass(frozen=True)
class Junction:
    """Bias, barrier and setpoint. ``polarity * bias_V`` is the sample bias: positive probes empty sample states."""

    bias_V: float = key("sample bias (times the polarity)")
    polarity: int = key("sign of the sample bias", default=1, one_of=(-1, 1))
    kappa_per_nm: float | None = key("decay constant of the wave function", default=None, above=0)
    work_function_eV: float | None = key(
        "apparent barrier height; kappa = 5.123 sqrt(phi) per nm", default=None, above=0
    )
    height_nm: float | None = key("setpoint as the gap whose median |I| is the setpoint", default=None, above=0)
    current_nA: float | None = key("setpoint current", default=None, above=0)

    def __post_init__(self) -> None:
        check_ranges(self)
        exactly_one(self, "kappa_per_nm", "work_function_eV")
        exactly_one(self, "height_nm", "current_nA")
