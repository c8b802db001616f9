"""Simulated scenes beside real micrographs of the same class, on one sheet to look at.

Real pictures are not part of the project, so the sheet is not either: it is written where `--out`
says. Every tile is a picture at the network's scale, normalised, and the same with its labels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from micscreen.model.unet import CLASSES
from micscreen.samples import load_real, resampled
from micscreen.simulate import Recipe, simulate_scene

SIDE = 256
COLOURS = {
    1: (0, 159, 230),
    2: (178, 114, 0),
    3: (233, 180, 86),
    4: (167, 121, 204),
    5: (0, 94, 213),
}
LEAST = 0.02

Picture = tuple[str, NDArray[np.float32], NDArray[np.uint8]]


def tile(picture: Picture) -> NDArray[np.uint8]:
    """Return a picture and the same with its labels, (SIDE, 2 SIDE, 3)."""
    name, image, classes = picture
    low, high = np.percentile(image, (0.5, 99.5))
    grey = np.clip((image - low) / max(high - low, 1e-12) * 255, 0, 255).astype(np.uint8)
    plain = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    painted = plain.copy()
    for index, colour in COLOURS.items():
        painted[classes == index] = (
            0.5 * painted[classes == index] + 0.5 * np.array(colour)
        ).astype(np.uint8)
    scale = min(SIDE / max(image.shape), 1.0)
    sheet = np.zeros((SIDE, 2 * SIDE, 3), np.uint8)
    for column, part in enumerate((plain, painted)):
        small = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        h, w = min(small.shape[0], SIDE), min(small.shape[1], SIDE)
        sheet[:h, column * SIDE : column * SIDE + w] = small[:h, :w]
    cv2.putText(sheet, name, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 255, 255), 1)
    return sheet


def main() -> None:
    """Draw the sheet: a row per class, real ones left, simulated ones right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=900)
    asked = parser.parse_args()
    real: list[Picture] = []
    for name, image, labels, box in load_real(asked.data / "train"):
        small, truth = resampled(image, labels, 16.0 / box)
        assert truth is not None
        real.append((name, small, truth))
    scenes = [simulate_scene(asked.seed + i, Recipe()) for i in range(120)]
    simulated = [(f"seed {asked.seed + i}", s.image, s.classes) for i, s in enumerate(scenes)]
    rows = []
    for index in range(len(CLASSES)):
        row = []
        for pictures in (real, simulated):
            if index:
                fitting = [p for p in pictures if (p[2] == index).mean() >= LEAST]
            else:
                fitting = [p for p in pictures if not np.isin(p[2], range(1, 6)).any()]
            spread = fitting[:: max(len(fitting) // 2, 1)][:2]
            tiles = [tile(picture) for picture in spread]
            empty = np.zeros((SIDE, 2 * SIDE, 3), np.uint8)
            row += [*tiles, *[empty] * (2 - len(tiles))]
        rows.append(np.hstack(row))
    cv2.imwrite(str(asked.out), np.vstack(rows))


if __name__ == "__main__":
    main()
