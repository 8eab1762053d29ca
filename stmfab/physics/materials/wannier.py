"""The Hamiltonian that Wannier90 writes, ``seedname_hr.dat``, as lines of real hops."""

from __future__ import annotations

import math

REAL_eV = 1e-3  # hops with a larger imaginary part are complex: the Wannier functions are not real
LEAST_eV = 1e-9  # smaller hops are left out
PER_LINE = 15  # degeneracies a line


class HrError(ValueError):
    """A line of the file that cannot be read, from 1, and why."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


def hops_text(text: str) -> str:
    """Return the hops of an ``_hr.dat`` as lines "u v row column eV", orbitals from 0, each over its degeneracy.

    The file: a comment, the number of orbitals, the number of cells, the cells' degeneracies 15 a line, then lines
    "u v w row column real imaginary". Its hops <0 row| H |R column> are those of ``Material.hoppings_eV``.

    Raises
    ------
    HrError
        If a line is not of this form, a hop is complex, or a hop leads out of the layer (w not 0).

    References
    ----------
    Wannier90 User Guide, "seedname_hr.dat".
    """
    lines = text.splitlines()
    n_orbitals, n_cells = _whole(lines, 1, 1)[0], _whole(lines, 2, 1)[0]
    n_lines = math.ceil(n_cells / PER_LINE)
    shares = [share for i in range(n_lines) for share in _whole(lines, 3 + i, min(PER_LINE, n_cells - i * PER_LINE))]
    out, first = [], 3 + n_lines
    for number in range(n_cells * n_orbitals**2):
        u, v, w, row, column, real_eV, imaginary_eV = _hop(lines, first + number, n_orbitals)
        share = shares[number // n_orbitals**2]
        if max(abs(real_eV), abs(imaginary_eV)) / share < LEAST_eV:
            continue
        if w:
            raise HrError(first + number + 1, f"a hop out of the layer (w = {w}); legal: a layer's cells, w = 0")
        if abs(imaginary_eV) / share > REAL_eV:
            raise HrError(first + number + 1, f"a complex hop ({imaginary_eV:g} i); legal: real Wannier functions")
        out.append(f"{u} {v} {row - 1} {column - 1} {real_eV / share:.9g}")
    return "\n".join(out)


def _whole(lines: list[str], at: int, n: int) -> list[int]:
    """Return the n whole numbers above 0 of a line."""
    words = lines[at].split() if at < len(lines) else []
    if len(words) != n or not all(word.isdigit() and int(word) > 0 for word in words):
        raise HrError(at + 1, f"legal: {n} whole number{'s' if n > 1 else ''} above 0")
    return [int(word) for word in words]


def _hop(lines: list[str], at: int, n_orbitals: int) -> tuple[int, int, int, int, int, float, float]:
    """Return a line's cell, orbitals and energy."""
    words = lines[at].split() if at < len(lines) else []
    try:
        u, v, w, row, column = (int(word) for word in words[:5])
        real_eV, imaginary_eV = (float(word) for word in words[5:])
    except ValueError:
        raise HrError(at + 1, "legal: u v w row column real imaginary") from None
    if not (1 <= row <= n_orbitals and 1 <= column <= n_orbitals and math.isfinite(real_eV + imaginary_eV)):
        raise HrError(at + 1, f"legal: orbitals from 1 to {n_orbitals} and finite energies")
    return u, v, w, row, column, real_eV, imaginary_eV
