"""What the network learns from: simulated scenes on disk, real pictures, and crops of both."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from micscreen.augment import Cutout, cutouts, part_of, paste, roughen
from micscreen.errors import ModelError
from micscreen.frames import find_frame
from micscreen.preprocess import normalise
from micscreen.simulate import Recipe, overlay, simulate_scene

MARGIN: Final = 48
"""Reflected margin around a picture after normalisation, px; the same in use."""
SCENES_PER_SHARD: Final = 256
IGNORE: Final = 255
RESIZE: Final = 1.4
"""Largest factor on the scale of simulated samples."""

Image = NDArray[np.float32]
Labels = NDArray[np.uint8]
Sample = tuple[Image, Labels]
"""A whole picture at model scale before normalisation (h, w), and its classes (h, w)."""

RealPicture = tuple[str, Image, Labels, float]
"""Name, image (h, w), classes (h, w) and box in px of a labelled real picture."""


def write_shard(
    folder: Path, shard: int, seed: int, recipe: Recipe, scenes: int = SCENES_PER_SHARD
) -> Path:
    """Simulate one shard, decided by its number and the seed; keep it if it is there already."""
    path = folder / f"shard-{shard:06d}.npz"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    images = np.empty((scenes, *recipe.shape), np.float16)  # (n, h, w)
    classes = np.empty((scenes, *recipe.shape), np.uint8)  # (n, h, w)
    for i in range(scenes):
        scene = simulate_scene((seed * 1_000_000 + shard) * scenes + i, recipe)
        spread = float(scene.image.std()) + 1e-12
        images[i] = np.clip((scene.image - np.median(scene.image)) / spread, -1000, 1000)
        classes[i] = scene.classes
    aside = path.with_suffix(f".{os.getpid()}.part")
    with aside.open("wb") as handle:
        np.savez(handle, images=images, classes=classes)
    aside.replace(path)
    return path


def load_real(folder: Path, hold_out: Sequence[str] = ()) -> list[RealPicture]:
    """Read labelled real pictures: name, image (h, w), classes (h, w), box in px.

    Parameters
    ----------
    folder
        Holds ``images/`` and ``labels/``; ``index.json`` lies beside it.
    hold_out
        Beginnings of the names that are left out.
    """
    entries = {e["name"]: e for e in json.loads((folder.parent / "index.json").read_text())}
    pictures = []
    for path in sorted((folder / "images").glob("*.png")):
        if any(path.stem.startswith(prefix) for prefix in hold_out):
            continue
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        labels = cv2.imread(str(folder / "labels" / path.name), cv2.IMREAD_UNCHANGED)
        if image is None or labels is None or image.shape != labels.shape:
            raise ModelError("image and label of a real picture do not pair", where=path)
        box = entries[path.stem]["box_size_px"] or (16 if path.stem.startswith("mic") else 24)
        pictures.append((path.stem, image.astype(np.float32), labels.astype(np.uint8), float(box)))
    return pictures


def resampled(image: Image, labels: Labels | None, scale: float) -> tuple[Image, Labels | None]:
    """Resample a picture (h, w) by a factor, averaging areas when it shrinks."""
    h, w = image.shape
    size = (max(8, round(w * scale)), max(8, round(h * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = np.asarray(cv2.resize(image, size, interpolation=how), dtype=np.float32)
    if labels is None:
        return small, None
    return small, np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), np.uint8)


def resize(rng: np.random.Generator, image: Image, labels: Labels) -> Sample:
    """Resample a picture (h, w) and its labels as a box that is wrong by up to `RESIZE` would."""
    scale = math.exp(rng.uniform(-1, 1) * math.log(RESIZE))
    small, truth = resampled(image, labels, scale)
    assert truth is not None
    return small, truth


def draw_crop(rng: np.random.Generator, sample: Sample, crop: int) -> Sample:
    """Normalise a whole picture, pad it as in use, cut, turn and jitter: (3, c, c) and (c, c)."""
    image, classes = sample
    channels = normalise(np.ascontiguousarray(image, dtype=np.float32))  # (3, h, w)
    h, w = image.shape
    margin = MARGIN if rng.random() < 0.4 or min(h, w) < crop else 0
    channels = np.pad(channels, ((0, 0), (margin, margin), (margin, margin)), mode="reflect")
    classes = np.pad(classes, margin, constant_values=IGNORE)
    row = int(rng.integers(0, h + 2 * margin - crop + 1))
    column = int(rng.integers(0, w + 2 * margin - crop + 1))
    part = channels[:, row : row + crop, column : column + crop]
    truth = classes[row : row + crop, column : column + crop]
    turns = int(rng.integers(4))
    part, truth = np.rot90(part, turns, (1, 2)), np.rot90(truth, turns)
    if rng.random() < 0.5:
        part, truth = part[:, :, ::-1], truth[:, ::-1]
    gain = math.exp(rng.uniform(math.log(0.8), math.log(1.25)))
    offset = rng.normal(0, 0.12, (3, 1, 1))
    return np.asarray(part * gain + offset, dtype=np.float32), np.ascontiguousarray(truth)


@dataclass(frozen=True)
class BatchPlan:
    """What a chunk of training is made of.

    Attributes
    ----------
    steps, batch
        Steps, and pictures per step in this process.
    crop
        Side of the crops, px.
    real_share
        Share of real pictures.
    paste_share
        Share of samples, simulated or real, onto which objects of real pictures are copied.
    rough_share
        Share of simulated samples that are made rougher; of the real ones four times as many.
    overlay_share
        Share of the real pictures onto which simulated contaminants are painted.
    resize_share
        Share of simulated samples that are made smaller or larger by up to `RESIZE`.
    part, parts
        This process takes every `parts`-th scene, from number `part` on.
    """

    steps: int
    batch: int
    crop: int
    real_share: float
    paste_share: float = 0.0
    rough_share: float = 0.0
    overlay_share: float = 0.0
    resize_share: float = 0.0
    part: int = 0
    parts: int = 1


def chunk_batches(
    shuffle: np.random.Generator,
    jitter: np.random.Generator,
    shards: Sequence[Path],
    real: Sequence[RealPicture],
    plan: BatchPlan,
) -> Iterator[tuple[Image, Labels]]:
    """Yield one process's batches of one chunk: (n, 3, c, c) and (n, c, c).

    Parameters
    ----------
    shuffle
        Orders the scenes; the same in all processes of a team.
    jitter
        Draws real pictures, crops, turns and gains; another in every process.
    shards
        Files of `write_shard`; without any, all samples are real.
    real
        Of `load_real`.
    plan
        Sizes, and which part of the scenes is this process's.
    """
    images, classes = _scenes(shards)
    order = shuffle.permutation(len(images))[plan.part :: plan.parts]
    sources = sorted({name[:6] for name, *_ in real})
    objects = _objects(real) if plan.paste_share else []
    taken = 0
    for _ in range(plan.steps):
        crops = []
        for _ in range(plan.batch):
            if real and (jitter.random() < plan.real_share or not len(order)):
                sample, rough = _draw_real(jitter, real, sources, plan), 4 * plan.rough_share
            else:
                i = order[taken % len(order)]
                taken += 1
                sample, rough = (images[i].astype(np.float32), classes[i]), plan.rough_share
                if plan.resize_share and jitter.random() < plan.resize_share:
                    sample = resize(jitter, *sample)
            if objects and jitter.random() < plan.paste_share:
                sample = paste(jitter, *sample, objects)
            if rough and jitter.random() < rough:
                sample = roughen(jitter, sample[0]), sample[1]
            crops.append(draw_crop(jitter, sample, plan.crop))
        yield np.stack([image for image, _ in crops]), np.stack([truth for _, truth in crops])


def ahead(items: Iterator[tuple[Image, Labels]]) -> Iterator[tuple[Image, Labels]]:
    """Yield the same items; each is made in a thread while the one before is used."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def _scenes(shards: Sequence[Path]) -> tuple[NDArray[np.float16], Labels]:
    """Return the images and the classes of some shards, (n, h, w) each."""
    loaded = [np.load(path) for path in shards]
    if not loaded:
        return np.empty((0, 1, 1), np.float16), np.empty((0, 1, 1), np.uint8)
    images = np.concatenate([shard["images"] for shard in loaded])
    return images, np.concatenate([shard["classes"] for shard in loaded])


def _objects(real: Sequence[RealPicture]) -> list[Cutout]:
    """Cut the objects out of all real pictures, at 16 px per box."""
    found = []
    for _, image, labels, box in real:
        small, truth = resampled(image, labels, 16.0 / box)
        assert truth is not None
        found += cutouts(small, truth)
    return found


def _draw_real(
    rng: np.random.Generator,
    real: Sequence[RealPicture],
    sources: Sequence[str],
    plan: BatchPlan,
) -> Sample:
    """Draw a source, then a picture of it or a part, and resample it to a jittered box."""
    source = sources[int(rng.integers(len(sources)))]
    of_source = [entry for entry in real if entry[0].startswith(source)]
    _, image, labels, box = of_source[int(rng.integers(len(of_source)))]
    least = plan.crop - 2 * MARGIN  # a crop may reach into the margins
    target = max(rng.uniform(13.0, 21.0), 8.0 + least * box / min(image.shape))
    small, truth = resampled(image, labels, target / box)
    assert truth is not None
    top, bottom, left, right = find_frame(small)  # as in use, where a frame is cut off first
    sample = small[top:bottom, left:right], truth[top:bottom, left:right]
    if rng.random() < plan.overlay_share:
        sample = overlay(rng, *sample, target)
    return part_of(rng, *sample, plan.crop) if rng.random() < 2 * plan.rough_share else sample
