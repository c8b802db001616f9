"""How often the domain guard speaks: when it should, and when it should not.

    python benchmarks/guard.py --data ../shared/data --photos FOLDER

Photographs are those that come with scikit-image, scikit-learn and matplotlib, in one folder. Real
micrographs are the labelled train pictures; simulated ones are of seeds that nothing was set on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from common import write_table
from micscreen.cleaning import CleanSettings, clean
from micscreen.evaluate import particle_centres
from micscreen.micrograph import Micrograph
from micscreen.model.backend import Backend, open_backend
from micscreen.picks import Picks
from micscreen.samples import load_real
from micscreen.simulate import simulate_micrograph

Image = NDArray[np.float32]
Case = tuple[Image, float, Picks | None]
"""A picture (h, w), its box in px, and picks or none."""

KINDS = ("mixed", "film", "ice", "clean", "dense", "aggregate")
BOX = 100.0
SIDE = 1600
SEED = 5000
INVERTED = "masks inverted, simulated, with picks"


class Inverted:
    """A network that says the opposite: what is good is bad, and bad is good."""

    def __init__(self, backend: Backend) -> None:
        self.spec, self.device, self._predict = backend.spec, backend.device, backend.predict

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return probabilities (n, 6, h, w) with good and its opposite exchanged."""
        chances = self._predict(batch).copy()
        good = chances[:, 0].copy()
        chances[:, 1:] *= (good / np.maximum(1 - good, 1e-6))[:, None]
        chances[:, 0] = 1 - good
        return chances


def simulated(kinds: tuple[str, ...], count: int) -> Iterator[Case]:
    """Yield simulated micrographs with picks on all of their particles."""
    for i in range(count):
        kind = kinds[i % len(kinds)]
        made = simulate_micrograph(kind, (SIDE, SIDE), BOX, seed=SEED + i)
        yield made.image, BOX, Picks(x=made.x, y=made.y) if len(made.x) else None


def particles(data: Path, name: str) -> Picks | None:
    """Return the labelled particles of a train picture as picks; None where there are none."""
    discs = cv2.imread(str(data / "train" / "particles" / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
    if discs is None:
        return None
    entries = {entry["name"]: entry for entry in json.loads((data / "index.json").read_text())}
    diameter = entries[name]["particle_diameter_px"]
    centres = particle_centres(np.asarray(discs, np.uint8), diameter)
    return Picks(x=centres[:, 0], y=centres[:, 1])


def noise(count: int) -> Iterator[Case]:
    """Yield white noise of several sizes, boxes and kinds of numbers."""
    for i in range(count):
        rng = np.random.default_rng([SEED, i])
        side = int(rng.choice([512, 1024, 2048, 4096]))
        image = rng.standard_normal((side, side), dtype=np.float32)
        if i % 3 == 1:
            image = np.clip(np.rint(image * 40 + 128), 0, 255).astype(np.float32)
        elif i % 3 == 2:
            image = rng.poisson(20, (side, side)).astype(np.float32)
        yield image, float(rng.uniform(24, side / 8)), None


def photographs(folder: Path, count: int) -> Iterator[Case]:
    """Yield photographs as they are and turned, in grey, at several boxes."""
    for path in sorted(folder.iterdir()):
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if image is None:
            continue
        for i in range(count):
            box = float(np.random.default_rng([SEED, i]).uniform(16, min(image.shape) / 10))
            yield np.rot90(image, i).astype(np.float32).copy(), box, None


def atlases(count: int) -> Iterator[Case]:
    """Yield pictures as of a grid at low magnification: bright squares, dark bars, torn ones."""
    for i in range(count):
        rng = np.random.default_rng([SEED, 2, i])
        image = np.full((SIDE, SIDE), 20, np.float32)
        pitch = int(rng.integers(60, 400))
        hole = int(pitch * rng.uniform(0.6, 0.85))
        for y in range(0, SIDE, pitch):
            for x in range(0, SIDE, pitch):
                bright = rng.uniform(40, 220) * (rng.random() > 0.15)
                cv2.rectangle(image, (x, y), (x + hole, y + hole), float(bright), -1)
                place = (x + hole // 2, y + hole // 2)
                cv2.circle(image, place, int(hole * rng.uniform(0.05, 0.3)), float(bright / 2), -1)
        angle = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), float(rng.uniform(0, 90)), 1.0)
        turned = cv2.warpAffine(image, angle, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)
        turned = cv2.GaussianBlur(turned, (0, 0), 1.5)
        noisy = turned + rng.standard_normal(turned.shape).astype(np.float32) * 8
        yield noisy.astype(np.float32), float(rng.uniform(24, 160)), None


def spectra(cases: Iterator[Case]) -> Iterator[Case]:
    """Yield the logarithm of the power spectrum of each picture, as viewers show it."""
    for image, box, _ in cases:
        part = image[: min(image.shape), : min(image.shape)]
        power = np.abs(np.fft.fftshift(np.fft.fft2(part - part.mean()))) ** 2
        yield np.log(power + 1e-6 * power.mean()).astype(np.float32), box, None


def boxed(cases: Iterator[Case], factor: float) -> Iterator[Case]:
    """Yield the same with a box that is wrong by a factor."""
    for image, box, picks in cases:
        yield image, box * factor, picks


def shown(data: Path, photos: Path | None, n: int) -> dict[str, Iterator[Case]]:
    """Return all that is shown to the guard; nothing is made before its turn."""
    pictures = load_real(data / "train")
    real: list[Case] = [(i, box, particles(data, name)) for name, i, _, box in pictures]
    good = [
        case
        for case, (_, _, labels, _) in zip(real, pictures, strict=True)
        if not np.isin(labels, range(1, 6)).any()
    ]
    picked = [case for case in real if case[2] is not None]
    bare: list[Case] = [(image, box, None) for image, box, _ in real]
    kinds = {
        "white noise, Gaussian, in 8 bit, and Poisson": noise(n),
        "low-magnification grids, drawn": atlases(n),
        "power spectra of simulated micrographs": spectra(simulated(KINDS, n)),
        "power spectra of train pictures": spectra(iter(real)),
        INVERTED: simulated(KINDS, n),
    }
    for size, factor in (("large", 3.0), ("small", 1 / 3)):
        wrong = f"box 3 times too {size}, "
        kinds[wrong + "simulated"] = boxed(simulated(KINDS, n), factor)
        kinds[wrong + "train pictures with picks"] = boxed(iter(picked), factor)
        kinds[wrong + "all train pictures, no picks"] = boxed(iter(bare), factor)
    if photos:
        kinds["photographs"] = photographs(photos, 2)
    quiet = "*should not speak:* "
    kinds[quiet + "train pictures with nothing bad"] = iter(good)
    kinds[quiet + "all train pictures"] = iter(real)
    kinds[quiet + "simulated, clean and dense"] = simulated(("clean", "dense"), 2 * n)
    kinds[quiet + "simulated, empty ice"] = simulated(("empty",), n)
    return kinds


def row(what: str, network: Backend, cases: Iterator[Case]) -> str:
    """Return a line of the table: how many pictures of a kind are suspect, and by what."""
    reasons: list[tuple[str, ...]] = []
    for image, box, picks in cases:
        settings = CleanSettings(box, contrast="dark")
        reasons.append(clean(Micrograph(image), picks, network, settings).suspect)
    share = sum(map(bool, reasons)) / len(reasons)
    keys = sorted({reason.split(":")[0] for one in reasons for reason in one})
    return f"| {what} | {len(reasons)} | {share:.0%} | {', '.join(keys)} |"


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--number", type=int, default=36, help="of each kind that is made here")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    backend = open_backend(device="cpu")
    lines = [
        f"Weights {backend.spec.name}.",
        "",
        "| what is shown | pictures | suspect | by |",
        "|---|---|---|---|",
    ]
    for what, cases in shown(asked.data, asked.photos, asked.number).items():
        lines.append(row(what, Inverted(backend) if what == INVERTED else backend, cases))
        print(lines[-1], flush=True)
    write_table("guard", "How often the domain guard speaks", lines)


if __name__ == "__main__":
    main()
