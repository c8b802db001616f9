"""`micscreen screen`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from micscreen.cli.options import (
    choose_verbosity,
    choose_watch,
    compute_options,
    dask_option,
    events_option,
    model_options,
    verbosity_options,
    watch_options,
    windows_option,
)
from micscreen.cli.vocabulary import COORDINATE_FORMATS, MASK_FORMATS, THRESHOLD_HELP
from micscreen.run.settings import (
    ComputeSettings,
    InputSettings,
    OutputSettings,
    ScoreSettings,
    ScreenSettings,
)


@click.command("screen")
@click.argument("micrographs", nargs=-1, required=True)
@click.option(
    "--coordinates", "-c", multiple=True, required=True, metavar="PATH",
    help="Coordinate file, folder or glob pattern; may be given several times.",
)  # fmt: skip
@click.option(
    "--output", "-o", required=True, type=click.Path(path_type=Path), metavar="JOB",
    help="Job folder; an interrupted job in it is continued.",
)  # fmt: skip
@click.option("--threshold", "-t", type=float, default=0.8, show_default=True, help=THRESHOLD_HELP)
@click.option("--box-size", "-b", type=float, metavar="PX", help="Box, px of picked micrographs.")
@click.option(
    "--particle-diameter", "-d", type=float, metavar="Å", help="The box is 1.5 times as large."
)
@click.option("--pixel-size", type=float, metavar="Å", help="Of the micrographs that were picked.")
@click.option(
    "--micrographs-other", multiple=True, metavar="PATH",
    help="Screen this other set of the same fields of view instead; file, folder or pattern.",
)  # fmt: skip
@click.option("--pixel-size-other", type=float, metavar="Å", help="Of the other micrographs.")
@click.option(
    "--coordinate-scale", type=click.Choice(["original", "micrographs"]), default="original",
    show_default=True,
    help="With --micrographs-other: coordinates as picked, or on the other set's scale.",
)  # fmt: skip
@click.option(
    "--coordinate-format", type=click.Choice(COORDINATE_FORMATS),
    help="Format of the coordinates, when it cannot be told from the file.",
)  # fmt: skip
@click.option(
    "--format", "output_format", type=click.Choice(COORDINATE_FORMATS),
    help="Write another format than the one that came in.",
)  # fmt: skip
@click.option(
    "--contrast", type=click.Choice(["auto", "dark", "bright"]), default="auto",
    show_default=True, help="Particles dark on bright, or bright on dark.",
)  # fmt: skip
@click.option(
    "--rule", type=click.Choice(["box", "centre", "distance"]), default="box", show_default=True,
    help="Judge the whole box, its centre, or everything within --distance.",
)  # fmt: skip
@click.option("--distance", type=float, metavar="Å", help="For --rule distance.")
@click.option(
    "--on-suspect", type=click.Choice(["keep", "drop", "flag"]), default="flag",
    show_default=True,
    help="Picks of suspect micrographs: keep all, drop all, or decide by score and list them.",
)  # fmt: skip
@click.option(
    "--flip-y", type=click.Choice(["auto", "yes", "no"]), default="auto", show_default=True,
    help="Whether y counts from the other end of the rows; auto decides on evidence and says so.",
)  # fmt: skip
@click.option(
    "--tiff-flip/--no-tiff-flip", default=True, show_default=True,
    help="Read TIFF rows bottom-up, as RELION, IMOD and EMAN2 do.",
)  # fmt: skip
@click.option("--save-masks", is_flag=True, help="Keep the masks in JOB/masks.")
@click.option(
    "--mask-size", type=click.Choice(["model", "full"]), default="model", show_default=True,
    help="Masks as predicted, or enlarged to the micrograph.",
)  # fmt: skip
@click.option(
    "--mask-format", type=click.Choice(MASK_FORMATS), default="tif", show_default=True,
    help="File format of the masks.",
)  # fmt: skip
@click.option(
    "--thumbnails", type=int, default=20, show_default=True, metavar="N",
    help="Make at most N pictures with mask and picks, spread over the run.",
)  # fmt: skip
@model_options
@windows_option
@compute_options
@dask_option
@watch_options
@events_option
@verbosity_options
def command(**options: Any) -> int:
    """Score the picks on MICROGRAPHS and write the ones that deserve to go on.

    MICROGRAPHS are files, folders, glob patterns, or tables of RELION (.star) or cryoSPARC (.cs,
    .csg) that name them. They and the coordinates are matched by name. JOB then holds
    picks_auto_080 (kept) and picks_auto_080_rejected in the format that came in, micrographs.csv
    and micrographs.star, and screen.sqlite with every score.
    """
    from micscreen.cli.progress import screen_with_progress

    verbosity = choose_verbosity(options)
    settings = ScreenSettings(
        inputs=InputSettings(
            micrographs=tuple(options["micrographs"]),
            coordinates=tuple(options["coordinates"]),
            other_micrographs=tuple(options["micrographs_other"]),
            coordinate_format=options["coordinate_format"],
            box_size=options["box_size"],
            particle_diameter=options["particle_diameter"],
            pixel_size=options["pixel_size"],
            other_pixel_size=options["pixel_size_other"],
            flip_y=options["flip_y"],
            tiff_flip_y=options["tiff_flip"],
        ),
        output=options["output"],
        scoring=ScoreSettings(
            model=options["model"],
            windows=options["windows"],
            contrast=options["contrast"],
            rule=options["rule"],
            distance=options["distance"],
            on_suspect=options["on_suspect"],
        ),
        outputs=OutputSettings(
            threshold=options["threshold"],
            coordinate_scale=options["coordinate_scale"],
            output_format=options["output_format"],
            save_masks=options["save_masks"],
            mask_size=options["mask_size"],
            mask_format=options["mask_format"],
            thumbnails=options["thumbnails"],
        ),
        compute=ComputeSettings(
            device=options["device"],
            threads=options["threads"],
            batch_size=options["batch_size"],
            dask=options["dask"],
        ),
        watch=choose_watch(options),
    )
    return screen_with_progress(settings, verbosity, options["events"])
