"""The command ``explore``: a page on this machine, with a slider or a menu for every key of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import _threads  # noqa: F401  before anything imports numpy
from ._signals import interruptible
from .errors import DiskError
from .options import plan_or_stored

if TYPE_CHECKING:
    from .plan import Plan
    from .server import Answers, Left, PageServer

PAGE = "explore.html"
FILES = (PAGE, "explore.css", "explore.js")
EXAMPLES = """
\b
Examples:
  stmfab explore wse2-demo
  stmfab explore my.yaml --sample 7 --open
  stmfab explore wse2-demo --port 8000
  (and from afar: ssh -L 8000:127.0.0.1:8000 HOST)
"""


@click.command(epilog=EXAMPLES)
@click.argument("recipe")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key of the recipe.")
@click.option("--seed", type=int, help="Another seed.")
@click.option("--sample", type=click.IntRange(min=0), default=0, help="The sample to begin with.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1  [default: a free one].")
@click.option("--open", "browser", is_flag=True, help="Open the page in the default browser.")
def explore(recipe: str, overrides: tuple[str, ...], seed: int | None, sample: int, port: int, browser: bool) -> int:
    """Serve a page on which a sample follows the hand: every key of a recipe, its images, spectra and loop.

    It is served to this machine only, at the address printed. RECIPE may also be a store. Recipes saved on the page
    are written to this folder. Ctrl-C ends it.
    """
    plan = plan_or_stored(recipe, seed, overrides)
    from .sample import prepare
    from .server import PageServer, packaged

    prepare(plan)
    try:
        server = PageServer(port, page=PAGE, files=packaged(*FILES), answers=answers(plan, sample, Path.cwd()))
    except OSError as error:
        raise DiskError(f"--port {port}: {error.strerror}") from error
    with server, interruptible():
        _serve(server, plan.name, browser=browser)
    return 0


def _serve(server: PageServer, name: str, *, browser: bool) -> None:
    """Say where the page is, and answer until Ctrl-C."""
    try:
        click.echo(f"{name}: open {server.address}")
        click.echo("next: move a slider; Ctrl-C ends it")
        if browser:
            click.launch(server.address)
        server.serve_forever(poll_interval=0.1)
    except KeyboardInterrupt:
        click.echo("stopped")


def answers(plan: Plan, first: int, folder: Path) -> Answers:
    """Return the answers to the questions of the page, by name; saved recipes go to a folder."""
    from functools import lru_cache

    from . import explore, glances, held

    memory = glances.Memory()
    still = lru_cache(maxsize=8)(lambda index: held.hold(plan, index))

    def asked(request: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        return still(explore.index_of(request.get("sample", first))), explore.changes_of(request.get("values", {}))

    def form(request: Mapping[str, Any], left: Left) -> dict[str, Any]:
        return {**explore.form(*asked(request)), "sample": request.get("sample", first)}

    def picture(request: Mapping[str, Any], left: Left) -> dict[str, Any] | None:
        glance = request.get("glance")
        return explore.looked(*asked(request), memory, glance=None if glance is None else str(glance), left=left)

    def save(request: Mapping[str, Any], left: Left) -> dict[str, Any]:
        return explore.save(*asked(request), name=str(request.get("name", "")), folder=folder)

    return {"form": form, "picture": picture, "save": save}
