"""Training of the network, from the simulator to the file that ships; read it top to bottom.

::

    python -m micscreen.train shards   --out DIR --count N --seed 0
    python -m micscreen.train fit      --shards DIR --real DIR --out DIR --minutes 60
    python -m micscreen.train choose   --checkpoint DIR/last.pt --data DIR
    python -m micscreen.train export   --checkpoint DIR/last.pt --onnx FILE
    python -m micscreen.train quantise --onnx FILE --int8 FILE
    python -m micscreen.train evaluate --onnx FILE --data DIR
    python -m micscreen.train contrast --shards DIR --real DIR

A shard is decided by its number and seed alone. An interrupted training is continued by the same
command.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import cv2

from micscreen.evaluate import as_json, as_text, evaluate
from micscreen.model.backend import open_backend
from micscreen.model.team import together
from micscreen.samples import load_real, write_shard
from micscreen.simulate import Recipe
from micscreen.train.choose import choice_report
from micscreen.train.contrast import contrast_report
from micscreen.train.fit import FitSettings, fit
from micscreen.train.quantise import quantise
from micscreen.train.ship import export


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and run one of the commands."""
    given = _parser().parse_args(arguments)
    cv2.setNumThreads(1)
    if given.command == "shards":
        recipe = Recipe(**{name: getattr(given, name) for name in _SHARES})
        for shard in range(given.first, given.first + given.count):
            write_shard(given.out, shard, given.seed, recipe)
    elif given.command == "fit":
        if given.threads:
            import torch

            torch.set_num_threads(given.threads)
        settings = FitSettings(**{name: getattr(given, name) for name in _SETTINGS})
        pictures = load_real(given.real, given.hold_out) if given.real else []
        work = partial(fit, settings, given.shards, given.out, pictures, start=given.start)
        together(work, given.processes)
    elif given.command == "export":
        sizes = (given.box_px, given.good_bias, given.sharpness)
        worst = export(given.checkpoint, given.onnx, given.version, *sizes)
        print(f"{given.onnx}: torch and ONNX Runtime differ by at most {worst:.2g}")
    elif given.command == "choose":
        for line in choice_report(given.checkpoint, given.data):
            print(line, flush=True)
    elif given.command == "quantise":
        quantise(given.onnx, given.int8)
    elif given.command == "contrast":
        print(contrast_report(given.shards, given.real))
    else:
        backend = open_backend(given.onnx, device="cpu")
        rows = evaluate(backend, given.data, given.box_px, given.only)
        print(as_text(rows))
        if given.json:
            given.json.write_text(as_json(rows))


_SETTINGS: Final = tuple(FitSettings.__annotations__)
_SHARES: Final = ("clean_share", "ruined_share", "processed_share")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m micscreen.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    shards = commands.add_parser("shards", help="simulate scenes")
    shards.add_argument("--out", type=Path, required=True)
    shards.add_argument("--count", type=int, required=True)
    shards.add_argument("--first", type=int, default=0, help="number of the first shard")
    shards.add_argument("--seed", type=int, default=0)
    for name in _SHARES:
        shards.add_argument(
            f"--{name.replace('_', '-')}", type=float, default=getattr(Recipe, name)
        )
    fitting = commands.add_parser("fit", help="train, or continue")
    fitting.add_argument("--shards", type=Path, required=True)
    fitting.add_argument("--out", type=Path, required=True)
    fitting.add_argument("--real", type=Path, help="folder with images/ and labels/")
    fitting.add_argument("--hold-out", nargs="*", default=[], help="beginnings of names")
    fitting.add_argument("--start", type=Path, help="checkpoint with the first weights")
    fitting.add_argument("--threads", type=int, default=0, help="of torch; 0: its own choice")
    fitting.add_argument("--processes", type=int, default=1, help="that share every batch")
    for name in _SETTINGS:
        default = getattr(FitSettings, name)
        fitting.add_argument("--" + name.replace("_", "-"), type=type(default), default=default)
    exporting = commands.add_parser("export", help="write ONNX")
    exporting.add_argument("--checkpoint", type=Path, required=True)
    exporting.add_argument("--onnx", type=Path, required=True)
    exporting.add_argument("--version", default="1")
    for name, default in (("--box-px", 16.0), ("--good-bias", 0.0), ("--sharpness", 1.0)):
        exporting.add_argument(name, type=float, default=default)
    choosing = commands.add_parser("choose", help="bias and sharpness for the export, by a rule")
    choosing.add_argument("--checkpoint", type=Path, required=True)
    choosing.add_argument("--data", type=Path, required=True, help="never the val folder")
    smaller = commands.add_parser("quantise", help="write the int8 twin of exported weights")
    smaller.add_argument("--onnx", type=Path, required=True)
    smaller.add_argument("--int8", type=Path, required=True)
    contrast = commands.add_parser("contrast", help="fit and measure the contrast decision")
    contrast.add_argument("--shards", type=Path)
    contrast.add_argument("--real", type=Path, help="folder with images/ and labels/")
    judging = commands.add_parser("evaluate", help="the table of the first bar")
    judging.add_argument("--onnx", type=Path, required=True)
    judging.add_argument("--data", type=Path, required=True)
    judging.add_argument("--box-px", type=float, help="other than the weights say")
    judging.add_argument("--only", nargs="*", default=[], help="beginnings of names")
    judging.add_argument("--json", type=Path)
    return parser


if __name__ == "__main__":
    main()
