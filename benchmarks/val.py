"""The whole table of what must be reached on `val`, by one command; reproduces, tunes nothing.

Runs `micscreen evaluate` on `../shared/data/val` with the picker runs of `job/`, whose files get
the names and the scale of the labelled pictures, and `python -m micscreen.train contrast`.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from common import write_table
from micscreen.io import micrograph_shape, read_picks

PICKERS = ["cassper", "cryolo", "gautomatch", "repic_cryolo", "repic_deeppicker", "repic_topaz"]

BAR = {
    "mean over sources of bad-region IoU": ("iou_mean_over_sources", 0.60, 0.80),
    "area called bad on pictures without bad regions": ("clean_area_called_bad", 0.007, 0.002),
    "true particles lost": ("true_particles_lost_080", 0.008, 0.003),
    "picks on bad regions removed": ("picks_on_bad_removed_080", 0.85, 0.95),
    "typing macro-F1": ("typing_macro_f1", 0.65, 0.80),
    "expected calibration error, all pixels pooled": ("calibration_error_pooled", 0.05, 0.02),
}


def named_picks(data: Path, split: str, target: Path) -> int:
    """Write the picker runs on the pictures of a split under their names; return how many."""
    count = 0
    for path in sorted((data / "job" / "micrographs").glob("*.jpg")):
        name = "e10017_" + path.stem.removeprefix("Falcon_2012_06_12-").removesuffix("_0")
        picture = next((data / split / "images").glob(name + ".*"), None)
        if picture is None:
            continue
        height, width = cv2.imread(str(picture), cv2.IMREAD_UNCHANGED).shape[:2]
        h, w = micrograph_shape(path)
        for kind in PICKERS:
            file = data / "job" / "coordinates" / kind / f"{path.stem}.csv"
            if not file.is_file():
                continue
            picks = read_picks(file)
            xy = np.stack([picks.x * (width / w), picks.y * (height / h)], 1)
            (target / kind).mkdir(parents=True, exist_ok=True)
            lines = "\n".join(f"{x:.3f},{y:.3f}" for x, y in xy)
            (target / kind / f"{name}.csv").write_text(f"x,y\n{lines}\n")
            count += len(xy)
    return count


def run(*words: object) -> str:
    """Run a module of micscreen and return what it printed."""
    command = [sys.executable, "-m", *map(str, words)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--split", choices=("train", "val"), default="val")
    parser.add_argument("--model", default="default")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        picks, out = Path(scratch) / "picks", Path(scratch) / "out"
        count = named_picks(asked.data, asked.split, picks)
        folders = [word for kind in sorted(picks.iterdir()) for word in ("-c", kind)]
        folder = asked.data / asked.split
        run("micscreen", "evaluate", folder, "-o", out, "-q", "--model", asked.model, *folders)
        content = json.loads((out / "evaluation.json").read_text())
    found = content["summary"]
    contrast = run("micscreen.train", "contrast", "--real", folder)
    right = re.search(r"(\d+) of (\d+) right", contrast)
    lines = [
        f"Weights {content['about']['weights']}, threshold 0.8, {found['pictures']} pictures, "
        f"{count:,} picks of picker runs.",
        "",
        "| what | found | must reach | aim |",
        "|---|---|---|---|",
    ]
    for what, (key, must, aim) in BAR.items():
        value = found[key]
        digits = 3 if must in (0.60, 0.65, 0.05) else None
        shown = f"{value:.3f}" if digits else f"{value:.2%}"
        bars = f"{must:.2f} | {aim:.2f}" if digits else f"{must:.1%} | {aim:.1%}"
        lines.append(f"| {what} | {shown} | {bars} |")
    if right is not None:
        share = int(right[1]) / int(right[2])
        lines.append(
            f"| contrast told right, as they are and inverted | {right[1]} of {right[2]} "
            f"({share:.0%}) | 99% | |"
        )
    lines += ["", "| source | pictures | mean IoU |", "|---|---|---|"]
    for source, one in found["sources"].items():
        iou = one["iou_mean_over_pictures"]
        lines.append(f"| {source} | {one['pictures']} | {'-' if iou is None else f'{iou:.2f}'} |")
    write_table(asked.split, f"What the weights reach on `{asked.split}`", lines)


if __name__ == "__main__":
    main()
