"""`micscreen model`: weights that come from elsewhere."""

from __future__ import annotations

from pathlib import Path

import click


@click.group("model")
def command() -> None:
    """Bring weights that you already trust."""


@command.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.onnx",
    help="File to write; default micrographcleaner.onnx in this folder.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there.")
def import_(file: Path, output: Path | None, overwrite: bool) -> int:
    """Convert MicrographCleaner's Keras model FILE (.h5, .keras or the published .tgz) to ONNX.

    The file that is written also says how a micrograph is prepared for it (box 16 px, IQR
    normalisation and sigmoid): give it to any command as --model. Nothing in FILE is executed.
    """
    from micscreen.errors import UsageError
    from micscreen.legacy.keras_import import import_keras

    target = output or Path("micrographcleaner.onnx")
    if target.suffix.lower() != ".onnx":
        raise UsageError("the name of an ONNX file ends in .onnx", where="--output")
    if target.exists() and not overwrite:
        raise UsageError("this file is there already", where=target, hint="Give --overwrite.")
    about = import_keras(file, target)
    inside = about["source"]["inside"]
    click.echo(f"{target}: from {file}{f' ({inside})' if inside else ''}, {about['version']}")
    click.echo(f"Use it: micscreen screen --model {target} ...")
    return 0
