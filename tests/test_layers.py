"""Imports run one way, and each heavy library lives in one place: the tables below, read with ``ast``."""

import ast
import functools
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "stmfab"
FILES = sorted(ROOT.rglob("*.py"))

# Inner modules first; a module may import only modules of its own row and of the rows before it.
LAYERS = (
    (
        "physics",
        "errors",
        "_threads",
        "_signals",
        "_streams_kernels",
        "streams",
        "expressions",
        "distributions",
        "forms",
        "conditions",
    ),
    ("parts", "shifts", "specs", "parameters", "joints", "plan", "keeping", "splits", "conventions"),
    ("provenance", "place", "scratch", "tables", "bucket", "layout", "receipts", "progress"),
    ("recipe", "scenes", "labels", "compiling", "sample", "coded", "metadata", "store"),
    ("verify", "text", "statistics", "growth", "dataset", "failures", "upkeep", "workers", "held", "ranges", "glances"),
    ("factory", "dask_engine", "report", "compare", "recheck", "lettering", "gallery", "loaded", "drawing"),
    ("torch", "export", "survey", "report_html", "explore", "server"),
    ("options", "previewing", "exploring", "inspecting", "exporting", "cli", "__init__"),
)
# In pipeline order: a physics module imports only those before it, and its own file of kernels.
PHYSICS = """
    compiled stages units keys arrays materials tables structure contours changes greens defects guests placement
    tungsten tungsten_spd tips field switches
    junction barrier current halos bumps adatoms incoherent lobes coherent_guests heard
    coherent green_tables coherent_scene conductance coherent_field crystal coherent_spectra spectra
    metals scattering terraces scatterers surface_state surface_grid surface_field
    ledges orbitals site_edits dimer_defects site_defects
    orbital_units orbital_scene orbital_lobes orbital_figures orbital_field orbital_image
    white spectrum noise piezo instrument motions path loop scan constant_height levelling instances targets
    point_targets step_lines unit_labels table_targets defect_targets
""".split()

HOME = {
    "click": {"cli", "exploring", "exporting", "inspecting", "options", "previewing"},
    "yaml": {"recipe"},
    "pydantic": {"recipe"},
    "zarr": {"metadata", "store"},
    "numcodecs": {"layout"},
    "google_crc32c": {"layout", "tables"},
    "obstore": {"bucket"},
    "joblib": {"compiling", "workers"},
    "distributed": {"dask_engine"},
    "tqdm": {"progress"},
    "matplotlib": set(),
    "xarray": {"dataset", "__init__"},  # there for type checkers only
    "pandas": set(),
    "torch": {"torch"},
    "h5py": {"export"},
    "pyarrow": {"export"},
    "PIL": {"export", "lettering"},
}
PHYSICS_MAY = {"numpy", "scipy", "numba"}


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).with_suffix("").parts[0]


@functools.cache
def imports(file: Path) -> set[str]:
    """Absolute dotted names of everything a file imports, wherever in the file."""
    package = ["stmfab", *file.relative_to(ROOT).parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def row(module: str) -> int:
    return next(place for place, names in enumerate(LAYERS) if module in names)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_module_has_its_row_and_imports_only_inwards(file):
    own = name_of(file)
    known = {name for names in LAYERS for name in names}
    for dotted in imports(file):
        head, *rest = dotted.split(".")
        if head != "stmfab" or not rest or own == "__init__":
            continue
        inner = rest[0] if rest[0] in known else None
        assert inner is not None, f"{own} imports {dotted}, which has no row in LAYERS"
        assert row(inner) <= row(own), f"{own} imports {inner}, a layer further out"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_each_heavy_library_is_imported_in_one_place(file):
    for dotted in imports(file):
        library = dotted.split(".")[0]
        assert name_of(file) in HOME.get(library, {name_of(file)}), f"{library} belongs to {HOME[library]}"
        assert not dotted.startswith("scipy.stats"), "scipy.stats costs 650 ms at import"


@pytest.mark.parametrize("file", sorted((ROOT / "physics").rglob("*.py")), ids=lambda file: file.stem)
def test_physics_needs_numpy_scipy_numba_and_the_stages_before_it(file):
    stage = file.relative_to(ROOT / "physics").with_suffix("").parts[0]
    before = (*PHYSICS[: PHYSICS.index(stage)], stage) if stage in PHYSICS else ()
    for dotted in imports(file):
        head, *rest = dotted.split(".")
        if head != "stmfab":
            assert head in PHYSICS_MAY | sys.stdlib_module_names, f"physics imports {dotted}"
            continue
        assert rest[0] == "physics", f"physics imports {dotted}"
        kernels = file.stem.endswith("_kernels")
        assert not kernels or rest[1] == "compiled", "numba's cache would not see edits in another file"
        assert kernels or rest[1] in (*before, f"_{file.stem}_kernels"), f"{stage} imports {rest[1]}, a later stage"


def test_no_module_is_longer_than_400_lines():
    # but a file of kernels: numba's cache does not see edits behind a call into another file, so it cannot be split
    limits = {file: 500 if file.name.endswith("_kernels.py") else 400 for file in FILES}
    assert {file.name: n for file in FILES if (n := len(file.read_text().splitlines())) > limits[file]} == {}
