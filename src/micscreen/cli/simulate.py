"""`micscreen simulate`: micrographs with known truth."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from micscreen.cli.options import choose_verbosity, verbosity_options
from micscreen.cli.vocabulary import SIMULATED_KINDS
from micscreen.errors import UsageError


@click.command("simulate")
@click.option(
    "--output", "-o", required=True, type=click.Path(path_type=Path), metavar="DIR",
    help="Folder for images, labels, particles, picks and truth.csv; what is there is kept.",
)  # fmt: skip
@click.option("--number", "-n", type=int, default=8, show_default=True, help="Of micrographs.")
@click.option(
    "--kind", "kinds", multiple=True, type=click.Choice(SIMULATED_KINDS), default=("mixed",),
    show_default=True, help="What is in them; may be given several times, and is taken in turns.",
)  # fmt: skip
@click.option(
    "--size", default="4096x4096", show_default=True, metavar="WxH", help="Of a micrograph, px."
)
@click.option(
    "--box-size", "-b", type=float, default=200.0, show_default=True, metavar="PX",
    help="Particle box; particles have a third to all of it.",
)  # fmt: skip
@click.option("--pixel-size", type=float, default=1.0, show_default=True, metavar="Å", help="Å/px.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides everything.")
@click.option(
    "--format", type=click.Choice(["mrc", "tif"]), default="mrc", show_default=True,
    help="Of the micrographs, float32.",
)  # fmt: skip
@verbosity_options
def command(**options: Any) -> int:
    """Simulate micrographs: images, class maps and particles together, from a seed.

    The folder is one that `micscreen evaluate` and `micscreen train` take.
    """
    from micscreen.cli.progress import open_bar
    from micscreen.simulated import SimulateSettings, simulate_folder

    found = re.fullmatch(r"(\d+)\s*[xX,]\s*(\d+)", options["size"])
    if not found:
        raise UsageError(f"not a size: {options['size']}", where="--size", hint="as in 4096x4096")
    settings = SimulateSettings(
        output=options["output"],
        number=options["number"],
        kinds=tuple(options["kinds"]),
        shape=(int(found[2]), int(found[1])),
        box_size=options["box_size"],
        pixel_size=options["pixel_size"],
        seed=options["seed"],
        format=options["format"],
    )
    verbosity = choose_verbosity(options)
    with open_bar(verbosity, "simulating micrographs") as told:
        table = simulate_folder(settings, told)
    if verbosity != "quiet":
        click.echo(table)
    return 0
