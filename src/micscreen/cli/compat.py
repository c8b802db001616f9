"""`micscreen compat`: the command lines of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


class ManyInputs(click.Command):
    """A command whose `-i` takes one value or several, as argparse's does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Write `-i a b c` as `-i a -i b -i c`."""
        plain: list[str] = []
        inside = False
        for word in args:
            if word in ("-i", "--inputMicsPath"):
                inside = True
            elif word.startswith("-") and len(word) > 1:
                inside = False
                plain.append(word)
            else:
                plain += ["-i", word] if inside else [word]
        return super().parse_args(ctx, plain)


@click.group("compat")
def command() -> None:
    """Take the command lines of other programs."""


@command.command("cleanmics", cls=ManyInputs)
@click.option(
    "-i", "--inputMicsPath", "micrographs", multiple=True, required=True, metavar="PATH...",
    help="Micrographs: files, folders, patterns, or a .txt file with one per line.",
)  # fmt: skip
@click.option(
    "-c", "--inputCoordsDir", "coordinates", type=click.Path(path_type=Path), metavar="DIR",
    help="Folder of .pos, .star, .txt or .tab files, matched by name.",
)  # fmt: skip
@click.option(
    "-o", "--outputCoordsDir", "output", type=click.Path(path_type=Path), metavar="DIR",
    help="Folder for the picks that stay, under the same names.",
)  # fmt: skip
@click.option(
    "-b", "--boxSize", "box_size", type=int, required=True, metavar="PX",
    help="Side of the particle box, px.",
)  # fmt: skip
@click.option(
    "-s", "--downFactorCoords", "down_factor", type=float, default=1.0, show_default=True,
    metavar="FACTOR", help="Divide the coordinates by this.",
)  # fmt: skip
@click.option(
    "-d", "--deepLearningModel", "model", type=click.Path(path_type=Path), metavar="FILE",
    help="Keras model (.h5, .keras, .tgz) or ONNX file; default the weights of this package.",
)  # fmt: skip
@click.option(
    "--deepThr", "deep_threshold", type=float, metavar="0..1",
    help="Picks stay when the mask's mean in the box is below this: SMALLER rejects more. "
    "Without it, all stay, with scores.",
)  # fmt: skip
@click.option(
    "--sizeThr", "size_threshold", type=float, default=0.8, show_default=True, metavar="0..1",
    help="With more of the micrograph masked than this, all picks stay, with score -1.",
)  # fmt: skip
@click.option(
    "-p", "--predictedMaskDir", "masks", type=click.Path(path_type=Path), metavar="DIR",
    help="Folder of masks; those that are there are used.",
)  # fmt: skip
@click.option(
    "-g", "--gpus", metavar="IDS", help="`0`, `0,1`, `all`; -1 for the CPU; default automatic."
)
@click.option(
    "--preproDownsampleMic", "downsample", type=int, default=1, show_default=True, metavar="N",
    help="Look at a scale N times as large, for large areas of film.",
)  # fmt: skip
@click.option(
    "--windows", is_flag=True, help="Predict by windows and rotations, as the old program."
)
def cleanmics(**options: Any) -> int:
    """Do what MicrographCleaner's cleanMics does, with its options and its direction of scores.

    Every micrograph that has coordinates gets its output, also when no pick stays. Scores are
    means over the box that was given.
    """
    from micscreen.legacy.cleanmics import CleanMics, Result, clean_mics, open_model
    from micscreen.run.engine import ThreadEngine, core_count

    gpus, model = options.pop("gpus"), options.pop("model")
    threads, device = core_count(), _device(gpus)
    if gpus and gpus.startswith("-") and gpus[1:].isdigit() and int(gpus) < -1:
        threads = int(gpus[1:])
    asked = CleanMics(**options)

    def tell(result: Result) -> None:
        for note in result.notes:
            click.echo(f"{result.name}: {note}", err=True)
        if result.problem is not None:
            click.secho(f"{result.name}: failed: {result.problem}", fg="red", err=True)
        elif result.kept is not None:
            click.echo(f"{result.name}: {result.kept} of {result.picked} picks stay")
        elif not result.notes:
            click.echo(f"{result.name}: mask")

    with open_model(model, device) as backend:
        return 3 if clean_mics(asked, backend, ThreadEngine(threads), tell) else 0


def _device(gpus: str | None) -> str:
    """Return this package's word for the old program's."""
    if gpus is None:
        return "auto"
    if gpus.startswith("-") or not gpus:
        return "cpu"
    return "cuda" if gpus.startswith("all") else f"cuda:{gpus}"
