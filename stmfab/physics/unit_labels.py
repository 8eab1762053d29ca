"""What is known of every unit of a scene, dimer or cell: its place, its row, its terrace, and its state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .orbital_scene import Scene
from .orbitals import TOP
from .units import Bools, Ints

WHOLE, BROKEN, MISSING = range(3)
STATES: Sequence[str] = ("whole", "broken", "missing")
BUCKLED: Sequence[str] = ("flips", "up_at_larger", "up_at_smaller")
DOMAINS: Sequence[str] = ("flipping", "p2x2", "c4x2")
NONE = -1  # where units have one state only


def known(scene: Scene) -> dict[str, NDArray[Any]]:
    """Return the columns of the table of a scene's units, each (n_units,)."""
    units, buckles = scene.units, len(scene.surface.states) > 1
    turned, none = units.axis == 1, np.full(len(units.u), NONE)
    return {
        "x_nm": scene.middles_nm[:, 0],
        "y_nm": scene.middles_nm[:, 1],
        "rows_deg": np.where(turned, 90.0, 0.0),
        "along": np.where(turned, units.v, units.u),
        "across": np.where(turned, units.u, units.v) // scene.surface.pair,
        "terrace": units.level - scene.lowest,
        "state": states(scene),
        "buckling": scene.states if buckles else none,
        "domain": scene.domains if buckles else none,
    }


def states(scene: Scene) -> Ints:
    """Return the state of every unit, (n_units,): broken where some of its top lobes are gone.

    It is missing where all are, and what took them put nothing in their place.
    """
    edits, out = scene.edits, np.full(len(scene.units.u), WHOLE)
    bare: Bools = np.array([not each.edit.added for each in scene.sited], dtype=np.bool_)
    gone = (edits.layer == TOP) & (edits.filled == 0)
    out[edits.unit[gone]] = BROKEN
    left = np.ones((2, len(out)), dtype=np.bool_)
    for side, kept in zip((-1, 1), left, strict=True):
        kept[edits.unit[gone & bare[edits.owner] & (edits.side != -side)]] = False
    out[~left.any(axis=0)] = MISSING
    return out
