"""What the README shows is what the program does: its recipes, its commands, its list of built-in recipes."""

import re
from pathlib import Path

import pytest
import yaml

from stmfab import cli, recipe

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
WHOLE = [block for block in BLOCKS if {"name", "seed"} <= (yaml.safe_load(block) or {}).keys()]


def test_the_recipe_that_is_explained_line_by_line_is_the_built_in_one(tmp_path):
    explained = next(block for block in WHOLE if yaml.safe_load(block)["name"] == "wse2-defects")
    (tmp_path / "explained.yaml").write_text(explained)
    assert recipe.load(str(tmp_path / "explained.yaml")).tree == recipe.load("wse2-defects").tree
    lines = [line for line in explained.splitlines() if line.strip()]
    assert sum("#" in line for line in lines) > len(lines) / 3  # and it is explained


@pytest.mark.parametrize("block", WHOLE, ids=lambda block: yaml.safe_load(block)["name"])
def test_every_recipe_shown_is_legal(block, tmp_path):
    (tmp_path / "shown.yaml").write_text(block)
    recipe.load(str(tmp_path / "shown.yaml"))


@pytest.mark.parametrize("command", sorted(cli.cli.commands))
def test_every_command_is_in_the_readme(command):
    assert f"stmfab {command}" in README
