"""`micscreen train`: weights from one's own labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from micscreen.cli.options import choose_verbosity, verbosity_options
from micscreen.errors import UsageError

if TYPE_CHECKING:
    from micscreen.cli.options import Verbosity
    from micscreen.train.labelled import Labelled
    from micscreen.train.tune import TuneSettings


@click.command("train")
@click.argument("micrographs", nargs=-1, required=True)
@click.option(
    "--labels", "-l", required=True, metavar="DIR",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Class maps (0 good, 1 to 5 bad, 255 left out) or masks, named as the micrographs.",
)  # fmt: skip
@click.option("--box-size", "-b", type=float, required=True, metavar="PX", help="Particle box, px.")
@click.option(
    "--output", "-o", required=True, type=click.Path(path_type=Path), metavar="DIR",
    help="Folder for model.onnx, report.html and what a continued training needs.",
)  # fmt: skip
@click.option(
    "--start", default="default", show_default=True, metavar="NAME|FILE|nothing",
    help="Weights to begin with; nothing trains from scratch.",
)  # fmt: skip
@click.option("--steps", type=int, metavar="N", help="Batches; default 1500, from nothing 15000.")
@click.option("--rate", type=float, metavar="R", help="Default 0.0005, from nothing 0.003.")
@click.option(
    "--batch", type=int, default=8, show_default=True, metavar="N", help="Crops per step."
)
@click.option(
    "--real-share", type=float, default=0.5, show_default=True, metavar="SHARE",
    help="Share of your pictures in the batches; the rest is simulated. 1 needs no simulation.",
)  # fmt: skip
@click.option(
    "--scenes", type=int, default=512, show_default=True, metavar="N", help="Simulated scenes."
)
@click.option(
    "--hold-out", type=float, default=0.2, show_default=True, metavar="SHARE",
    help="Share of your pictures that is kept apart to judge by and to stop early.",
)  # fmt: skip
@click.option(
    "--patience", type=int, default=8, show_default=True, metavar="N",
    help="End after so many rounds of 64 steps without progress.",
)  # fmt: skip
@click.option(
    "--seed", type=int, default=0, show_default=True, metavar="N",
    help="Decides what is kept apart, the order and the scenes.",
)  # fmt: skip
@click.option("--name", default="own", show_default=True, help="Of the weights.")
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
@click.option("--threads", type=int, metavar="N", help="Of torch; default its own choice.")
@verbosity_options
def command(**options: Any) -> int:
    """Train on MICROGRAPHS with labels, from the weights of the package or from nothing.

    Interrupted, the same command goes on where it was. The result is used by
    `micscreen screen --model DIR/model.onnx`.
    """
    from micscreen.model.weights import model_path
    from micscreen.train.fit import open_device
    from micscreen.train.labelled import hold_out
    from micscreen.train.tune import tune

    verbosity = choose_verbosity(options)
    open_device(options["device"])
    if options["threads"]:
        import torch

        torch.set_num_threads(options["threads"])
    start = None if options["start"] == "nothing" else _start(options["start"])
    settings = _settings(options)
    labelled = _read(options, verbosity)
    learnt, apart = hold_out(labelled.pictures, options["hold_out"], options["seed"])
    _say(verbosity, {"learnt": len(learnt), "kept_apart": len(apart), "labels": labelled.kind})
    model = tune(
        settings, learnt, apart, options["output"], start, lambda row: _say(verbosity, row)
    )
    _report(options["output"], model, start or model_path("default"), apart, settings.name)
    if verbosity != "json":
        click.echo(f"{model}\n{options['output'] / 'report.html'}")
    return 3 if labelled.problems else 0


def _settings(options: Mapping[str, Any]) -> TuneSettings:
    """Return how to train, with the defaults of a fresh or a continued network."""
    from micscreen.train.fit import FitSettings
    from micscreen.train.tune import TuneSettings

    fresh = options["start"] == "nothing"
    if not 0 < options["real_share"] <= 1:
        raise UsageError(f"must lie in (0, 1], not {options['real_share']}", where="--real-share")
    fit = FitSettings(
        seed=options["seed"],
        steps=options["steps"] or (15000 if fresh else 1500),
        rate=options["rate"] or (3e-3 if fresh else 5e-4),
        batch=options["batch"],
        settle=0.8 if fresh else 0.0,
        real_share=options["real_share"],
        device=options["device"],
    )
    return TuneSettings(fit, options["scenes"], options["patience"], options["name"])


def _start(start: str) -> Path:
    """Return the weights to begin with: a checkpoint, an ONNX file or a name."""
    from micscreen.model.weights import model_path

    given = Path(start)
    return given if given.suffix == ".pt" and given.is_file() else model_path(start)


def _read(options: Mapping[str, Any], verbosity: Verbosity) -> Labelled:
    """Find, pair and read micrographs and labels; tell of what could not be used."""
    from micscreen.cli.progress import open_bar
    from micscreen.cli.summary import print_listed
    from micscreen.io.masks import MASK_SUFFIXES
    from micscreen.io.matching import match
    from micscreen.run.find import find_micrographs, listing
    from micscreen.train.labelled import read_labelled

    problems: list[str] = []
    micrographs = find_micrographs(options["micrographs"], problems)
    if problems:
        raise UsageError("; ".join(problems), where="MICROGRAPHS")
    folder = options["labels"]
    labels = sorted(p for p in folder.glob("*") if p.suffix.lower() in MASK_SUFFIXES)
    stems = [path.stem.removesuffix("_classes").removesuffix("_mask") for path in labels]
    matching = match([path.name for path in micrographs], stems)
    if matching.micrographs_alone and verbosity != "json":
        alone = listing(micrographs[i].name for i in matching.micrographs_alone)
        click.echo(f"without a label, not used: {alone}", err=True)
    pairs = [(micrographs[i], labels[j]) for i, j in matching.pairs]
    if not pairs:
        raise UsageError(
            "no label has the name of a micrograph",
            where=folder,
            hint=f"Micrographs: {listing(p.name for p in micrographs)}. Labels: {listing(stems)}.",
        )
    with open_bar(verbosity, "reading") as advance:
        labelled = read_labelled(
            pairs,
            options["box_size"],
            contrast=options["contrast"],
            tiff_flip_y=options["tiff_flip"],
            told=advance,
        )
    print_listed("not used", labelled.problems)
    return labelled


def _report(output: Path, model: Path, before: Path, apart: Any, name: str) -> None:
    """Write report.html: the start beside the result."""
    from micscreen.model.backend import open_backend
    from micscreen.train.story import write_story
    from micscreen.train.tune import read_history

    networks = {"after": open_backend(model, device="cpu")}
    if before.suffix == ".onnx":
        networks = {"before": open_backend(before, device="cpu"), **networks}
    title = f"Training of {name}"
    write_story(output / "report.html", title, read_history(output), apart, networks)


def _say(verbosity: Verbosity, row: Mapping[str, Any]) -> None:
    """Print a row of the training."""
    if verbosity == "json":
        click.echo(json.dumps({"event": "training", **row}))
    elif verbosity != "quiet":
        click.echo(", ".join(f"{key.replace('_', ' ')} {_short(row[key])}" for key in row))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
