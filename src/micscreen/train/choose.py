"""Bias and sharpness of an export, chosen by a rule that was fixed before (docs/adr/0022)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from micscreen.cleaning import CleanSettings, clean
from micscreen.errors import ModelError
from micscreen.evaluate import evaluate, mask_on, summary
from micscreen.metrics import calibration_error, confusion
from micscreen.micrograph import Micrograph
from micscreen.model.backend import softmax
from micscreen.model.unfold import network_from
from micscreen.picks import Picks
from micscreen.simulate import Recipe, Scene, simulate_scene
from micscreen.train.tune import NetworkBackend

BIASES: Final = (-1.0, -0.5, 0.0, 0.5, 1.0)
SHARPNESSES: Final = (2.0, 3.0, 4.0)
NEARLY: Final = 0.005
MOST_LOST: Final = 0.003
MOST_CLEAN: Final = 0.002
SCENES: Final = 200
SEED: Final = 77
"""Of the simulated scenes; training never uses it."""

THRESHOLD: Final = 0.8


@dataclass(frozen=True, slots=True)
class Choice:
    """What a bias and a sharpness give.

    Attributes
    ----------
    bias, sharpness
        Added to the logit of good, and then the factor on all logits.
    iou
        Of bad pixels of all simulated scenes together.
    off
        Calibration error of all pixels of simulated scenes together.
    far
        Particles of simulated scenes that are lost, of those further than a box from anything bad.
    clean
        Area called bad on real pictures with nothing bad, share.
    lost
        Particles on good ice of real pictures that are lost, share.
    error
        Calibration error, mean over real pictures.
    """

    bias: float
    sharpness: float
    iou: float
    off: float
    far: float
    clean: float
    lost: float
    error: float

    @property
    def allowed(self) -> bool:
        """Whether it loses little enough of what is real."""
        return self.lost <= MOST_LOST and self.clean <= MOST_CLEAN


class _Remembering(NetworkBackend):
    """A network whose logits for a picture are computed once, with a bias and a sharpness."""

    def __init__(self, net: Any) -> None:
        super().__init__(net)
        self.bias, self.sharpness = 0.0, 1.0
        self._known: dict[bytes, NDArray[np.float32]] = {}

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return probabilities (n, 6, H, W) for channels (n, 3, H, W)."""
        import torch

        key = hashlib.sha256(batch.tobytes()).digest()
        if key not in self._known:
            with torch.inference_mode():
                self._known[key] = self._net(torch.from_numpy(batch)).numpy().astype(np.float16)
        logits = self._known[key].astype(np.float32)
        logits[:, 0] += self.bias
        return softmax(logits * np.float32(self.sharpness))


def choices(network: Path, data: Path) -> Iterator[Choice]:
    """Measure every bias with every sharpness on labelled pictures and on simulated scenes.

    Parameters
    ----------
    network
        Checkpoint.
    data
        Folder with ``images/``, ``labels/`` and ``particles/``; never `val`.
    """
    backend = _Remembering(network_from(network))
    scenes = [simulate_scene(SEED * 1_000_000 + i, Recipe()) for i in range(SCENES)]
    for backend.bias in BIASES:
        for backend.sharpness in SHARPNESSES:
            real = summary(evaluate(backend, data))
            yield Choice(
                backend.bias,
                backend.sharpness,
                *_on_simulated(backend, scenes),
                real["clean_area_called_bad"],
                real["true_picks_lost"],
                real["calibration_error"],
            )


def _on_simulated(backend: _Remembering, scenes: Sequence[Scene]) -> tuple[float, float, float]:
    """Return IoU and calibration error over all scenes, and the share of particles lost far off."""
    chances: list[NDArray[np.float32]] = []
    below: list[NDArray[np.bool_]] = []
    for scene in scenes:
        picks = Picks(x=scene.x, y=scene.y)
        settings = CleanSettings(scene.box_size, contrast="dark")
        found = clean(Micrograph(scene.image), picks, backend, settings)
        chances.append(mask_on(found, scene.classes.shape))
        away = cv2.distanceTransform((scene.classes == 0).astype(np.uint8), cv2.DIST_L2, 5)
        rows, columns = (
            np.clip(np.rint(at).astype(int), 0, side - 1)
            for at, side in zip((scene.y, scene.x), scene.classes.shape, strict=True)
        )
        assert found.picks is not None
        assert found.picks.goodness is not None
        below.append(found.picks.goodness[away[rows, columns] > scene.box_size] < THRESHOLD)
    chance = np.concatenate([one.ravel() for one in chances])
    truth = np.concatenate([scene.classes.ravel() for scene in scenes])
    iou = confusion(chance, truth).iou
    return iou, calibration_error(chance, truth), float(np.concatenate(below).mean())


def chosen(found: list[Choice]) -> Choice:
    """Return the choice of the rule: of those allowed the best IoU on simulated scenes.

    Where the best are nearly equal, as with one bias and several sharpnesses, it is the one whose
    probabilities are nearest to the frequencies there.

    Raises
    ------
    ModelError
        When none is allowed.
    """
    allowed = [one for one in found if one.allowed]
    if not allowed:
        raise ModelError("every bias and sharpness loses too much of the real pictures")
    best = max(one.iou for one in allowed)
    return min((one for one in allowed if one.iou >= best - NEARLY), key=lambda one: one.off)


def choice_report(network: Path, data: Path) -> Iterator[str]:
    """Yield the table of all choices as Markdown, line by line, and what the rule takes."""
    yield "| bias | sharp | IoU, sim. | ECE, sim. | lost, sim. | clean called bad | lost | ECE |"
    yield "|---|---|---|---|---|---|---|---|"
    found = []
    for one in choices(network, data):
        found.append(one)
        yield (
            f"| {one.bias:g} | {one.sharpness:g} | {one.iou:.3f} | {one.off:.3f} | {one.far:.2%} | "
            f"{one.clean:.2%} | {one.lost:.2%} | {one.error:.3f} |"
        )
    best = chosen(found)
    yield f"taken: bias {best.bias:g}, sharpness {best.sharpness:g}"
