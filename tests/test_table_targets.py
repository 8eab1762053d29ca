"""Tables of dimers and lines of steps: counts per area, turned rows, edges where the map of terraces changes."""

import json
import tarfile
import warnings

import numpy as np
import pytest
from scipy import ndimage, spatial

import stmfab
from stmfab import cli, store
from stmfab.errors import RecipeError
from stmfab.place import Folder
from tests import second_reading as second

KINDS = {"units": "dimer_table", "edges": "step_lines", "map": "terraces", "at": "path"}
ROWS = """
name: rows
samples: 4
seed: 11
scan: {pixels: 96, size_nm: 16, rotation_deg: {uniform: [0, 360]}}
sample:
  kind: local-orbitals
  material: si001-h
tip: {apex: w111}
junction: {work_function_eV: 4.6, current_nA: 0.05, bias_V: -2}
channels: [topography]
targets: {ideal: {kind: ideal}}
"""
STEPS = "{count: 3, terrace_nm: 4, direction_deg: {uniform: [0, 360]}}"
SHEARED = {"instrument.drift": "{kind: linear, x_nm_per_min: 2, y_nm_per_min: 3}"}
WHOLE, BROKEN, MISSING = range(3)


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "rows.yaml"
    path.write_text(ROWS)

    def made(first, stop, kinds=KINDS, **more):
        targets = {f"targets.{name}": f"{{kind: {kind}}}" for name, kind in kinds.items()}
        overrides = {**targets, **{name.replace("__", "."): value for name, value in more.items()}}
        return stmfab.load(path, overrides=overrides).samples(first, stop)

    return made


def table(arrays, name, index):
    """The filled rows of a table of a sample, by column."""
    count = arrays[f"{name}_count"][index]
    own = [key for key in arrays if key.startswith(f"{name}_") and key != f"{name}_count"]
    return {key.removeprefix(f"{name}_"): arrays[key][index][:count] for key in own}


def places(rows):
    return np.stack([rows["x_nm"], rows["y_nm"]], axis=1)


@pytest.fixture(scope="module")
def stepped(make):
    return make(0, 3, sample__steps=STEPS, **SHEARED)


@pytest.mark.parametrize("material", ["si001-h", "tio2-110"])
def test_units_are_as_dense_as_published_and_lie_in_rows(make, material):
    along_nm, across_nm, _, per_nm2 = second.ROWS[material]
    found = make(0, 1, {"units": "dimer_table"}, sample__material=material)
    units = table(found, "units", 0)
    inside = [(-0.5 <= units[key]) & (units[key] < 95.5) for key in ("row", "col")]
    # rows cut by the frame's rim: some tens of units more or less along 4 x 16 nm
    assert np.count_nonzero(inside[0] & inside[1]) == pytest.approx(per_nm2 * 16**2, rel=0.03)
    points = places(units)
    away_nm, nearest = spatial.cKDTree(points).query(points, k=2)
    np.testing.assert_allclose(away_nm[:, 1], along_nm, rtol=2e-3)
    x, y = (points[nearest[:, 1]] - points).T
    np.testing.assert_allclose(np.mod(np.degrees(np.arctan2(y, x)) - units["rows_deg"], 180) % 180, 0, atol=1e-6)
    # along and across number them: places are those numbers times the periods, but for where the frame is
    numbered = np.stack([units["along"] * along_nm, units["across"] * across_nm], axis=1)
    assert np.ptp(points - numbered, axis=0) == pytest.approx(0, abs=2e-3 * 16)


def test_rows_turn_at_every_single_step(stepped):
    turned = 0
    for index in range(3):
        units, edges = table(stepped, "units", index), table(stepped, "edges", index)
        assert set(units["terrace"]) == set(np.unique(stepped["map"][index]))
        for terrace in np.unique(units["terrace"]):
            (direction,) = set(units["rows_deg"][units["terrace"] == terrace])
            assert direction == 90 * (terrace % 2)
        inner = edges["upper"] >= 0
        np.testing.assert_array_equal(edges["upper"][inner] - edges["lower"][inner], 1)
        turned += np.count_nonzero(inner)
        ways = np.diff(places(edges), axis=0)[inner[:-1]]
        along_x = np.abs(ways[:, 0]) > np.abs(ways[:, 1])
        upper_along_x = edges["upper"][inner] % 2 == 0
        np.testing.assert_array_equal(edges["along_rows"][inner] == 1, along_x == upper_along_x)
        assert np.abs(ways).min(axis=1).max() < 1e-9  # along the lattice
        # whole dimers: two cells; only where the frame cuts a line it is one
        cells = np.abs(ways).max(axis=1) / 0.384
        np.testing.assert_allclose(cells, np.rint(cells), atol=1e-6)
    assert turned > 50


def test_units_are_where_the_path_says(stepped):
    for index in range(3):
        units = table(stepped, "units", index)
        at = np.stack([units["row"], units["col"]])
        inner = ((at > 1) & (at < 94)).all(axis=0)
        for axis in "xy":
            there = ndimage.map_coordinates(stepped[f"at_{axis}_nm"][index], at[:, inner], order=1)
            np.testing.assert_allclose(there, units[f"{axis}_nm"][inner], atol=0.01)  # jitter there is none


def sides(edges, image, away):
    """The numbers of an image that far to the left and to the right of the middles of edges inside it, and theirs."""
    at = np.stack([edges["col"], edges["row"]], axis=1)  # x to the right, y upwards
    ways = np.diff(at, axis=0)
    lengths = np.hypot(*ways.T)
    inner = np.flatnonzero((edges["upper"][:-1] >= 0) & (lengths > 0))
    aside = np.stack([-ways[inner, 1], ways[inner, 0]], axis=1) / lengths[inner, None]
    middles = (at[:-1] + at[1:])[inner] / 2
    both = [np.rint(middles + sign * away * aside).astype(int) for sign in (1, -1)]
    seen = np.logical_and.reduce([((there >= 0) & (there < len(image))).all(axis=1) for there in both])
    (left, right), inner = ([there[seen] for there in both], inner[seen])
    return image[left[:, 1], left[:, 0]], image[right[:, 1], right[:, 0]], edges["upper"][inner], edges["lower"][inner]


def beside_edges(edges, shape):
    """How far the pixels are from the nearest edge, in pixels."""
    at = np.stack([edges["row"], edges["col"]], axis=1)
    going = np.flatnonzero(edges["upper"] >= 0)
    share = np.linspace(0, 1, 41)[:, None, None]
    points = (at[going] * (1 - share) + at[going + 1] * share).reshape(-1, 2)
    away, _ = spatial.cKDTree(points).query(np.moveaxis(np.indices(shape), 0, -1))
    return away


def on_edges(arrays, index, away, right_share):
    """Hold the lines of a sample against its map of terraces, both ways; the number of edges judged."""
    edges, image = table(arrays, "edges", index), arrays["map"][index].astype(int)
    left, right, upper, lower = sides(edges, image, away)
    assert np.mean((left == upper) & (right == lower)) >= right_share
    changes = np.zeros(image.shape, dtype=bool)
    changes[:-1] |= image[:-1] != image[1:]
    changes[:, :-1] |= image[:, :-1] != image[:, 1:]
    assert beside_edges(edges, image.shape)[changes].max() < 1.5  # between this pixel and the next one
    return len(left)


def test_lines_lie_where_the_terraces_change(stepped):
    # kinks are 4 pixels long: a pixel and a half beside the middle of an edge can be past the next kink
    assert sum(on_edges(stepped, index, 1.0, 0.97) for index in range(3)) > 50


def test_lines_of_a_metal_lie_where_the_terraces_change(make):
    found = make(
        0,
        2,
        {key: kind for key, kind in KINDS.items() if key != "units"},
        sample="{kind: surface-state, material: ag-111, steps: {count: 3, terrace_nm: 3, wander_nm: 0.6}}",
        junction__bias_V=0.1,
        **SHEARED,
    )
    assert "edges_along_rows" not in found
    for index in range(2):
        assert on_edges(found, index, 1.0, 0.97) > 100
        edges = table(found, "edges", index)
        steps_nm = np.linalg.norm(np.diff(places(edges), axis=0), axis=1)[edges["upper"][:-1] >= 0]
        assert 0.2 - 1e-9 <= steps_nm.min()
        assert steps_nm.max() < 0.4  # nm: as steep as such an edge gets


def test_an_island_is_a_closed_line_around_turned_rows(make):
    hole = "{hole: {kind: island, density_per_nm2: 0.004, length_nm: 4, width_nm: 3}}"
    found, closed = make(0, 4, sample__defects=hole), 0
    for index in range(4):
        edges = table(found, "edges", index)
        for line in np.unique(edges["line"]):
            points = places(edges)[edges["line"] == line]
            if not np.array_equal(points[0], points[-1]):
                continue  # cut by the frame
            x, y = points.T
            area_nm2 = (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2
            assert area_nm2 < 0  # the hole is on the right
            if len(points) == 5:  # no other island in it: whole dimers, as near to 4 by 3 nm as they come
                assert sorted(np.ptp(points, axis=0)) == pytest.approx([3, 4], abs=0.77)
            closed += 1
        if len(edges["line"]):
            on_edges(found, index, 1.0, 0.97)
    assert closed >= 2


def test_states_are_those_that_the_defects_leave(make):
    defects = (
        "{gone: {kind: vacancy, density_per_nm2: 0.01, length: 3, half_filled: 0, min_distance_nm: 3},"
        " bond: {kind: dangling_bond, density_per_nm2: 0.02, min_distance_nm: 3}}"
    )
    found = make(0, 4, {"units": "dimer_table"}, sample__defects=defects)
    counted = {MISSING: 0, BROKEN: 0}
    for index in range(4):
        units, count = table(found, "units", index), found["defect_count"][index]
        for slot in range(count):
            name, row, col = (found[f"defect_{key}"][index, slot] for key in ("name", "row", "col"))
            if not (6 < min(row, col) and max(row, col) < 89):
                continue
            centre = np.array([found[f"defect_{axis}_nm"][index, slot] for axis in "xy"])
            near = np.linalg.norm(places(units) - centre, axis=1) < 0.6
            state, asked = (BROKEN, 1) if name == 0 else (MISSING, 3)
            assert np.count_nonzero(units["state"][near] == state) == asked
            if name == 1:
                along = np.sort(units["along"][near & (units["state"] == MISSING)])
                np.testing.assert_array_equal(np.diff(along), 1)
            counted[state] += 1
    assert min(counted.values()) >= 2


@pytest.mark.parametrize(("domain", "phase"), [("c4x2", 1), ("p2x2", 0)])
def test_buckled_dimers_take_turns_and_the_upper_atom_is_bright(make, domain, phase):
    buckling = "{c4x2: 0, p2x2: 0, phase_nm: 10, " + f"{domain}: 1}}"
    found = make(
        0,
        1,
        {"units": "dimer_table"},
        sample__material="ge001",
        sample__buckling=buckling.replace(f"{domain}: 0, ", ""),
        sample__surface="{disorder_percent: 0}",
        scan__size_nm=8,
        scan__rotation_deg=0,
    )
    units = table(found, "units", 0)
    assert set(units["domain"]) == {2 if domain == "c4x2" else 1}
    upper = {
        (along, across): way
        for along, across, way in zip(units["along"], units["across"], units["buckling"], strict=True)
    }
    beside = [upper[u, v] != upper[u + 1, v] for u, v in upper if (u + 1, v) in upper]
    across = [upper[u, v] != upper[u, v + 1] for u, v in upper if (u, v + 1) in upper]
    assert np.mean(beside) > 0.9  # but where the phase changes
    assert abs(np.mean(across) - phase) < 0.1
    split = 0.13 / 8 * 96  # pixels from the middle of a dimer to an atom; rows run along x, atoms lie along y
    at = np.stack([units["row"], units["col"]])
    inner = ((at > 3) & (at < 92)).all(axis=0)
    image = found["ideal"][0]
    high, low = (
        ndimage.map_coordinates(image, at[:, inner] + np.array([[sign * split], [0]]), order=1) for sign in (1, -1)
    )
    np.testing.assert_array_equal(high > low, units["buckling"][inner] == 1)


def test_nothing_else_changes_and_what_is_not_asked_is_not_there(make):
    plain, more = make(0, 1, {}, sample__steps=STEPS), make(0, 1, sample__steps=STEPS)
    for name in plain.keys() - {"param"}:
        np.testing.assert_array_equal(plain[name], more[name])
    assert plain.keys() == {"topography", "ideal", "param", "pixel_size_nm"}
    alone = make(1, 2, sample__steps=STEPS)["units_x_nm"]
    np.testing.assert_array_equal(alone, make(0, 2, sample__steps=STEPS)["units_x_nm"][1:])


@pytest.mark.parametrize("kinds", [{"units": "dimer_table", "units_row": "ideal"}, {"y": "step_lines"}])
def test_names_that_a_table_takes_are_told(make, kinds):
    with pytest.raises(RecipeError, match="the name of another array"):
        make(0, 1, kinds)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    (folder / "rows.yaml").write_text(ROWS.replace("pixels: 96, size_nm: 16", "pixels: 32, size_nm: 8"))
    settings = ["targets.units={kind: dimer_table}", "targets.edges={kind: step_lines}", f"sample.steps={STEPS}"]
    settings += ["junctions={empty: {bias_V: 2, offset_x_nm: 1}, filled: {bias_V: -2}}"]
    words = [word for setting in settings for word in ("--set", setting)]
    out = folder / "rows.zarr"
    assert cli.run(["generate", str(folder / "rows.yaml"), str(out), "-n", "2", "-j", "1", *words]) == 0
    return out


def test_a_store_with_tables_opens_without_a_warning(place):
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = xarray.open_zarr(place)
    assert dataset["units_row"].dims == ("sample", "junction", "units")
    assert dataset["units_state"].attrs["flag_meanings"] == "whole broken missing"
    counts = dataset["edges_count"].to_numpy()
    there = np.arange(dataset.sizes["edges"]) < counts[..., None]
    np.testing.assert_array_equal(np.isfinite(dataset["edges_x_nm"].to_numpy()), there)
    np.testing.assert_array_equal(dataset["edges_line"].to_numpy() >= 0, there)
    # the scans are 1 nm apart: the same dimer is in other columns of theirs
    shift = [place_of(dataset, "col", way).mean() - place_of(dataset, "col", 1 - way).mean() for way in (0, 1)]
    assert abs(shift[0]) == pytest.approx(4, abs=0.1)  # pixels of 0.25 nm


def place_of(dataset, column, junction):
    """A column of the dimers of the first sample that both junctions list, in the order of their numbers."""
    tables = []
    for own in (junction, 1 - junction):
        rows = dataset.isel(sample=0, junction=own)
        count = int(rows["units_count"])
        keys = [rows[f"units_{key}"].to_numpy()[:count].tolist() for key in ("rows_deg", "across", "along", column)]
        tables.append({tuple(key): value for *key, value in zip(*keys, strict=True)})
    return np.array([tables[0][key] for key in sorted(tables[0].keys() & tables[1].keys())])


def test_tables_are_in_what_is_exported(place, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    opened = store.open_store(Folder(place))
    counts = store.read(opened, "units_count", 0, 2)
    for to in ("webdataset", "parquet"):
        assert cli.run(["export", str(place), str(tmp_path / to), "--to", to]) == 0
    for archive in (tmp_path / "webdataset").rglob("*.tar"):
        with tarfile.open(archive) as tar:
            for name in (name for name in tar.getnames() if name.endswith(".json")):
                words = json.load(tar.extractfile(name))
                found = words["tables"]
                assert found.keys() == {"units.empty", "units.filled", "edges.empty", "edges.filled"}
                assert [len(found[f"units.{own}"]) for own in ("empty", "filled")] == counts[words["sample"]].tolist()
                assert found["units.filled"][0]["state"] == "whole"
                assert found["units.filled"][0]["buckling"] is None  # none of silicon's buckles
    for file in (tmp_path / "parquet").rglob("*.parquet"):
        rows = parquet.read_table(file).to_pylist()
        for row in rows:
            assert len(row["units_state.filled"]) == counts[row["sample"], 1]
