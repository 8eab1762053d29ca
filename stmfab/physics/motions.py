"""What moves the tip besides its raster: creep and drift that bend in time, jumps, and what it picks up."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from .instrument import NM_PER_PM, Bends, Instrument, LinearDrift, LogCreep, PickUp
from .noise import Streams
from .units import Floats, Ints


def jumps(instrument: Instrument, frame_s: float, streams: Streams) -> tuple[Floats, Floats]:
    """Return the times of the tip's jumps, (n,), and their x, y, z, (n, 3)."""
    if instrument.tip_jumps is None:
        return np.zeros(0), np.zeros((0, 3))
    return instrument.tip_jumps.draw(frame_s, streams("tip_jumps"))


def bends(instrument: Instrument, t_s: Floats, jump_s: Floats, jumps_nm: Floats) -> Bends:
    """Yield what bends in time: creep and drift that slows down along x and y, drift and creep of z.

    The times ascend in each row. A loop answers jumps of the tip, (n,) and (n, 3), by steps of z, after which the piezo
    creeps.
    """
    if isinstance(instrument.creep, LogCreep):
        yield from instrument.creep.bends(t_s)
    if isinstance(instrument.drift, LinearDrift):
        yield from instrument.drift.bends(t_s)
    if instrument.z_creep is not None:
        n = len(jump_s) if instrument.constant_height is None else 0
        yield from instrument.z_creep.bends(t_s, jump_s=jump_s[:n], jump_nm=jumps_nm[:n, 2])


def add_jumps(times_s: Floats, jumps_nm: Floats, t_s: Floats, places_nm: tuple[Floats, Floats, Floats]) -> Ints:
    """Add a tip's jumps, (n,) and (n, 3), to its x, y and z at ascending times t_s; return how many there were."""
    starts = np.searchsorted(t_s.ravel(), times_s, side="right")
    for place_nm, sums_nm in zip(places_nm, np.cumsum(jumps_nm, axis=0).T, strict=True):
        flat_nm = place_nm.reshape(-1)
        for start, end, sum_nm in zip(starts, np.append(starts, t_s.size)[1:], sums_nm, strict=True):
            flat_nm[start:end] += sum_nm
    changes = np.zeros(t_s.size, dtype=np.int64)
    for number, (start, end) in enumerate(pairwise((*starts, t_s.size)), 1):
        changes[start:end] = number
    return changes.reshape(t_s.shape)


def held(pick_ups: Mapping[str, PickUp], frame_s: float, t_s: Floats, streams: Streams) -> tuple[Floats, Ints]:
    """Return by how much a tip is longer at ascending times t_s for what it holds, and how many things it holds.

    What is dropped before the next of these times is held there still: no streak is lost between them.
    """
    rise_nm, holding = np.zeros(t_s.size), np.zeros(t_s.size, dtype=np.int64)
    for name, pick_up in sorted(pick_ups.items()):
        start_s, end_s = pick_up.draw(frame_s, streams(f"pick_ups.{name}"))
        first = np.searchsorted(t_s.ravel(), start_s)
        last = np.maximum(np.searchsorted(t_s.ravel(), end_s), first + 1)
        changes = np.bincount(first, minlength=t_s.size + 1) - np.bincount(last, minlength=t_s.size + 1)
        held = np.cumsum(changes)[: t_s.size]
        rise_nm += NM_PER_PM * pick_up.height_pm * held
        holding += held
    return rise_nm.reshape(t_s.shape), holding.reshape(t_s.shape)
