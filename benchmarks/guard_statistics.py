"""The numbers behind the domain guard's limits, over labelled pictures and things that are none.

    python benchmarks/guard_statistics.py ../shared/data/train

Prints a Markdown table: what `micscreen.guard` measures on the input, what the network says, and
the reasons the guard gives.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from micscreen.cleaning import CleanSettings, clean
from micscreen.guard import UNDECIDED, input_statistics
from micscreen.micrograph import Micrograph
from micscreen.model.backend import open_backend
from micscreen.preprocess import prepare


def pictures(folder: Path) -> Iterator[tuple[str, NDArray[np.generic], float]]:
    """Yield name, picture (h, w) and box in px of a folder of labelled pictures."""
    entries = {e["name"]: e for e in json.loads((folder.parent / "index.json").read_text())}
    for path in sorted((folder / "images").glob("*.png")):
        box = entries[path.stem]["box_size_px"] or (16 if path.stem.startswith("mic") else 24)
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if image is not None:
            yield path.stem, image, float(box)


def others() -> Iterator[tuple[str, NDArray[np.generic], float]]:
    """Yield pictures that are no micrographs: noise, discs as in a photograph, text, a ramp."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((4096, 4096), dtype=np.float32)
    yield "white noise", noise, 200.0
    yield "white noise, box 24", noise[:1024, :1024], 24.0
    discs = np.zeros((1024, 1024), np.float32)
    for _ in range(4000):
        radius = min(int(3 / np.sqrt(rng.uniform(1e-4, 1))), 250)
        centre = (int(rng.integers(1024)), int(rng.integers(1024)))
        cv2.circle(discs, centre, radius, float(rng.uniform(0, 255)), -1)
    yield "discs of all sizes (like a photograph)", discs, 40.0
    spectrum = np.abs(np.fft.fftshift(np.fft.fft2(discs + noise[:1024, :1024]))) ** 2
    yield "a power spectrum", np.log(spectrum + 1).astype(np.float32), 24.0
    text = np.full((1024, 1024), 255, np.uint8)
    for line in range(20, 1024, 24):
        words = "The quick brown fox jumps over the lazy dog " * 2
        cv2.putText(text, words, (10, line), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 0, 1)
    yield "printed text", text, 24.0
    y, x = np.mgrid[:1024, :1024].astype(np.float32)
    yield "a ramp", x + y + 3 * noise[:1024, :1024], 40.0


def main() -> None:
    """Print the table."""
    backend = open_backend(device="cpu")
    names = ("texture", "kurtosis", "near", "far", "bad", "undecided")
    print(f"| picture | {' | '.join(names)} | reasons |")
    print("|---" * (len(names) + 2) + "|")
    folders = [Path(folder) for folder in sys.argv[1:]]
    sources = [*(pictures(folder) for folder in folders), others()]
    for name, image, box in (entry for source in sources for entry in source):
        seen = prepare(image, box, backend.spec.box_px)
        found = clean(Micrograph(image), None, backend, CleanSettings(box))
        bad = found.contamination[found.valid]
        numbers = input_statistics(seen.channels)
        numbers["bad"] = float((bad >= 0.5).mean())
        numbers["undecided"] = float(((bad > UNDECIDED[0]) & (bad < UNDECIDED[1])).mean())
        reasons = ", ".join(reason.split(":")[0] for reason in found.suspect)
        print(f"| {name} | {' | '.join(f'{numbers[n]:.3f}' for n in names)} | {reasons} |")


if __name__ == "__main__":
    main()
