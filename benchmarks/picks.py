"""What the shipped weights do with picker runs on real micrographs.

Seven picker runs and the boxes of good and bad 2D classes on four micrographs of EMPIAR-10017, with
hand-checked labels of bad regions (`../shared/data`). Two of the four were used in training.
A pick is on a bad region when its centre is; labels of 255 (unsure, frame) are left out.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np

from common import write_table
from micscreen.cleaning import CleanSettings, clean
from micscreen.io import read_micrograph, read_picks
from micscreen.model.backend import open_backend
from micscreen.score import keep

BOX_SIZE = 160.0
SPLITS = ("train", "val")


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--threshold", type=float, default=0.8)
    asked = parser.parse_args()
    backend = open_backend("default", device="cpu")
    counts: dict[tuple[str, str], np.ndarray] = defaultdict(lambda: np.zeros(4, np.int64))
    for path in sorted((asked.data / "job" / "micrographs").glob("*.jpg")):
        stem = path.stem.removeprefix("Falcon_2012_06_12-").removesuffix("_0")
        name = f"e10017_{stem}.png"
        split = next(s for s in SPLITS if (asked.data / s / "labels" / name).exists())
        labels = cv2.imread(str(asked.data / split / "labels" / name), cv2.IMREAD_UNCHANGED)
        micrograph = read_micrograph(path, pixel_size=1.77)
        h, w = micrograph.shape
        for file in sorted((asked.data / "job" / "coordinates").glob(f"*/{path.stem}.csv")):
            picks = read_picks(file)
            cleaned = clean(micrograph, picks, backend, CleanSettings(BOX_SIZE))
            row = np.clip((picks.y * labels.shape[0] / h).astype(int), 0, labels.shape[0] - 1)
            column = np.clip((picks.x * labels.shape[1] / w).astype(int), 0, labels.shape[1] - 1)
            label = labels[row, column]
            kept = keep(cleaned.picks.goodness, asked.threshold)
            bad, good = (label > 0) & (label < 255), label == 0
            found = [bad.sum(), (bad & ~kept).sum(), good.sum(), (good & ~kept).sum()]
            for key in ((split, file.parent.name), (split, "**all picker runs**")):
                if "classes" not in file.parent.name or key[1] == file.parent.name:
                    counts[key] += np.array(found)
    lines = [
        f"Threshold {asked.threshold:g}, rule box, box {BOX_SIZE:g} px, weights "
        f"{backend.spec.name}. `train` pictures seasoned the training, `val` pictures did not.",
        "",
        "| pictures | picks | on bad regions | of them removed | elsewhere | of them removed |",
        "|---|---|---|---|---|---|",
    ]
    for (split, kind), (bad, bad_gone, good, good_gone) in sorted(counts.items()):
        share = f"{bad_gone / bad:.0%}" if bad else "-"
        lines.append(
            f"| {split} | {kind} | {bad} | {share} | {good} | {good_gone / max(good, 1):.1%} |"
        )
    write_table("picks", "Picker runs on real micrographs", lines)


if __name__ == "__main__":
    main()
