"""Tungsten tips: apex clusters, dulling, and the density of states of their front atoms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .keys import check_ranges, key

APEXES = ("w111", "w001")  # filled from the shipped table


@dataclass(frozen=True)
class Tungsten:
    """A bcc tungsten tip with one of the tabulated apexes (``stmfab schema`` lists them)."""

    apex: str = key("apex: orientation, then dulling", default="w111", one_of=APEXES)
    rotation_deg: float = key("rotation about the tip's axis", default=0.0)
    tilt_x_deg: float = key("tilt about x", default=0.0, above=-60, below=60)
    tilt_y_deg: float = key("tilt about y", default=0.0, above=-60, below=60)

    def __post_init__(self) -> None:
        check_ranges(self)


TIPS: Mapping[str, type[Tungsten]] = {"tungsten": Tungsten}
