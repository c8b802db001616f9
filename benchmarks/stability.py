"""Does the mask stay what it is when only the recording changes? Pictures against themselves.

Every labelled picture of a split of `../shared/data` (or micrographs of `micscreen simulate`) is
screened as it is and changed: another gain and offset, mirrored, turned, the box 30 % smaller or
larger, binned by 2, stored in 8 or 16 bit or float16. Masks are compared at the size of the
picture: IoU where at least `LEAST` of it is called bad, else the share called bad.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from common import write_table
from micscreen.cleaning import CleanSettings, clean
from micscreen.evaluate import mask_on
from micscreen.micrograph import Micrograph
from micscreen.model.backend import Backend, open_backend
from micscreen.samples import load_real
from micscreen.simulate import simulate_micrograph

Image = NDArray[np.float32]
LEAST = 0.01
SIMULATED = ("film", "ice", "mixed", "clean", "aggregate", "dense", "crystalline", "fibres")


def binned(image: Image) -> Image:
    """Average 2 x 2 px."""
    h, w = (side // 2 * 2 for side in image.shape)
    return image[:h, :w].reshape(h // 2, 2, w // 2, 2).mean((1, 3)).astype(np.float32)


def stored(image: Image, most: int, clip: float) -> Image:
    """Round to whole numbers between two percentiles, as pictures are stored."""
    low, high = np.percentile(image, (clip, 100 - clip))
    scaled = (image - low) / max(high - low, 1e-12) * most
    return np.clip(np.rint(scaled), 0, most).astype(np.float32)


def half(image: Image) -> Image:
    """Store as float16, scaled as a program would that knows its range."""
    return ((image - image.mean()) / image.std()).astype(np.float16).astype(np.float32)


Change = tuple[Callable[[Image], Image], float, Callable[[NDArray[np.float32]], NDArray]]
"""What is done to the picture, the factor on the box, and how the mask is brought back."""


def same(mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """Leave a mask as it is."""
    return mask


CHANGES: dict[str, Change] = {
    "gain 37, offset -500": (lambda i: i * 37 - 500, 1.0, same),
    "mirrored": (lambda i: i[:, ::-1], 1.0, lambda m: m[:, ::-1]),
    "upside down": (lambda i: i[::-1], 1.0, lambda m: m[::-1]),
    "a quarter turn": (np.rot90, 1.0, lambda m: np.rot90(m, -1)),
    "box 30 % smaller": (lambda i: i, 0.7, same),
    "box 30 % larger": (lambda i: i, 1.3, same),
    "binned by 2": (binned, 0.5, same),
    "8 bit": (lambda i: stored(i, 255, 0.05), 1.0, same),
    "16 bit": (lambda i: stored(i, 65535, 0.0), 1.0, same),
    "float16": (half, 1.0, same),
}


def masked(backend: Backend, image: Image, box: float, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return what is called bad, (h, w) of the shape."""
    image = np.ascontiguousarray(image, np.float32)
    found = clean(Micrograph(image), None, backend, CleanSettings(box, contrast="dark"))
    return mask_on(found, shape) >= 0.5


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--split", choices=("simulated", "train", "val"), default="simulated")
    parser.add_argument("--model", default="default")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    backend = open_backend(asked.model, device="cpu")
    if asked.split == "simulated":
        pictures = [
            (
                f"{kind} {seed}",
                simulate_micrograph(kind, (2048, 2048), 128.0, seed=seed).image,
                128.0,
            )
            for kind in SIMULATED
            for seed in range(1000, 1003)
        ]
    else:
        pictures = [(n, i, b) for n, i, _, b in load_real(asked.data / asked.split)]
    agreements: dict[str, list[float]] = {change: [] for change in CHANGES}
    strays: dict[str, list[float]] = {change: [] for change in CHANGES}
    for name, image, box in pictures:
        before = masked(backend, image, box, image.shape)
        for what, (change, factor, back) in CHANGES.items():
            changed = change(image)
            shape = image.shape[::-1] if what == "a quarter turn" else image.shape
            after = back(masked(backend, changed, box * factor, shape))
            if before.mean() >= LEAST:
                agreements[what].append((before & after).sum() / max((before | after).sum(), 1))
            else:
                strays[what].append(float(after.mean()))
            print(name, what, agreements[what][-1:], strays[what][-1:], flush=True)
    clean_before = len(strays["mirrored"])
    lines = [
        f"Weights {backend.spec.name} on {backend.device}; {len(pictures)} pictures "
        f"({asked.split}), of "
        f"which {clean_before} have less than {LEAST:.0%} called bad.",
        "",
        "| change | mean IoU with itself | worst | at least 0.9 | clean: most called bad |",
        "|---|---|---|---|---|",
    ]
    for what, values in agreements.items():
        worst = max(strays[what], default=0.0)
        share = f"{sum(v >= 0.9 for v in values)} of {len(values)}"
        lines.append(
            f"| {what} | {np.mean(values):.3f} | {min(values):.3f} | {share} | {worst:.2%} |"
        )
    write_table(f"stability_{asked.split}", "Pictures against themselves", lines)


if __name__ == "__main__":
    main()
