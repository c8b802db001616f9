"""`micscreen evaluate`: a network on one's own labelled micrographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from micscreen.cli.options import choose_verbosity, model_options, verbosity_options


@click.command("evaluate")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--output", "-o", required=True, type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR", help="Folder for evaluation.html and evaluation.json.",
)  # fmt: skip
@click.option(
    "--box-size", "-b", type=float, metavar="PX",
    help="Particle box, px of the micrographs, where index.json does not say it.",
)  # fmt: skip
@click.option(
    "--coordinates", "-c", multiple=True, metavar="PATH",
    type=click.Path(path_type=Path, exists=True),
    help="A picker's coordinates: those on labelled bad regions should go. Several times.",
)  # fmt: skip
@click.option(
    "--contrast", type=click.Choice(["auto", "dark", "bright"]), default="auto",
    show_default=True, help="Particles dark on bright, or bright on dark.",
)  # fmt: skip
@click.option(
    "--tiff-flip/--no-tiff-flip", default=True, show_default=True,
    help="Read TIFF rows bottom-up, as RELION, IMOD and EMAN2 do.",
)  # fmt: skip
@click.option(
    "--device", default="auto", show_default=True, metavar="auto|cpu|cuda",
    help="cuda fails clearly where there is none; auto takes it where there is one.",
)  # fmt: skip
@model_options
@verbosity_options
def command(folder: Path, **options: Any) -> int:
    """Measure a network on FOLDER: masks against labels, and picks against labels.

    FOLDER holds images/ (or micrographs/) and labels/ with class maps (0 good, 1 to 5 bad, 255 left
    out) or masks of the same names; see docs/evaluate.md.
    """
    import json

    from micscreen.cli.progress import open_bar
    from micscreen.cli.summary import print_listed
    from micscreen.evaluation.story import EvaluationSettings, evaluate_folder

    verbosity = choose_verbosity(options)
    settings = EvaluationSettings(
        folder=folder,
        output=options["output"],
        box_size=options["box_size"],
        coordinates=options["coordinates"],
        contrast=options["contrast"],
        tiff_flip_y=options["tiff_flip"],
        model=options["model"],
        device=options["device"],
    )
    with open_bar(verbosity, "measuring") as told:
        figures, failed, paths = evaluate_folder(settings, told)
    if verbosity == "json":
        click.echo(json.dumps(figures))
        return 3 if failed else 0
    for words, key, form in (
        ("IoU of bad regions, mean over sources", "iou_mean_over_sources", "{:.3f}"),
        ("called bad on pictures without bad regions", "clean_area_called_bad", "{:.2%}"),
        ("true particles lost at 0.8", "true_particles_lost_080", "{:.2%}"),
        ("picks on bad regions removed at 0.8", "picks_on_bad_removed_080", "{:.1%}"),
        ("macro-F1 of the classes present", "typing_macro_f1", "{:.3f}"),
        ("calibration error, mean over pictures", "calibration_error_mean_over_pictures", "{:.3f}"),
    ):
        value = figures[key]
        click.echo(f"{words:<45}{'-' if value is None else form.format(value):>8}")
    print_listed("failed", failed)
    for path in paths:
        click.echo(f"  {path}")
    return 3 if failed else 0
