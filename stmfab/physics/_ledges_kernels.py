"""The wandering of a step's edge, kink by kink."""

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]


@kernel()
def walk(uniforms: F8, chance: float, slope: float, tether: float, out: I8) -> None:
    """Write how far an edge has strayed from the middle of out (n,), in kinks, dimer by dimer, from n uniform numbers.

    Kinks go either way, more often back to the line of the edge's mean ``slope``; ``tether`` kinks away from it always
    back. One of them goes away from the line at a time, back to it more, up to all: an edge that runs at an angle to
    the rows has straight pieces of many lengths along both.
    """
    middle = out.size // 2
    at = round(-slope * middle)
    for i in range(out.size):
        off = at - slope * (i + 0.5 - middle)
        astray = off / tether
        share = min(1.0, chance + max(0.0, abs(astray) - 1.0))
        up = share * min(1.0, max(0.0, 0.5 - 0.5 * astray))
        down = share - up
        if uniforms[i] < up:
            at += 1 + int((uniforms[i] / up) ** 2 * max(0.0, -off))
        elif uniforms[i] > 1.0 - down:
            at -= 1 + int(((1.0 - uniforms[i]) / down) ** 2 * max(0.0, off))
        out[i] = at
