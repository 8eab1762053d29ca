"""The scan at constant height: no loop, the current is the picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import numpy as np

from . import scan
from .instrument import NM_PER_PM, ConstantHeight, Instrument
from .noise import AmplifierNoise, Streams
from .path import Path
from .scan import Scan
from .stages import Staged, Stages
from .switches import Fields
from .units import Floats


@Staged
def run(
    field: Fields,
    path: Path,
    instrument: Instrument,
    *,
    held: ConstantHeight,
    height_nm: float,
    log_setpoint: float,
    kappa_per_nm: float,
    ideal_range_nm: float,
    log_spread: float,
    streams: Streams,
    channels: Collection[str],
) -> Stages[Scan]:
    """Return the scan of a tip that rests at a gap of ``height_nm`` and its lift over the frame's centre.

    That is the scan of a loop without gain. What disturbs the gap disturbs ln|I|, as under a loop; the amplifier's
    noise is added to the current, whose size changes from pixel to pixel. The z piezo never moves.

    Parameters
    ----------
    streams : callable
        Name -> random stream: those of ``scan.run``, and "noise.current" of the amplifier.
    """
    amplifiers = [source for source in instrument.noise.values() if isinstance(source, AmplifierNoise)]
    others = {name: source for name, source in instrument.noise.items() if not isinstance(source, AmplifierNoise)}
    still = dataclasses.replace(
        instrument,
        feedback=held.feedback(),
        constant_height=None,
        z_piezo=None,
        z_resonance=None,
        noise=others,
    )
    recorded = yield from scan.run.stages(
        field,
        path,
        still,
        log_setpoint=log_setpoint,
        kappa_per_nm=kappa_per_nm,
        ideal_range_nm=ideal_range_nm,
        log_spread=log_spread,
        streams=streams,
        channels=channels,
        start_nm=height_nm / path.cos_tilt + held.lift_pm * NM_PER_PM,
    )
    if recorded.current_nA is not None:
        current_nA = _heard(recorded.current_nA, amplifiers, path.raster.dwell_s, streams("noise.current"))
        shown_nA = np.clip(current_nA, -held.range_nA, held.range_nA)
        recorded = dataclasses.replace(recorded, current_nA=shown_nA)
    return dataclasses.replace(recorded, loop_radius=0.0)


def _heard(current_nA: Floats, amplifiers: list[AmplifierNoise], pixel_s: float, rng: np.random.Generator) -> Floats:
    """Return currents with the noise of some amplifiers, each pixel with the shot noise of its own current."""
    out = current_nA
    for amplifier in amplifiers:
        out = out + amplifier.sigma_nA(current_nA, pixel_s=pixel_s) * rng.standard_normal(current_nA.shape)
    return np.asarray(out)
