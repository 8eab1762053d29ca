"""The package as users install it: a wheel holds the recipes, tables and scripts, an editable install finds them."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROGRAM = """
import stmfab
recipe = stmfab.load("wse2-demo", overrides={"scan.pixels": 16})
assert recipe.sample(0)["topography"].shape == (16, 16)
print(stmfab.__file__)
"""


def run(folder, **environment):
    """Where stmfab comes from in a fresh interpreter that starts outside the checkout."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM],
        cwd=folder,
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    return Path(done.stdout.strip())


def take_over_compiled(site):
    """Give the kernels of a copy the machine code of the checkout: numba goes by the time of their last change."""
    for kernels in ROOT.glob("stmfab/**/*_kernels.py"):
        copy = site / kernels.relative_to(ROOT)
        os.utime(copy, ns=(kernels.stat().st_atime_ns, kernels.stat().st_mtime_ns))
        (copy.parent / "__pycache__").mkdir(exist_ok=True)
        for compiled in (kernels.parent / "__pycache__").glob(f"{kernels.stem}.*.nb[ci]"):
            shutil.copy(compiled, copy.parent / "__pycache__")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("stmfab", "recipes"):
        (source / name).symlink_to(ROOT / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_a_wheel_works_away_from_the_checkout(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    take_over_compiled(tmp_path / "site")
    assert run(tmp_path, PYTHONPATH=str(tmp_path / "site")).is_relative_to(tmp_path)


def test_a_wheel_holds_every_module_recipe_and_script(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "stmfab").rglob("*.py")}
    recipes = {f"stmfab/recipes/{path.name}" for path in (ROOT / "recipes").glob("*.yaml")}
    scripts = {f"stmfab/cluster/{path.name}" for path in (ROOT / "stmfab" / "cluster").glob("*.sh")}
    assert len(scripts) == 2
    assert modules | recipes | scripts | {"stmfab/physics/tungsten.npz"} <= held


def test_an_editable_install_finds_the_recipes(tmp_path):
    assert run(tmp_path) == ROOT / "stmfab" / "__init__.py"
