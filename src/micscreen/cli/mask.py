"""`micscreen mask`: masks alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from micscreen.cli.options import (
    choose_verbosity,
    compute_options,
    model_options,
    verbosity_options,
    windows_option,
)
from micscreen.cli.vocabulary import MASK_FORMATS


@click.command("mask")
@click.argument("micrographs", nargs=-1, required=True)
@click.option("--box-size", "-b", type=float, required=True, metavar="PX", help="Particle box, px.")
@click.option(
    "--output", "-o", required=True, type=click.Path(path_type=Path), metavar="DIR",
    help="Folder of the masks; masks that are there already are kept.",
)  # fmt: skip
@click.option(
    "--mask-size", type=click.Choice(["model", "full"]), default="full", show_default=True,
    help="As predicted, or enlarged to the micrograph.",
)  # fmt: skip
@click.option(
    "--mask-format", type=click.Choice(MASK_FORMATS), default="mrc", show_default=True,
    help="Contamination in [0, 1]: float32 in npy, mrc and tif, 8 bit in png.",
)  # fmt: skip
@click.option("--classes", is_flag=True, help="Write the class map beside it, <name>_classes.")
@click.option("--pixel-size", type=float, metavar="Å", help="Of the micrographs.")
@click.option(
    "--contrast", type=click.Choice(["auto", "dark", "bright"]), default="auto",
    show_default=True, help="Particles dark on bright, or bright on dark.",
)  # fmt: skip
@click.option(
    "--tiff-flip/--no-tiff-flip", default=True, show_default=True,
    help="Read and write TIFF rows bottom-up, as RELION, IMOD and EMAN2 do.",
)  # fmt: skip
@model_options
@windows_option
@compute_options
@verbosity_options
def command(**options: Any) -> int:
    """Predict the contamination of MICROGRAPHS and write it as masks, 0 good to 1 bad."""
    from micscreen.cli.progress import open_bar
    from micscreen.cli.summary import print_listed
    from micscreen.model.backend import open_backend
    from micscreen.run.engine import ThreadEngine, core_count
    from micscreen.run.masks import MaskResult, MaskSettings, predict_masks
    from micscreen.run.settings import ComputeSettings

    verbosity = choose_verbosity(options)
    compute = ComputeSettings(options["device"], options["threads"], options["batch_size"])
    settings = MaskSettings(
        micrographs=tuple(options["micrographs"]),
        output=options["output"],
        box_size=options["box_size"],
        pixel_size=options["pixel_size"],
        mask_size=options["mask_size"],
        mask_format=options["mask_format"],
        classes=options["classes"],
        contrast=options["contrast"],
        tiff_flip_y=options["tiff_flip"],
        model=options["model"],
        windows=options["windows"],
    )
    backend = open_backend(settings.model, device=compute.device, threads=1)
    engine = ThreadEngine(compute.threads or core_count(), compute.batch_size)
    failed: list[tuple[str, str]] = []
    with open_bar(verbosity) as advance:

        def tell(result: MaskResult, done: int, total: int) -> None:
            if result.problem is not None:
                failed.append((result.name, result.problem))
            if verbosity == "json":
                record = {"event": "micrograph", "name": result.name, "done": done, "total": total}
                record |= {"contamination": result.contamination, "reason": result.problem}
                click.echo(json.dumps(record | {"warnings": list(result.notes)}))
            advance(done, total)
            if verbosity == "verbose":
                for note in result.notes:
                    click.echo(f"{result.name}: {note}", err=True)

        written, _, interrupted = predict_masks(settings, backend, engine, tell)
    if verbosity != "json":
        click.echo(f"{written} masks written to {settings.output}")
    print_listed("failed", failed)
    return 130 if interrupted else 3 if failed else 0
