"""The sample world of noble metals: from a (111) face with what is on it to the current field at a setpoint.

I(r) = G_0 |V| sum_j a_j [P(x + t_j) exp(-2 kappa z) + sum_s A_s exp(-2 kappa (|d_s| - D_s))] over the tip's atoms at
t_j and the lobes s of what stands out; what is dark multiplies by 1 + A_s times its lobe. z is from point contact with
the lowest terrace. P = exp(2 kappa h) (1 - f + f rho / rho_0) with the surface's height h and the share f of the
surface state; rho is its mean over the bias window. A lobe stands its height over the terrace at the setpoint; D_s
follows from its width there.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from . import _surface_field_kernels, scattering, tips
from .crystal import Imaged
from .field import CurrentField, chebyshev_nodes, padded, values_to_monomials
from .junction import Junction
from .materials import Material
from .metals import Metal
from .scattering import Scatterers, Waves
from .surface_grid import HALVED_MARGIN, Grid, Lines, grid_over, halved, lagrange, node_distance_nm, upsampled
from .surface_state import Scene, SurfaceBand, disturbed, within
from .tips import Tip
from .units import CONDUCTANCE_QUANTUM_nA_per_V, Floats

NM_PER_PM = 1e-3
HALF_nm, ROWS_HALF_nm = 0.4, 0.2  # tabulated around the expected height; rows of atoms fade too fast for more,
N_HEIGHTS = _surface_field_kernels.N_HEIGHTS  # on as many nodes; test_surface_field.py::test_field_accuracy
GRIDS = ((25.0, 0.1), (60.0, 0.15), (math.inf, 0.2))  # widths of frames up to, and the distance of nodes
LOOK_nm = 0.3  # and of a first look, where pixels are large
ROW_STEPS = 8  # nodes a row of atoms, where these show
WAVE_nm, WAVE_PHASE = 0.2, 0.42  # waves need nodes this far apart only, and k times this,
SHARP_nm = 0.5  # half as far apart in the core of a scatterer,
STEEP_nm, HALVED_PHASE = 1.4, 0.67  # and twice as far apart, k times that, where no scatterer is nearer
FALL_STEP_nm2 = _surface_field_kernels.FALL_STEP_nm2
STENCIL = 2  # nodes beyond a point that its interpolation asks for
LOBE_RADIUS_nm = 1.6
HEARD_pm = 0.07  # a scatterer that changes the height by less is not heard,
MARGIN_SHARE = 0.7  # and outside the grid one farther than this share of that: waves fade before they end
FEWEST, MOST = 4, 12  # energies of the bias window,
SPAN_nm = 8.0  # summed exactly as far from a scatterer
ROUNDING = 1e-9
UNFELT = 1e-3  # tip atoms with a smaller share of the current add to the others
MAX_TABLES, ROOM_nm = 4, 0.05  # the ideal image keeps this far from the ends of the table of heights


def lobe_distance_nm(height_pm: Floats, fwhm_nm: Floats, kappa_per_nm: float) -> Floats:
    """Return how far under the tip at the setpoint lobes sit that have a height and a full width at half of it.

    exp(2 kappa h / 2) = 1 + (exp(2 kappa h) - 1) exp(-2 kappa (sqrt(w^2 / 4 + D^2) - D)), solved for D.
    """
    fall_nm = np.log1p(np.exp(kappa_per_nm * height_pm * NM_PER_PM)) / (2 * kappa_per_nm)
    half_nm = fwhm_nm / 2
    return np.asarray((half_nm**2 - fall_nm**2) / (2 * fall_nm))


def bias_window(metal: Metal, tip: Tip, bias_V: float) -> tuple[Waves, Floats]:
    """Return the energies of the bias window with their shares of the current, and each tip atom's strength.

    Shares: the front atom's density of states times the quadrature's weights. Strengths: the mean density of states of
    each atom over the calibration's, shape (n_tip,).
    """
    ends = metal.wave_numbers(np.array([0.0, bias_V])).real
    count = min(MOST, max(FEWEST, math.ceil(3 + SPAN_nm * abs(float(ends[1] - ends[0])))))
    nodes, weights = special.roots_legendre(count)
    at_eV = bias_V * (nodes + 1) / 2
    densities = tip.density(at_eV - bias_V) * weights / 2
    shares = densities[0] / densities[0].sum()
    return Waves(metal.wave_numbers(at_eV), shares), densities.sum(axis=1) / tips.MEAN_LDOS_per_eV


def at_bias(metal: Metal, tip: Tip, bias_V: float) -> tuple[Waves, Floats]:
    """Return the energy e V alone, and each tip atom's strength at its Fermi level, for dI/dV."""
    at_eV = np.array([bias_V])
    return Waves(metal.wave_numbers(at_eV), np.ones(1)), tip.density(np.zeros(1))[:, 0] / tips.MEAN_LDOS_per_eV


@dataclass(frozen=True)
class Maker:
    """Makes fields of one scene under one tip on one grid; ``height_nm`` is the expected gap at the setpoint."""

    scene: Scene
    tip: Tip
    kappa_per_nm: float
    height_nm: float
    polarity: int
    grid: Grid
    thinner: int = 1  # so many times farther apart than they should be are the nodes of waves: for a first look

    def current(self, bias_V: float) -> CurrentField:
        """Return the field of ln|I / nA| at a bias."""
        waves, strengths = bias_window(self.scene.metal, self.tip, bias_V)
        return self._field(waves, strengths, CONDUCTANCE_QUANTUM_nA_per_V * abs(bias_V))

    def conductance(self, bias_V: float) -> CurrentField:
        """Return the field of ln(dI/dV / (nA/V)) at a bias."""
        return self._field(*at_bias(self.scene.metal, self.tip, bias_V), CONDUCTANCE_QUANTUM_nA_per_V)

    @property
    def heights_nm(self) -> Floats:
        """The tabulated heights over the surface, shape (N_HEIGHTS,)."""
        return self.height_nm + half_nm(self.scene.band) * chebyshev_nodes(N_HEIGHTS)

    @functools.cached_property
    def surface_nm(self) -> Floats:
        """Height of the surface at the nodes."""
        return self.scene.heights(self.grid.x_nm, self.grid.y_nm)

    def _field(self, waves: Waves, strengths: Floats, contact: float) -> CurrentField:
        shares = strengths * np.exp(-2 * self.kappa_per_nm * self.tip.positions_nm[:, 2])
        felt = shares > UNFELT * shares.max()
        whole = shares.sum() / shares[felt].sum()
        atoms = np.column_stack([self.tip.positions_nm[felt], whole * strengths[felt]])
        plane = self._plane(waves, atoms, whole * shares[felt])
        out = np.repeat(plane[..., None], N_HEIGHTS, axis=2) if plane.ndim == 2 else plane
        out *= np.exp(-2 * self.kappa_per_nm * self.surface_nm)[..., None]
        self._add_lobes(waves, atoms, out)
        to_monomials = values_to_monomials(N_HEIGHTS)
        base = to_monomials @ (math.log(contact) - 2 * self.kappa_per_nm * self.heights_nm)
        _surface_field_kernels.to_polynomials(out, to_monomials, base)
        return self._tabulated(out)

    def _plane(self, waves: Waves, atoms: Floats, shares: Floats) -> Floats:
        """Return sum_j a_j P(x + t_j) at the nodes, (n_v, n_u), or for each height where the atoms' rows show."""
        scene, kappa = self.scene, self.kappa_per_nm
        pad = math.ceil(_spread_nm(atoms) / self.step_nm) + STENCIL
        wide = self.grid.padded(pad)
        lift = np.exp(2 * kappa * scene.heights(wide.x_nm, wide.y_nm))
        lift *= 1 - scene.band.share + scene.band.share * self._density(waves, wide)
        if scene.band.corrugation_pm == 0:
            return _seen_by_tip(lift, wide, pad, atoms, shares)
        rows = _rows(scene.material, wide)
        falls = row_decay(scene.material, kappa)
        size = scene.band.corrugation_pm * NM_PER_PM * np.exp(-falls * (self.heights_nm - self.height_nm))
        planes = [_seen_by_tip(lift * np.exp(2 * kappa * s * rows), wide, pad, atoms, shares) for s in size]
        return np.stack(planes, axis=-1)

    def _density(self, waves: Waves, grid: Grid) -> Floats:
        """Return rho / rho_0 of the surface state at the nodes."""
        heard = functools.partial(self._heard, waves, grid)
        return waves.undisturbed + disturbed(self.scene, waves, grid.x_nm, grid.y_nm, heard)

    def _heard(self, waves: Waves, grid: Grid, scatterers: Scatterers) -> Floats:
        """Return d rho / rho_0 of scatterers at the nodes: the nearer to one, the less far apart it is summed."""
        every, radii_nm = self._levels(waves)
        wide = [grid]
        for level in range(len(radii_nm)):
            wide.append(wide[-1].padded(2**level * 2 * HALVED_MARGIN * every))
        nodes = [grid.thinned(2**level * every) for level, grid in enumerate(wide)]
        ends_nm = np.array([[axis[i, j] for axis in nodes[-1]] for i in (0, -1) for j in (0, -1)])
        within_nm = float(np.linalg.norm(ends_nm[:, None] - scatterers.points_nm, axis=2).max())
        reach_nm = heard_nm(self.scene.band, waves, self.kappa_per_nm)
        response = scattering.response(waves, scatterers, reach_nm=reach_nm, within_nm=within_nm)
        change = response.change(*nodes[-1])
        for (x_nm, y_nm), radius_nm in zip(nodes[-2::-1], radii_nm[::-1], strict=True):
            change = halved(change, x_nm.shape)
            near = within(x_nm, y_nm, scatterers.points_nm, radius_nm)
            change[near] = response.change_at(np.stack([x_nm[near], y_nm[near]], axis=1))
        return upsampled(change, grid.x_nm.shape, every)

    def _levels(self, waves: Waves) -> tuple[int, list[float]]:
        """Return how many steps apart waves are summed next to a scatterer, and out to where so, twice so, ... far."""
        k_per_nm = float(np.abs(waves.numbers_per_nm).max())
        every = max(1, int(self.thinner * min(WAVE_nm, WAVE_PHASE / k_per_nm) / self.step_nm + ROUNDING))
        fine = max(1, every // 2)
        radii_nm = [SHARP_nm] if every > 1 else []
        if 2 ** (len(radii_nm) + 1) * fine * self.step_nm * k_per_nm < HALVED_PHASE:
            radii_nm.append(STEEP_nm)
        return fine, radii_nm

    @property
    def step_nm(self) -> float:
        """Distance of the nodes."""
        return float(np.hypot(*self.grid.steps_nm[0]))

    def _add_lobes(self, waves: Waves, atoms: Floats, out: Floats) -> None:
        """Add the lobes' current, over exp(-2 kappa height)."""
        scene, kappa = self.scene, self.kappa_per_nm
        if not len(scene.points_nm):
            return
        height_pm = scene.values("height_pm")
        distance_nm = lobe_distance_nm(height_pm, scene.values("fwhm_nm"), kappa)
        x, y = scene.points_nm.T
        share, own = scene.band.share, scattering.self_change(waves, scene.scatterers)
        far, dip = 1 - share + share * waves.undisturbed, height_pm < 0
        wanted = far * np.exp(2 * kappa * height_pm * NM_PER_PM)
        amplitude = np.where(dip, wanted / (far + share * own) - 1, wanted - far - share * own)
        lobes = np.column_stack([x, y, scene.heights(x, y), distance_nm - self.height_nm, amplitude, dip])
        middles = (scene.points_nm - self.grid.origin_nm) @ np.linalg.inv(self.grid.steps_nm)
        half = math.ceil((LOBE_RADIUS_nm + _spread_nm(atoms)) / self.step_nm)
        near = (middles > -half - 1).all(axis=1) & (middles < np.array(out.shape[1::-1]) + half).all(axis=1)
        order = np.flatnonzero(near)[np.lexsort((distance_nm[near], dip[near]))]
        lobes, middles, x_nm, y_nm = lobes[order], middles[order], self.grid.x_nm, self.grid.y_nm
        if scene.flight is not None or scene.pattern is not None:
            floor = self.surface_nm, self.heights_nm
            _surface_field_kernels.add_lobes(x_nm, y_nm, *floor, lobes, middles, half, atoms, kappa, out)
            return
        reach_nm, atoms = math.sqrt(2) * (half + 2) * self.step_nm + _spread_nm(atoms), atoms[np.argsort(atoms[:, 2])]
        falls = np.empty((len(atoms), math.ceil(reach_nm**2 / FALL_STEP_nm2) + 4, N_HEIGHTS))
        nodes = x_nm, y_nm, self.heights_nm
        _surface_field_kernels.add_lobes_on_plane(*nodes, lobes, middles, half, atoms, kappa, falls, out)

    def _tabulated(self, monomials: Floats) -> CurrentField:
        """Return the field of polynomials in the height over the surface, as polynomials in z."""
        low, high = float(self.surface_nm.min()), float(self.surface_nm.max())
        own_nm = half_nm(self.scene.band)
        middle_nm, reach_nm = (low + high) / 2 + self.height_nm, (high - low) / 2 + own_nm
        start = (middle_nm - self.surface_nm - self.height_nm) / own_nm
        shifted = _shifted(monomials, start, reach_nm / own_nm)
        return CurrentField(
            padded(shifted), self.grid.origin_nm, self.grid.steps_nm, middle_nm, reach_nm, self.polarity
        )


def _spread_nm(atoms: Floats) -> float:
    """Return how far the tip's atoms, rows (x, y, ...), are from its axis at most."""
    return float(np.hypot(atoms[:, 0], atoms[:, 1]).max())


def half_nm(band: SurfaceBand) -> float:
    """Return how far the tabulated heights reach from their middle."""
    return HALF_nm if band.corrugation_pm == 0 else ROWS_HALF_nm


def heard_nm(band: SurfaceBand, waves: Waves, kappa_per_nm: float) -> float:
    """Return how far a scatterer is heard: where it changes the height by ``HEARD_pm``."""
    return scattering.reach_nm(waves, error=2 * kappa_per_nm * HEARD_pm * NM_PER_PM / max(band.share, UNFELT))


def row_decay(lattice: Material, kappa_per_nm: float) -> float:
    """Return how the atoms' corrugation falls with height, 2 (sqrt(kappa^2 + G^2 / 4) - kappa), in 1/nm."""
    shortest_per_nm = 4 * math.pi / (math.sqrt(3) * lattice.lattice_constant_nm)
    return 2 * (math.hypot(kappa_per_nm, shortest_per_nm / 2) - kappa_per_nm)


def _rows(lattice: Material, grid: Grid) -> Floats:
    """Return the atomic lattice at the nodes, three waves, 1 peak to peak and highest on the atoms."""
    u, v = 2 * np.pi * np.moveaxis(np.stack([grid.x_nm, grid.y_nm], axis=-1) @ lattice.to_cells, -1, 0)
    return np.asarray((np.cos(u) + np.cos(v) + np.cos(u + v)) / 4.5)


def _seen_by_tip(plane: Floats, grid: Grid, pad: int, atoms: Floats, shares: Floats) -> Floats:
    """Return sum_j a_j plane(x + t_j) at the nodes of ``grid`` less ``pad`` on every side: 4-point Lagrange."""
    taps: dict[tuple[int, int], float] = {}
    for (u, v), share in zip(atoms[:, :2] @ np.linalg.inv(grid.steps_nm), shares, strict=True):
        first_u, first_v = math.floor(u) - 1, math.floor(v) - 1
        for i, along in enumerate(lagrange(v - first_v - 1)):
            for j, across in enumerate(lagrange(u - first_u - 1)):
                place = (first_v + i, first_u + j)
                taps[place] = taps.get(place, 0.0) + share * along * across
    n_v, n_u = plane.shape
    places, weights = np.array(list(taps)) + pad, np.array(list(taps.values()))
    out = np.zeros((n_v - 2 * pad, n_u - 2 * pad))
    _surface_field_kernels.add_shifted(plane, places[weights != 0], weights[weights != 0], out)
    return out


def _shifted(monomials: Floats, start: Floats, scale: float) -> Floats:
    """Return polynomials p(start + scale s) in s of polynomials p (..., n) and starts (...)."""
    if scale == 1 and not start.any():
        return monomials
    given = np.ascontiguousarray(np.moveaxis(monomials, -1, 0))
    out = np.zeros_like(given)
    for power in range(len(given) - 1, -1, -1):  # Horner's scheme: out = out * (start + scale s) + c
        for order in range(len(given) - 1 - power, 0, -1):
            out[order] = out[order] * start + scale * out[order - 1]
        out[0] = out[0] * start + given[power]
    return np.moveaxis(out, 0, -1)


@dataclass(frozen=True)
class Surface(Imaged):
    """A metal's field and ideal image, and what targets are drawn from beside them."""

    maker: Maker

    def conductance(self, bias_V: float) -> CurrentField:
        """Return the field of ln(dI/dV / (nA/V)) at a bias."""
        return self.maker.conductance(bias_V)

    @property
    def scene(self) -> Scene:
        """What is on the sample."""
        return self.maker.scene


def image(
    scene_of: Callable[[Grid, float], Scene],
    metal: Metal,
    band: SurfaceBand,
    tip: Tip,
    junction: Junction,
    *,
    lines_nm: Lines,
    raster_nm: tuple[Floats, Floats],
    rotation_deg: float,
    as_wide_nm: float = 0.0,
) -> tuple[Scene, Surface]:
    """Return a scene and its field along lines, tabulated around the heights of its ideal image.

    Parameters
    ----------
    scene_of : callable
        The scene that is heard on a grid with a margin in nm around it.
    lines_nm : sequence of (x, y)
        Where the tip goes, straight lines in the sample frame, arrays (n_lines, n_points).
    raster_nm : (x, y)
        The nominal raster, arrays (n_rows, n_cols): the setpoint and the ideal image belong to it.
    rotation_deg : float
        Of the frame: the grid is turned with it.
    as_wide_nm : float, optional
        Nodes are at least as far apart as in frames of this width, where pixels are large farther: for a first look.

    Raises
    ------
    ArithmeticError
        If the heights do not settle in a table: the setpoint is out of reach.
    """
    kappa, bias_V = junction.decay_per_nm, junction.sample_bias_V
    grid = grid_over([*lines_nm, raster_nm], rotation_deg, grid_step_nm(metal, band, raster_nm, as_wide_nm))
    waves, _ = bias_window(metal, tip, bias_V)
    scene = scene_of(grid, MARGIN_SHARE * heard_nm(band, waves, kappa) + _spread_nm(tip.positions_nm))
    surface_nm, expected_nm = scene.heights(*raster_nm), junction.expected_height_nm()
    for _ in range(MAX_TABLES):
        maker = Maker(scene, tip, kappa, expected_nm, 1 if bias_V > 0 else -1, grid, 2 if as_wide_nm else 1)
        field = maker.current(bias_V)
        over_raster = field.over(*raster_nm)
        if junction.current_nA is not None:
            log_setpoint = math.log(junction.current_nA)
        else:
            assert junction.height_nm is not None  # exactly_one
            log_setpoint = float(np.median(over_raster.log_current(surface_nm + junction.height_nm)))
        ideal_nm = over_raster.heights(log_setpoint)
        gap_nm = ideal_nm - surface_nm
        if np.abs(gap_nm - expected_nm).max() < half_nm(band) - ROOM_nm:
            return scene, Surface(field, field, log_setpoint, ideal_nm, maker)
        expected_nm = float((gap_nm.min() + gap_nm.max()) / 2)
    raise ArithmeticError(f"the ideal image ({gap_nm.min():.3g} to {gap_nm.max():.3g} nm) does not settle in a table")


def grid_step_nm(metal: Metal, band: SurfaceBand, raster_nm: tuple[Floats, Floats], as_wide_nm: float = 0.0) -> float:
    """Return the distance of the grid's nodes: finer where rows of atoms show, wider in wide frames."""
    if band.corrugation_pm > 0:
        return metal.lattice.lattice_constant_nm * math.sqrt(3) / 2 / ROW_STEPS
    return node_distance_nm(GRIDS, raster_nm, as_wide_nm, look_nm=LOOK_nm)
