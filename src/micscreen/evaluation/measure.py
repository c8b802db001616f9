"""Figures of a network on labelled micrographs: per picture, source and class, and pooled."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from micscreen import metrics
from micscreen.cleaning import Cleaned, CleanSettings, clean
from micscreen.evaluate import mask_on
from micscreen.evaluation.data import Entry, Truth
from micscreen.io.labels import BAD_OF_ANY_KIND
from micscreen.metrics import Confusion
from micscreen.micrograph import Micrograph
from micscreen.model.backend import Backend
from micscreen.picks import CLASS_NAMES, Picks
from micscreen.score import keep

THRESHOLDS: Final = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
BINS: Final = 15
BLOCK: Final = 4_000_000
"""Pixels that are compared at a time."""

CLASSES: Final = len(CLASS_NAMES)


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """What was measured on one picture; sums of them are measured on several.

    Attributes
    ----------
    pixels
        Bad called bad, and so on, at contamination >= 0.5.
    bins
        Shape (3, 15): pixels, sum of probabilities and bad pixels per bin of contamination.
    typing
        Shape (6, 6): pixels by labelled class and by class found; empty for masks.
    found
        Shape (6,): pixels of each labelled class that are called bad, of whatever kind.
    labelled
        Shape (6,): pixels of each labelled class.
    particles, on_bad, elsewhere
        Goodness of true particles outside labelled bad regions, of picks on them, and of picks
        outside them.
    """

    pixels: Confusion
    bins: NDArray[np.float64]
    typing: NDArray[np.int64]
    found: NDArray[np.int64]
    labelled: NDArray[np.int64]
    particles: NDArray[np.float32]
    on_bad: NDArray[np.float32]
    elsewhere: NDArray[np.float32]

    @property
    def bad(self) -> float:
        """Share of the labelled pixels that is bad; NaN without pixels."""
        p = self.pixels
        total = p.hit + p.missed + p.false_alarm + p.passed
        return (p.hit + p.missed) / total if total else math.nan

    @property
    def calibration_error(self) -> float:
        """Expected calibration error (Guo et al. 2017), 15 equal bins; NaN without pixels."""
        total = self.bins[0].sum()
        return float(np.abs(self.bins[1] - self.bins[2]).sum() / total) if total else math.nan

    def record(self) -> dict[str, Any]:
        """Return the figures as plain values; None where there is nothing to measure."""
        return {
            "bad": _plain(self.bad),
            "iou": _plain(self.pixels.iou),
            "precision": _plain(self.pixels.precision),
            "recall": _plain(self.pixels.recall),
            "called_bad": _plain(self.pixels.called_bad),
            "calibration_error": _plain(self.calibration_error),
            "true_particles": len(self.particles),
            "true_particles_lost": _below(self.particles),
            "picks_on_bad": len(self.on_bad),
            "picks_on_bad_removed": _below(self.on_bad),
            "picks_elsewhere": len(self.elsewhere),
            "picks_elsewhere_removed": _below(self.elsewhere),
            "classes": self.by_class(),
        }

    def by_class(self) -> dict[str, dict[str, float | None]]:
        """Return the figures of each class that is labelled; typing counts all labelled pixels."""
        figures = {}
        for index in range(1, CLASSES):
            if not self.labelled[index]:
                continue
            one = {"called_bad": _plain(self.found[index] / self.labelled[index])}
            if self.typing.any():
                hit = int(self.typing[index, index])
                called, there = self.typing[:, index].sum(), self.typing[index].sum()
                one |= {
                    "iou": _ratio(hit, called + there - hit),
                    "precision": _ratio(hit, called),
                    "recall": _ratio(hit, there),
                    "f1": _ratio(2 * hit, called + there),
                }
            figures[CLASS_NAMES[index]] = one
        return figures


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One picture, with what is drawn of it.

    Attributes
    ----------
    name, source
        Of the picture.
    figures
        Of it.
    image, found, truth
        Shape (h, w): the picture in 8 bit, the class found and the labelled class per pixel, small.
    """

    name: str
    source: str
    figures: Figures
    image: NDArray[np.uint8] = field(repr=False)
    found: NDArray[np.uint8] = field(repr=False)
    truth: NDArray[np.uint8] = field(repr=False)


def measure(entry: Entry, truth: Truth, backend: Backend, contrast: Any) -> Measured:
    """Screen a picture as users do, and compare with what is known.

    Parameters
    ----------
    entry, truth
        The picture.
    backend
        Of `open_backend`.
    contrast
        `auto`, `dark` or `bright`.

    Raises
    ------
    MicrographError
        When it cannot be screened.
    """
    both = np.concatenate([truth.particles, truth.picks])
    settings = CleanSettings(box_size=entry.box_size, contrast=contrast)
    micrograph = Micrograph(truth.image, pixel_size=truth.pixel_size, name=entry.name)
    cleaned = clean(micrograph, Picks(x=both[:, 0], y=both[:, 1]), backend, settings)
    assert cleaned.picks is not None and cleaned.picks.goodness is not None
    at = _label_at(truth, both)
    goodness, is_particle = cleaned.picks.goodness, np.arange(len(both)) < len(truth.particles)
    good, bad = at == 0, (at > 0) & (at != metrics.IGNORE)
    figures = _figures(
        cleaned,
        truth.classes,
        (goodness[is_particle & good], goodness[~is_particle & bad], goodness[~is_particle & good]),
    )
    shape = cleaned.classes.shape
    small = cv2.resize(truth.classes, shape[::-1], interpolation=cv2.INTER_NEAREST)
    from micscreen.report import sharp_preview

    preview = sharp_preview(truth.image, 480)
    return Measured(
        entry.name, entry.source, figures, preview, cleaned.classes, np.asarray(small, np.uint8)
    )


def _label_at(truth: Truth, points: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the label under each point (n, 2); left out where that is outside."""
    h, w = truth.classes.shape
    x = np.floor((points[:, 0] + 0.5) * (w / truth.image.shape[1])).astype(np.int64)
    y = np.floor((points[:, 1] + 0.5) * (h / truth.image.shape[0])).astype(np.int64)
    inside = (x >= 0) & (y >= 0) & (x < w) & (y < h)
    found = truth.classes[np.clip(y, 0, h - 1), np.clip(x, 0, w - 1)]
    return np.where(inside, found, np.uint8(metrics.IGNORE))


def _figures(
    cleaned: Cleaned, classes: NDArray[np.uint8], goodness: tuple[NDArray[np.float32], ...]
) -> Figures:
    """Compare what was found with labels (h, w), some rows at a time for the memory's sake."""
    size = classes.shape[1], classes.shape[0]
    contamination = mask_on(cleaned, classes.shape)  # (h, w)
    worst = (1 + np.argmax(cleaned.maps[1:], axis=0)).astype(np.uint8)
    worst = np.asarray(cv2.resize(worst, size, interpolation=cv2.INTER_NEAREST))  # (h, w)
    bins, typing = np.zeros((3, BINS)), np.zeros((CLASSES, CLASSES), np.int64)
    found, labelled = np.zeros(CLASSES, np.int64), np.zeros(CLASSES, np.int64)
    rows = max(1, BLOCK // classes.shape[1])
    for first in range(0, len(classes), rows):
        part = slice(first, first + rows)
        known = classes[part] != metrics.IGNORE
        chance, labels = contamination[part][known].astype(np.float64), classes[part][known]
        which = np.minimum((chance * BINS).astype(int), BINS - 1)
        bins += [np.bincount(which, weights, BINS) for weights in (None, chance, labels > 0)]
        of_class = np.where(labels < CLASSES, labels, 0).astype(np.int64)
        typed = np.where(chance >= 0.5, worst[part][known], 0)
        pairs = np.bincount(of_class * CLASSES + typed, minlength=CLASSES**2)
        typing += pairs.reshape(CLASSES, CLASSES)
        found += np.bincount(of_class[chance >= 0.5], minlength=CLASSES)
        labelled += np.bincount(of_class, minlength=CLASSES)
    if (classes == BAD_OF_ANY_KIND).any():
        typing[:] = 0  # a mask knows no classes
    return Figures(
        pixels=metrics.confusion(contamination, classes),
        bins=bins,
        typing=typing,
        found=found,
        labelled=labelled,
        particles=goodness[0],
        on_bad=goodness[1],
        elsewhere=goodness[2],
    )


def pooled(parts: Sequence[Figures]) -> Figures:
    """Return the figures of several pictures as if they were one."""
    counts = ("hit", "false_alarm", "missed", "passed")
    pixels = Confusion(*(sum(getattr(p.pixels, name) for p in parts) for name in counts))

    def added(name: str) -> Any:
        return np.sum([getattr(p, name) for p in parts], axis=0)

    def joined(name: str) -> Any:
        return np.concatenate([getattr(p, name) for p in parts])

    arrays = {name: added(name) for name in ("bins", "typing", "found", "labelled")}
    picks = {name: joined(name) for name in ("particles", "on_bad", "elsewhere")}
    return Figures(pixels=pixels, **arrays, **picks)


def summary(measured: Sequence[Measured]) -> dict[str, Any]:
    """Return the figures of all pictures: the table of the bar first, then sources and classes."""
    every = pooled([m.figures for m in measured])
    sources: dict[str, list[Measured]] = {}
    for one in measured:
        sources.setdefault(one.source, []).append(one)
    by_source = {name: _source(these) for name, these in sorted(sources.items())}
    clean_pictures = [m.figures.pixels.called_bad for m in measured if m.figures.bad == 0]
    f1 = [one["f1"] for one in every.by_class().values() if one.get("f1") is not None]
    ious = [m.figures.pixels.iou for m in measured if m.figures.bad > 0]
    errors = [m.figures.calibration_error for m in measured]
    return {
        "pictures": len(measured),
        "iou_mean_over_sources": _mean([s["iou_mean_over_pictures"] for s in by_source.values()]),
        "iou_mean_over_pictures": _mean(ious),
        "clean_area_called_bad": _mean(clean_pictures),
        "true_particles_lost_080": _below(every.particles)["0.80"],
        "picks_on_bad_removed_080": _below(every.on_bad)["0.80"],
        "typing_macro_f1": _mean(f1),
        "calibration_error_mean_over_pictures": _mean(errors),
        "calibration_error_pooled": _plain(every.calibration_error),
        "pooled": every.record(),
        "sources": by_source,
        "typing": every.typing.tolist() if every.typing.any() else None,
        "reliability": every.bins.tolist(),
    }


def _source(these: Sequence[Measured]) -> dict[str, Any]:
    """Return the figures of one source; its IoU is the mean of its pictures with bad regions."""
    mean = _mean([m.figures.pixels.iou for m in these if m.figures.bad > 0])
    record = pooled([m.figures for m in these]).record()
    return {"pictures": len(these), "iou_mean_over_pictures": mean, **record}


def measure_all(
    entries: Sequence[Entry],
    one: Callable[[Entry], Measured],
    told: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Measured], list[tuple[str, str]]]:
    """Measure all pictures; return those that went well, and (name, reason) of the others."""
    from micscreen.errors import MicscreenError

    measured, failed = [], []
    for done, entry in enumerate(entries, 1):
        try:
            measured.append(one(entry))
        except MicscreenError as error:
            failed.append((entry.name, str(error)))
        told(done, len(entries))
    return measured, failed


def _below(goodness: NDArray[np.float32]) -> Mapping[str, float | None]:
    """Return the share of picks that is not kept, by threshold."""
    n = len(goodness)
    return {f"{t:.2f}": _ratio(int((~keep(goodness, t)).sum()), n) for t in THRESHOLDS}


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None and not math.isnan(v)]
    return sum(known) / len(known) if known else None
