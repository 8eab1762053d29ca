"""Metals' current fields against plain sums in float64, heights as asked for, steps, ridges and standing waves."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import special

import stmfab
from stmfab import plan, recipe, scenes
from stmfab.errors import RecipeError
from stmfab.physics import scattering, surface_field, terraces, tips
from stmfab.physics.defects import Placed
from stmfab.physics.junction import Junction
from stmfab.physics.metals import METALS
from stmfab.physics.path import tip_path
from stmfab.physics.scatterers import SCATTERERS, Cluster, Line, Ring, corral_cells
from stmfab.physics.surface_state import Scene, SurfaceBand
from stmfab.physics.terraces import Herringbone, Steps, curve
from stmfab.physics.tips import Tip
from tests import second_reading as second

RECIPES = Path(__file__).parents[2] / "recipes"
POINT_TIP = Tip(np.zeros((1, 3)), np.linspace(-3, 3, 601), np.full((1, 601), tips.MEAN_LDOS_per_eV))
CU, AU = METALS["cu-111"], METALS["au-111"]
KAPPA = 11.0


def placed(kind, cells, **values):
    """Scatterers of one kind in some cells, its defaults but for some values."""
    fields = {field.name: field.default for field in dataclasses.fields(kind)} | values
    column = {key: np.full(len(cells), fields[key]) for key in ("height_pm", "fwhm_nm", "albedo", "phase_deg")}
    return kind, Placed(np.array(cells), CU.lattice.site_index(fields["site"]), column)


def imaged(
    members=None,
    *,
    metal=CU,
    share=0.5,
    size_nm=10.0,
    n=81,
    bias_V=0.3,
    tip=POINT_TIP,
    setpoint=None,
    turn_deg=0.0,
    **shape,
):
    band = SurfaceBand(share=share, corrugation_pm=shape.pop("corrugation_pm", 0.0))
    at = np.linspace(-size_nm / 2, size_nm / 2, n)
    raster = np.meshgrid(at, at)
    junction = Junction(bias_V=bias_V, kappa_per_nm=KAPPA, **(setpoint or {"height_nm": 0.55}))
    scene = Scene(metal, band, members or {}, **shape)
    _, made = surface_field.image(
        lambda grid, margin_nm: scene,
        *(metal, band, tip, junction),
        lines_nm=[raster],
        raster_nm=tuple(raster),
        rotation_deg=turn_deg,
    )
    return scene, made, raster


class Plain:
    """ln|I / nA| of a scene point by point: every energy, scatterer, edge and tip atom one by one, in float64."""

    def __init__(self, scene, tip, bias_V, *, height_nm):
        self.scene, self.tip, self.bias_V, self.height_nm = scene, tip, bias_V, height_nm
        waves, self.strengths = surface_field.bias_window(scene.metal, tip, bias_V)
        self.k, self.shares = waves.numbers_per_nm, waves.shares
        self.places, self.s = scene.points_nm, scene.scatterers.strengths
        self.own = scene.terrace(*self.places.T)
        self.matrices = {level: self.matrix(level) for level in set(self.own.tolist())}
        self.bare = self.shares @ (1 - 2 / np.pi * np.angle(self.k))

    def matrix(self, level):
        mine, s = self.places[self.own == level], self.s[self.own == level]
        away = scattering.softened(np.linalg.norm(mine[:, None] - mine, axis=2))
        off = 1 - np.eye(len(mine))
        return [np.linalg.inv(np.diag(1 / s) - special.hankel1(0, q * away) * off) for q in self.k]

    def change(self, x, y):
        """d rho / rho_0, each terrace's by its share of the point."""
        edges = self.scene.distances(np.array([x]), np.array([y]))[:, 0]
        passed = special.ndtr(edges / 0.22)
        levels = np.concatenate([[1.0], passed]) - np.concatenate([passed, [0.0]])
        total = 0.0
        for level, matrices in self.matrices.items():
            r = scattering.softened(np.hypot(*(self.places[self.own == level] - (x, y)).T))
            for share, q, matrix in zip(self.shares, self.k, matrices, strict=True):
                h = special.hankel1(0, q * r)
                total += levels[len(edges) - level] * share * (h @ matrix @ h).real
        for n, edge in enumerate(edges):
            steps = self.scene.flight.steps
            mirror = -(special.hankel1(0, 2 * self.k * abs(edge)).real @ self.shares)
            total += (steps.upper_reflectivity * levels[n] + steps.lower_reflectivity * levels[n + 1]) * mirror
        return total

    def lobe(self, n, x, y, z):
        """The lobe of a scatterer, the tip's atoms added."""
        height, half = self.scene.values("height_pm")[n] * 1e-3, self.scene.values("fwhm_nm")[n] / 2
        fall = math.log1p(math.exp(KAPPA * height)) / (2 * KAPPA)
        depth = (half**2 - fall**2) / (2 * fall) - self.height_nm
        place = np.array([*self.places[n], self.floor(*self.places[n]) - depth])
        away = np.linalg.norm(np.array([x, y, z]) + self.tip.positions_nm - place, axis=1)
        return (self.strengths * np.exp(-2 * KAPPA * (away - depth))).sum()

    def floor(self, x, y):
        return self.scene.heights(np.array([x]), np.array([y]))[0]

    def plane(self, x, y, z):
        f, total = self.scene.band.share, 0.0
        for (right, up, above), strength in zip(self.tip.positions_nm, self.strengths, strict=True):
            gap = z + above - self.floor(x + right, y + up)
            density = 1 - f + f * (self.bare + self.change(x + right, y + up))
            total += strength * math.exp(-2 * KAPPA * gap) * density
        return total

    def log_current(self, x, y, z):
        f, heights = self.scene.band.share, self.scene.values("height_pm") * 1e-3
        far, core = 1 - f + f * self.bare, scattering.CORE_nm * 3 / 8
        alone = far + f * (self.s * (special.hankel1(0, self.k * core) ** 2 @ self.shares)).real
        wanted = far * np.exp(2 * KAPPA * heights)
        lobes = np.array([self.lobe(n, x, y, z) for n in range(len(heights))])
        bump = heights >= 0
        right_above = (self.strengths * np.exp(-2 * KAPPA * (z - self.floor(x, y) + self.tip.positions_nm[:, 2]))).sum()
        total = self.plane(x, y, z) + ((wanted - alone) * lobes)[bump].sum()
        total *= (1 + (wanted / alone - 1) * np.minimum(1.0, lobes / right_above))[~bump].prod()
        return math.log(second.G0_nA_per_V * abs(self.bias_V) * total)


TUNGSTEN = tips.Tungsten(apex="w111", rotation_deg=17).tip()
FRONT = np.argsort(TUNGSTEN.positions_nm[:, 2])[:6]
SHARP_TIP = Tip(TUNGSTEN.positions_nm[FRONT], TUNGSTEN.at_eV, TUNGSTEN.ldos_per_eV[FRONT])


def every_kind(cells):
    """As many scatterers of each kind in some cells."""
    n = len(cells) // len(SCATTERERS)
    return {name: placed(kind, cells[i * n :][:n]) for i, (name, kind) in enumerate(sorted(SCATTERERS.items()))}


def errors_pm(members, n_points, **given):
    """How far the field is from plain sums at points of the frame, under a tip of tungsten."""
    x, y = np.random.default_rng(6).uniform(-0.49, 0.49, (2, n_points)) * given["size_nm"]
    scene, made, _ = imaged(members, tip=SHARP_TIP, **given)
    z = made.field.heights(x, y, made.log_setpoint)
    plain = Plain(scene, SHARP_TIP, given["bias_V"], height_nm=made.maker.height_nm)
    exact = np.array([plain.log_current(*point) for point in zip(x, y, z, strict=True)])
    return np.abs(made.field.log_current(x, y, z) - exact) / (2 * KAPPA) * 1e3


@pytest.mark.parametrize("flight", [None, Steps(count=2, terrace_nm=7.0, direction_deg=20.0)])
@pytest.mark.parametrize(("name", "bias_V"), [("cu-111", 0.3), ("ag-111", 0.02), ("ag-111", -0.4), ("au-111", -0.4)])
def test_field_accuracy(name, bias_V, flight):
    # 24 scatterers of every kind within 9 nm against plain sums: 99 points of 100 within 0.2 pm. None is on an edge: a
    # dip there has a kink where the tip comes under its terrace
    rng = np.random.default_rng(5)
    cells = rng.permutation(np.argwhere(np.ones((30, 30))) - 15)
    shape = {} if flight is None else {"flight": flight.flight(rng)}
    if flight is not None:
        away_nm = shape["flight"].distances(*(cells @ METALS[name].lattice.lattice_nm).T)
        cells = cells[np.abs(away_nm).min(axis=0) > 0.7]
    cells = cells[:24]
    error_pm = errors_pm(every_kind(cells), 200, metal=METALS[name], bias_V=bias_V, size_nm=9.0, n=160, **shape)
    assert np.percentile(error_pm, 99) < 0.2
    assert np.median(error_pm) < 0.05


@pytest.mark.parametrize(("size_nm", "limit_pm"), [(24.0, 0.2), (100.0, 1.0)])
@pytest.mark.parametrize("name", sorted(METALS))
def test_field_accuracy_of_wide_frames(name, size_nm, limit_pm):
    # 36 scatterers strewn over the frame, or over 24 nm of it, at a bias where their waves reach farthest
    points_nm = np.random.default_rng(3).uniform(-12, 12, (36, 2))
    cells = np.rint(points_nm @ METALS[name].lattice.to_cells).astype(int)
    error_pm = errors_pm(every_kind(cells), 100, metal=METALS[name], bias_V=0.02, size_nm=size_nm, n=64)
    assert np.percentile(error_pm, 99) < limit_pm


@pytest.mark.parametrize(("bias_V", "every_pm"), [(0.02, 0.03), (0.4, 0.05)])
def test_waves_are_as_well_known_from_fewer_nodes_away_from_scatterers(monkeypatch, bias_V, every_pm):
    # a ring on silver, nodes 0.4 nm apart but near its atoms, against nodes as near everywhere
    turn = np.arange(15) * 2 * np.pi / 15
    cells = np.rint(4.5 * np.stack([np.cos(turn), np.sin(turn)], axis=1) @ METALS["ag-111"].lattice.to_cells)
    wanted = {"adatom": placed(SCATTERERS["adatom"], cells.astype(int))}
    fields = []
    for phase in (surface_field.HALVED_PHASE, 0.0):
        monkeypatch.setattr(surface_field, "HALVED_PHASE", phase)
        fields.append(imaged(wanted, metal=METALS["ag-111"], bias_V=bias_V, size_nm=12.0)[1].field)
    x, y = np.random.default_rng(0).uniform(-6, 6, (2, 4000))
    off_pm = np.abs(np.subtract(*(field.log_current(x, y, 0.55) for field in fields))) / (2 * KAPPA) * 1e3
    assert 0 < off_pm.max() < every_pm


def test_a_bare_terrace_follows_the_tunnelling_law():
    # I = G_0 V exp(-2 kappa z) of a point contact on the bulk; the setpoint of a height is the current there
    _, made, (x, y) = imaged(share=0.0, bias_V=0.3)
    for z in (0.35, 0.55, 0.75):
        expected = math.log(second.G0_nA_per_V * 0.3) - 2 * KAPPA * z
        np.testing.assert_allclose(made.field.log_current(x, y, z), expected, atol=1e-4)
    np.testing.assert_allclose(made.ideal_nm, 0.55, atol=1e-5)
    _, by_current, _ = imaged(share=0.0, bias_V=0.3, setpoint={"current_nA": math.exp(made.log_setpoint)})
    np.testing.assert_allclose(by_current.ideal_nm, 0.55, atol=1e-5)


def test_places_of_the_wrong_kind_of_sample_are_told():
    with pytest.raises(RecipeError, match=r"sample\.steps: unknown key; it belongs to sample\.kind surface-state"):
        recipe.load("wse2-demo", ["sample.steps={count: 1, terrace_nm: 5}"])


@pytest.mark.parametrize("name", sorted(SCATTERERS))
def test_an_isolated_defect_stands_as_high_and_wide_as_asked(name):
    kind = SCATTERERS[name]
    scene, made, _ = imaged({name: placed(kind, [(0, 0)], albedo=1.0, phase_deg=0.0)})  # it scatters nothing
    (x, y), wanted = scene.points_nm[0], kind(density_per_nm2=0.0)
    at = np.array([x, x + wanted.fwhm_nm / 2, x - 4.0])
    over, half, far = made.field.heights(at, np.full(3, y), made.log_setpoint) * 1e3
    assert over - far == pytest.approx(wanted.height_pm, rel=0.01)
    assert half - far == pytest.approx(wanted.height_pm / 2, rel=0.06)  # a dip is half as deep in its logarithm nearly
    scattering_one, waved, _ = imaged({name: placed(kind, [(0, 0)])})
    assert len(scattering_one.points_nm) == 1
    over = waved.field.heights(at[:1], np.full(1, y), waved.log_setpoint)[0]
    terrace = np.median(waved.ideal_nm)
    assert (over - terrace) * 1e3 == pytest.approx(wanted.height_pm, abs=max(0.05 * abs(wanted.height_pm), 0.6))


@pytest.mark.parametrize("name", sorted(METALS))
def test_steps_are_one_atom_high_and_terraces_are_numbered(name):
    flight = Steps(count=2, terrace_nm=12.0, spread=0.0, wander_nm=0.5).flight(np.random.default_rng(0))
    scene, made, (x, y) = imaged(metal=METALS[name], share=0.0, size_nm=30.0, n=151, flight=flight)
    number = scene.terrace(x, y)
    far = np.abs(scene.distances(x, y)).min(axis=0) > 1.5
    assert set(number[far].tolist()) == {0, 1, 2}
    levels = [np.median(made.ideal_nm[far & (number == n)]) for n in range(3)]
    np.testing.assert_allclose(np.diff(levels), second.METALS_111[name][-1], atol=5e-4)
    classes = scene.class_map(x, y, np.zeros(0, dtype=np.int64), len(SCATTERERS))
    assert (classes[np.abs(scene.distances(x, y)).min(axis=0) < 0.4] == len(SCATTERERS) + 1).all()


def test_waves_at_a_step_in_the_image():
    # dI/dV and topography at 5 mV beside a straight step: maxima pi / k apart, 1.45 nm on Cu(111), falling as x^(-1/2)
    flight = Steps(count=1, terrace_nm=10.0, wander_nm=0.0).flight(np.random.default_rng(0))
    _, made, _ = imaged(size_nm=24.0, n=481, bias_V=0.005, flight=flight)
    x = np.linspace(1.5, 11.5, 4001)
    profile = made.field.heights(x, 0 * x, made.log_setpoint)
    crests = x[1:-1][(profile[1:-1] > profile[:-2]) & (profile[1:-1] > profile[2:])]
    assert np.diff(crests).mean() == pytest.approx(second.METALS_111["cu-111"][4], rel=0.01)
    tops = np.interp(crests, x, profile) - np.mean(profile)
    k = CU.wave_numbers(np.zeros(1))[0]
    slope = np.polyfit(np.log(crests), np.log(tops) + 2 * k.imag * crests, 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.08)
    spectrum = made.maker.conductance(0.0)
    wave = np.exp(spectrum.log_current(x, 0 * x, 0.55))
    assert np.corrcoef(wave, profile)[0, 1] > 0.99


@pytest.mark.parametrize("name", sorted(METALS))
def test_periods_of_the_waves_in_the_image(name):
    # half a Fermi wavelength: 1.45 nm on Cu(111), 3.88 on Ag(111), 1.74 on Au(111)
    flight = Steps(count=1, terrace_nm=10.0, wander_nm=0.0).flight(np.random.default_rng(0))
    _, made, _ = imaged(metal=METALS[name], size_nm=44.0, n=45, bias_V=0.002, flight=flight)
    x = np.linspace(2, 20, 901)
    profile = made.field.heights(x, 0 * x, made.log_setpoint)
    crests = x[1:-1][(profile[1:-1] > profile[:-2]) & (profile[1:-1] > profile[2:])]
    assert np.diff(crests).mean() == pytest.approx(second.METALS_111[name][4], rel=0.015)


def test_conductance_is_the_slope_of_the_current():
    # without a sharp onset in the window: dI/dV at V of I(V), the tip's density of states being flat
    members = {"co": placed(SCATTERERS["co"], [(0, 0), (9, 3)])}
    _, made, _ = imaged(members, bias_V=0.2)
    x, y = np.array([2.0, -1.5, 3.1]), np.array([0.3, -2.2, 2.0])
    above, below = (np.exp(made.maker.current(v).log_current(x, y, 0.55)) for v in (0.21, 0.19))
    slope = np.exp(made.maker.conductance(0.2).log_current(x, y, 0.55))
    np.testing.assert_allclose((above - below) / 0.02, slope, rtol=3e-3)


def test_herringbone():
    # pairs of ridges 6.3 nm apart across themselves, 20 pm high, two a period, the fcc side the wider
    pattern = Herringbone(wander_nm=0.0, direction_deg=90.0, domain_nm=40.0).pattern(np.random.default_rng(0))
    x, y = np.linspace(-40, 40, 16001), np.full(16001, 20.0)
    across = x * math.cos(math.radians(30))  # in the middle of a domain the ridges run at 30 degrees
    heights = pattern.heights(x, 0 * y + 0.0)
    ridges = across[1:-1][(heights[1:-1] > heights[:-2]) & (heights[1:-1] > heights[2:])]
    gaps = np.diff(ridges)
    np.testing.assert_allclose(
        gaps[::2] + gaps[1::2] if len(gaps) % 2 == 0 else gaps[:-1:2] + gaps[1::2], 6.3, rtol=0.01
    )
    assert sorted({round(gap, 1) for gap in gaps.tolist()}) == pytest.approx([0.38 * 6.3, 0.62 * 6.3], abs=0.1)
    assert heights.max() == pytest.approx(0.020, rel=1e-3)


def test_elbows_of_uneven_domains():
    # ridges at +-30 degrees between the elbows, whose distances have the asked mean and deviation; as high and as far
    # apart as with even ones; the same far away, whatever the window
    even, uneven = (Herringbone(wander_nm=0.0, domain_nm=14.0, domain_spread=spread) for spread in (0.0, 0.3))
    pattern = uneven.pattern(np.random.default_rng(3))
    gaps = np.diff(pattern.elbows_nm)
    assert gaps.mean() == pytest.approx(14.0, rel=0.1)  # 191 lengths: 0.3 / sqrt(191) is 2 %
    assert gaps.std() / 14.0 == pytest.approx(0.3, rel=0.2)
    middles = (pattern.elbows_nm[90:100] + pattern.elbows_nm[91:101]) / 2
    _, slope = terraces._elbows(middles, pattern.elbows_nm)
    long = gaps[90:100] > 8
    np.testing.assert_allclose(np.abs(slope[long]), math.tan(math.pi / 6), rtol=2e-3)  # tanh(4 / 0.9)
    assert (np.diff(np.sign(slope)) != 0).all()
    x, y = np.meshgrid(np.linspace(-30, 30, 301), np.linspace(-30, 30, 301))
    one, other = even.pattern(np.random.default_rng(3)).heights(x, y), pattern.heights(x, y)
    assert other.max() == pytest.approx(one.max(), rel=0.01)
    assert other.mean() == pytest.approx(one.mean(), rel=0.05)
    np.testing.assert_allclose(pattern.heights(x[100:200], y[100:200]), other[100:200], atol=1e-6)  # nm, of a table


def test_kinks_keep_an_edge_on_rows():
    # rows 0.25 nm apart: of an edge that wanders by much more, most is on one of them, never far from its curve
    smooth, kinked = (
        terraces.Steps(count=1, terrace_nm=10.0, wander_nm=1.5, wander_length_nm=10.0, row_nm=row_nm).flight(
            np.random.default_rng(5)
        )
        for row_nm in (0.0, 0.25)
    )
    along = np.linspace(-60, 60, 4801)
    places = [-flight.distances(np.zeros(4801), along)[0] for flight in (smooth, kinked)]
    slopes = [edge.curves[0].at(along) for edge in (smooth, kinked)]
    np.testing.assert_array_equal(slopes[0][0], slopes[1][0])
    wander = terraces._with_kinks(*slopes[1], 0.25)[0]
    assert np.abs(wander - slopes[0][0]).max() < 0.125  # half a row
    off = np.abs(wander / 0.25 - np.round(wander / 0.25))
    assert np.mean(off < 0.1) > 0.6  # of a curve without kinks a fifth
    assert np.abs(places[0]).max() < 20


def test_rows_of_atoms():
    # corrugation as asked for at the setpoint, highest over atoms, a (111) lattice; it falls as Tersoff and Hamann say
    _, made, _ = imaged(corrugation_pm=5.0, share=0.0, size_nm=3.0, n=41)
    atoms = np.argwhere(np.ones((3, 3))) @ CU.lattice.lattice_nm - CU.lattice.lattice_nm.sum(axis=0)
    hollow = CU.lattice.positions_nm[1, :2]
    for away_nm in (0.0, 0.1):
        level = made.log_setpoint - 2 * KAPPA * away_nm
        top = made.field.heights(*atoms.T, level)
        low = made.field.heights(*(atoms[:4] + hollow).T, level)
        decay = 2 * (math.sqrt(KAPPA**2 + (2 * math.pi / (math.sqrt(3) * 0.2556)) ** 2) - KAPPA)
        swing_pm = (top.mean() - low.mean()) * 1e3
        assert swing_pm == pytest.approx(5.0 * math.exp(-decay * away_nm), rel=0.04)  # atoms are seen from 3 pm higher
        assert np.ptp(top) < 1e-4


def test_a_double_tip_shows_everything_twice():
    second_apex = Tip(np.array([[1.5, 0, 0.0]]), POINT_TIP.at_eV, POINT_TIP.ldos_per_eV)
    _, made, _ = imaged({"a": placed(SCATTERERS["adatom"], [(0, 0)])}, tip=tips.joined([POINT_TIP, second_apex]))
    x, y = CU.lattice.positions_nm[2, :2]
    one, ghost, far = made.field.heights(np.array([x, x - 1.5, x + 3]), np.full(3, y), made.log_setpoint)
    assert ghost - far == pytest.approx(one - far, rel=0.05)
    assert one - far > 0.03


@pytest.mark.parametrize("turn_deg", [31.0, 45.0, 200.0])
def test_the_grid_may_be_turned(turn_deg):
    # a field belongs to the sample: the grid that it is tabulated on does not show
    blunt = Tip(
        np.array([[0.4, 0.3, 0], [-0.5, 0.1, 0.05], [0.1, -0.6, 0.1]]),
        POINT_TIP.at_eV,
        np.repeat(POINT_TIP.ldos_per_eV, 3, axis=0),
    )
    members = {"a": placed(SCATTERERS["adatom"], [(0, 0)]), "co": placed(SCATTERERS["co"], [(9, -3), (-8, 8)])}
    (_, straight, _), (_, turned, _) = (imaged(members, tip=blunt, size_nm=6.0, turn_deg=t) for t in (0.0, turn_deg))
    x, y = np.random.default_rng(0).uniform(-2.9, 2.9, (2, 400))
    heights = [made.field.heights(x, y, straight.log_setpoint) for made in (straight, turned)]
    assert np.percentile(np.abs(np.subtract(*heights)), 99) < 3e-4  # both within 0.2 pm of the truth


def test_atoms_of_a_ring_take_the_nearest_hollows():
    ring = Ring(n_atoms=15, diameter_nm=10.0, center_x_nm=0.3, center_y_nm=-0.7)
    cells = corral_cells(ring, CU.lattice, np.random.default_rng(0))
    places = cells @ CU.lattice.lattice_nm + CU.lattice.positions_nm[2, :2]
    away = np.hypot(*(places - (0.3, -0.7)).T)
    assert len(cells) == 15
    assert np.abs(away - 5.0).max() <= 0.2556 / math.sqrt(3) + 1e-9  # no point is farther from a site of the lattice


def drawn_scenes(name, n, **overrides):
    made = recipe.load(str(RECIPES / f"{name}.yaml"), [f"{k}={v}" for k, v in overrides.items()])
    columns = plan.draw(made, 0, n)
    for index in range(n):
        drawn = plan.parameters(made, columns, index)
        metal, band = METALS[made.material], SurfaceBand()
        path = tip_path(drawn.raster, drawn.instrument, streams=lambda _: np.random.default_rng(0))
        grid = surface_field.grid_over([path.lines_nm], 0.0, 0.5)
        yield drawn, grid, scenes.surface(made.seed, drawn, metal, band, grid, margin_nm=0.0)


def test_counts_are_poisson():
    density, counts, areas = 0.02, [], []
    options = {
        "sample.defects.co.density_per_nm2": density,
        "scan.pixels": 8,
        "scan.size_nm": 20,
        "scan.rotation_deg": 0,
    }
    for _, grid, scene in drawn_scenes("cu111-co", 200, **options):
        counts.append(len(scene.members["co"][1].cells))
        areas.append(np.ptp(grid.x_nm) * np.ptp(grid.y_nm))
    mean = density * np.mean(areas)
    assert np.mean(counts) == pytest.approx(mean, abs=4 * math.sqrt(mean / 200))
    assert np.var(np.array(counts) - density * np.array(areas)) / mean == pytest.approx(1, abs=0.4)  # 4 sqrt(2/200)


def test_a_sample_is_whole_and_the_same_alone(tmp_path):
    options = {
        "scan.pixels": 64,
        "scan.size_nm": 15,
        "sample.steps.terrace_nm": 6,
        "sample.defects.adatom.density_per_nm2": 0.02,
    }
    text = (RECIPES / "metal-steps.yaml").read_text().replace("extends: cu111-co", f"extends: {RECIPES}/cu111-co.yaml")
    (tmp_path / "r.yaml").write_text(text)
    made = stmfab.load(tmp_path / "r.yaml", overrides=options)
    both = made.samples(0, 3)
    alone = made.sample(2)
    for name, array in alone.items():
        np.testing.assert_array_equal(array, both[name][2], err_msg=name)
    assert set(np.unique(both["terraces"])) <= {0, 1, 2, 3, 4}
    assert np.isfinite(both["conductance"]).all()
    n = both["defect_count"]
    assert n.sum() > 0
    row, col, kind = (both[f"defect_{key}"] for key in ("row", "col", "kind"))
    inside = both["defect_in_view"] & (np.arange(row.shape[1]) < n[:, None])
    hits = [
        both["classes"][s, round(float(row[s, i])), round(float(col[s, i]))] == kind[s, i] + 1
        for s, i in np.argwhere(inside)
        if 0 <= round(float(row[s, i])) < 64 and 0 <= round(float(col[s, i])) < 64
    ]
    assert np.mean(hits) > 0.9  # two within each other's reach share pixels


def test_a_corral_moves_nothing_else():
    base = [scene.members["stray"][1].cells for _, _, scene in drawn_scenes("ag111-corrals", 6)]
    extra = {"sample.corrals.line": "{kind: line, n_atoms: 7, diameter_nm: 5}"}
    for before, (_, _, scene) in zip(base, drawn_scenes("ag111-corrals", 6, **extra), strict=True):
        np.testing.assert_array_equal(before, scene.members["stray"][1].cells)
        assert len(scene.members["corrals.line"][1].cells) in (6, 7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["sample.kind=metal"], "sample.kind: unknown kind: found the text 'metal'"),
        (["sample.material=fe-110"], "sample.material: unknown material 'fe-110'"),
        (["sample.herringbone={}"], "sample.herringbone: cu-111 does not reconstruct; legal: with au-111"),
        (["sample.kind=tight-binding"], "sample.material: missing; legal: one of wse2-s"),
        (["targets.classes.kind=class"], "targets.classes.kind: unknown kind: found the text 'class'"),
        (["sample.defects.co.site=bridge"], "sample.defects.co.site: unknown site 'bridge' of cu-111"),
    ],
)
def test_mistakes_are_told(options, message):
    with pytest.raises(RecipeError, match=message.replace("(", r"\(")):
        recipe.load(str(RECIPES / "cu111-co.yaml"), options)


def test_a_wandering_edge_is_its_sum_of_waves():
    # the table of a curve, straight between its nodes, against the sum; the slope is its derivative
    drawn = curve(0.8, 9.0, np.random.default_rng(4))
    along = np.random.default_rng(5).uniform(-60, 60, (20, 30))
    angles = drawn.numbers_per_nm * along[..., None] + drawn.phases
    value, slope = drawn.at(along)
    np.testing.assert_allclose(value, (drawn.amplitudes_nm * np.sin(angles)).sum(axis=-1), atol=1e-4)
    expected = (drawn.amplitudes_nm * drawn.numbers_per_nm * np.cos(angles)).sum(axis=-1)
    np.testing.assert_allclose(slope, expected, atol=1e-4)
    assert np.sqrt((drawn.amplitudes_nm**2 / 2).sum()) == pytest.approx(0.8)
    assert [part.shape for part in drawn.at(np.zeros(0))] == [(0,), (0,)]


def test_a_corral_of_no_atom_is_no_corral():
    for kind in (Ring, Line, Cluster):
        cells = corral_cells(kind(n_atoms=0, diameter_nm=5.0), CU.lattice, np.random.default_rng(0))
        assert cells.shape == (0, 2)
