"""`JOB/view.json`: what a person decided about single micrographs, and what that does to scores.

`micscreen view` writes it, whole or not at all; the store is never touched. A painted region
changes the scores of the picks that it touches, by the function that scored them first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from micscreen.errors import JobError, UsageError
from micscreen.io import read_mask
from micscreen.io.files import write_whole
from micscreen.io.labels import IGNORE
from micscreen.io.masks import MASK_SUFFIXES, read_array
from micscreen.picks import CLASS_NAMES, REASONS, Picks
from micscreen.run.lock import JobLock
from micscreen.run.rows import MicrographRow, Scores
from micscreen.score import BAD, ScoreRule, score

OVERRIDES_NAME: Final = "view.json"
VERSION: Final = 1
LOCK: Final = ".lock-view"
PATIENCE: Final = 10.0
"""Seconds to wait while another window writes."""

MOST_POINTS: Final = 20_000
MOST_STROKES: Final = 2_000
FARTHEST: Final = 1e6
"""px; nothing of a micrograph lies further away."""


@dataclass(frozen=True, slots=True)
class Stroke:
    """A region that was painted.

    Attributes
    ----------
    kind
        `brush`: a line of the given radius; `polygon`: what the points enclose.
    class_index
        Index into `CLASS_NAMES` that the region gets; 0 erases what is bad.
    radius
        Of the brush, px of the screened micrograph.
    points
        (x, y) in px of the screened micrograph.
    """

    kind: Literal["brush", "polygon"]
    class_index: int
    radius: float
    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        numbers = [value for point in self.points for value in point]
        good = (
            self.kind in ("brush", "polygon")
            and isinstance(self.class_index, int)
            and 0 <= self.class_index < len(CLASS_NAMES)
            and 0 < self.radius < FARTHEST
            and (1 if self.kind == "brush" else 3) <= len(self.points) <= MOST_POINTS
            and all(len(point) == 2 for point in self.points)
            and all(math.isfinite(v) and abs(v) < FARTHEST for v in numbers)
        )
        if not good:
            raise UsageError("this is no brush line and no polygon of a micrograph")


@dataclass(frozen=True, slots=True)
class Override:
    """What was decided about one micrograph.

    Attributes
    ----------
    verdict
        `exclude`: none of its picks goes on. `accept`: all that lie in the image do.
    flag
        A mark to find it again.
    strokes
        Painted regions, in their order.
    """

    verdict: Literal["exclude", "accept"] | None = None
    flag: bool = False
    strokes: tuple[Stroke, ...] = ()

    def __post_init__(self) -> None:
        if self.verdict not in (None, "exclude", "accept") or not isinstance(self.flag, bool):
            raise UsageError("a micrograph is excluded, accepted or neither, flagged or not")
        if len(self.strokes) > MOST_STROKES:
            raise UsageError(f"more than {MOST_STROKES} painted regions on one micrograph")

    @property
    def judges(self) -> bool:
        """Whether it changes what a pick is worth."""
        return self.verdict is not None or bool(self.strokes)


NOTHING: Final = Override()


def override_of(record: dict[str, Any]) -> Override:
    """Return an override from its JSON form.

    Raises
    ------
    UsageError
        When it is none.
    """
    try:
        strokes = tuple(
            Stroke(
                kind=one["kind"],
                class_index=one["class_index"],
                radius=float(one["radius"]),
                points=tuple((float(x), float(y)) for x, y in one["points"]),
            )
            for one in record.get("strokes", ())
        )
        return Override(record.get("verdict"), record.get("flag", False), strokes)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"this is no decision about a micrograph ({error})") from error


def read_overrides(job: Path) -> dict[str, Override]:
    """Return what was decided, by micrograph; nothing where there is no such file.

    Raises
    ------
    JobError
        When the file is damaged or of a newer micscreen.
    """
    path = job / OVERRIDES_NAME
    try:
        record = json.loads(path.read_bytes())
        if record["version"] != VERSION:
            raise JobError("another version of micscreen wrote this", where=path)
        return {name: override_of(one) for name, one in record["micrographs"].items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError, UsageError) as error:
        raise JobError(
            f"what was decided in the view cannot be read ({error})",
            where=path,
            hint="Put a copy back, or remove it to begin anew.",
        ) from error


def change_override(job: Path, name: str, change: dict[str, Any]) -> Override:
    """Change what is decided about one micrograph, on top of what other windows wrote.

    Parameters
    ----------
    job
        The job folder.
    name
        Of the micrograph.
    change
        `verdict` and `flag` replace; `stroke` is added; `undo` true takes the last one away;
        `clear` true takes all away.

    Returns
    -------
    What holds now.

    Raises
    ------
    UsageError
        For anything else.
    """
    if not isinstance(change, dict) or set(change) - {"verdict", "flag", "stroke", "undo", "clear"}:
        raise UsageError("a change has verdict, flag, stroke, undo or clear")
    with JobLock(job, LOCK, PATIENCE):
        known = read_overrides(job)
        record = asdict(known.get(name, NOTHING))
        record.update({key: change[key] for key in ("verdict", "flag") if key in change})
        strokes = [*record["strokes"], *([change["stroke"]] if "stroke" in change else [])]
        strokes = strokes[:-1] if change.get("undo") else strokes
        record["strokes"] = [] if change.get("clear") else strokes
        known[name] = override_of(record)
        if known[name] == NOTHING:
            del known[name]
        shown = {key: asdict(known[key]) for key in sorted(known)}
        text = json.dumps({"version": VERSION, "micrographs": shown}, separators=(",", ":"))
        write_whole(job / OVERRIDES_NAME, text.encode())
    return known.get(name, NOTHING)


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """What a job saved of one micrograph's mask.

    Attributes
    ----------
    contamination
        Shape (h', w'), float32, 0 to 1.
    classes
        Shape (h', w'), uint8: class of what is bad, 0 where that is good or not known.
    valid
        Shape (h', w'), bool: where there is image.
    """

    contamination: NDArray[np.float32]
    classes: NDArray[np.uint8]
    valid: NDArray[np.bool_]

    def painted(self, strokes: Sequence[Stroke], shape: tuple[int, int]) -> Regions:
        """Return the regions after painting on a micrograph of `shape` (h, w)."""
        contamination, classes = self.contamination.copy(), self.classes.copy()
        for stroke in strokes:
            here = _raster(stroke, contamination.shape, shape)
            contamination[here] = 1.0 if stroke.class_index else 0.0
            classes[here] = stroke.class_index
        return Regions(contamination, classes, self.valid)

    @property
    def labels(self) -> NDArray[np.uint8]:
        """Shape (h', w'): classes as `micscreen train` takes them, 255 where there is no image."""
        bad = np.where(self.contamination >= BAD, np.maximum(self.classes, 1), 0)
        return np.where(self.valid, bad, IGNORE).astype(np.uint8)

    @property
    def maps(self) -> NDArray[np.float32]:
        """Shape (6, h', w'): as of a network that is sure of the class where it is not of bad."""
        nearest = _nearest_class(self.classes)
        maps = np.zeros((len(CLASS_NAMES), *self.classes.shape), np.float32)
        maps[0] = 1.0 - self.contamination
        for index in range(1, len(CLASS_NAMES)):
            maps[index] = np.where(nearest == index, self.contamination, 0.0)
        return maps


def _raster(stroke: Stroke, grid: tuple[int, ...], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which px of the mask's grid (h', w') a stroke covers."""
    scale_y, scale_x = grid[0] / shape[0], grid[1] / shape[1]
    points = (np.asarray(stroke.points) + 0.5) * (scale_x, scale_y) - 0.5
    canvas = np.zeros(grid, np.uint8)
    fixed = np.round(points * 16).astype(np.int32)  # 1/16 px
    if stroke.kind == "polygon":
        cv2.fillPoly(canvas, [fixed], 1, cv2.LINE_8, 4)
        return canvas.astype(bool)
    width = max(1, round(2 * stroke.radius * math.sqrt(scale_x * scale_y)))
    cv2.polylines(canvas, [np.vstack([fixed, fixed[-1:]])], False, 1, width, cv2.LINE_8, 4)
    return canvas.astype(bool)


def _nearest_class(classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return for every px the class of the nearest px that has one; 0 when none has."""
    if not classes.any() or classes.all():
        return classes
    empty = (classes == 0).astype(np.uint8)
    kind = cv2.DIST_LABEL_PIXEL
    _, labels = cv2.distanceTransformWithLabels(empty, cv2.DIST_L2, 5, labelType=kind)
    table = np.zeros(int(labels.max()) + 1, np.uint8)
    table[labels[classes > 0]] = classes[classes > 0]
    return np.asarray(table[labels], np.uint8)


def read_regions(job: Path, name: str, *, tiff_flip_y: bool = True) -> Regions | None:
    """Return what the job saved of a micrograph's mask; None when it saved none.

    Raises
    ------
    MicrographError
        When the files cannot be read.
    """
    paths = (job / "masks" / f"{name}{suffix}" for suffix in MASK_SUFFIXES)
    mask = next((path for path in paths if path.is_file()), None)
    if mask is None:
        return None
    contamination = read_mask(mask, tiff_flip_y=tiff_flip_y)
    path = job / "classes" / f"{name}.png"
    classes = np.zeros(contamination.shape, np.uint8)
    if path.is_file():
        saved = np.asarray(read_array(path), np.uint8)
        (h, w), (saved_h, saved_w) = contamination.shape[:2], saved.shape[:2]
        rows, columns = np.arange(h) * saved_h // h, np.arange(w) * saved_w // w
        classes = saved[rows[:, None], columns]
    valid = classes != IGNORE
    return Regions(contamination, np.where(valid, classes, 0).astype(np.uint8), valid)


class Reviser:
    """Puts what a person decided over what the network found.

    Parameters
    ----------
    job
        The job folder.
    info
        What the run noted about itself: `Store.info`.
    """

    def __init__(self, job: Path, info: dict[str, Any]) -> None:
        identity = info["identity"]
        self._job = job
        self._rule = ScoreRule(identity["scoring"]["rule"], identity["scoring"]["distance"])
        self._flip_y = bool(info.get("frame", {}).get("flip_y"))
        self._tiff_flip_y = bool(identity["inputs"]["tiff_flip_y"])

    def regions(self, name: str) -> Regions | None:
        """Return the saved mask of a micrograph; None when none was saved."""
        return read_regions(self._job, name, tiff_flip_y=self._tiff_flip_y)

    def placed(self, row: MicrographRow, scores: Scores) -> Picks:
        """Return picks in px of the screened micrograph, rows counted as in its file."""
        x, y = scores.x.astype(np.float64), scores.y.astype(np.float64)
        if self._flip_y and row.picked_height is not None:
            y = row.picked_height - 1 - y
        return Picks(x=x, y=y, box_size=row.box_size).rescaled(row.box_scale or 1.0)

    def revise(
        self, row: MicrographRow, scores: Scores, override: Override
    ) -> tuple[MicrographRow, Scores]:
        """Return a micrograph and its scores as they are after what was decided.

        An excluded micrograph's picks have goodness 0; an accepted one's have 1, but for those
        that do not lie in the image. A painted region changes the scores of the picks whose
        neighbourhood it touches, all others keep theirs.

        Parameters
        ----------
        row, scores
            As stored.
        override
            What was decided about this micrograph.
        """
        if override.strokes:
            scores = self._repainted(row, scores, override.strokes)
        if override.verdict is None:
            return row, scores
        in_image = scores.reason <= REASONS.index("bad_region")
        goodness = np.zeros(len(scores.rows), np.float32)
        if override.verdict == "accept":
            goodness = np.where(in_image, np.float32(1), scores.goodness)
        return replace(row, suspect=()), replace(scores, goodness=goodness)

    def _repainted(self, row: MicrographRow, scores: Scores, strokes: Sequence[Stroke]) -> Scores:
        """Return the scores with those changed that the strokes touch."""
        regions = self.regions(row.name)
        if regions is None or row.height is None or row.width is None:
            raise JobError(
                "regions were painted on it, but its mask is not there any more",
                where=f"{self._job / 'masks'}: {row.name}",
                hint="Put the masks back, or take the painted regions back in `micscreen view`.",
            )
        picks, shape = self.placed(row, scores), (row.height, row.width)
        before, after = (
            score(
                picks,
                each.maps,
                shape,
                self._rule,
                pixel_size=row.screened_pixel_size,
                valid=each.valid,
            )
            for each in (regions, regions.painted(strokes, shape))
        )
        back = np.float32(1 / (row.box_scale or 1.0))
        merged: dict[str, NDArray[Any]] = {}
        for name in ("goodness", "class_index", "distance", "reason"):
            old, new = getattr(before, name), getattr(after, name)
            stored = getattr(scores, name)
            now = new * back if name == "distance" else new
            merged[name] = np.where(old == new, stored, now).astype(stored.dtype)
        return replace(scores, **merged)


def revised(
    scored: Iterator[tuple[MicrographRow, Scores | None]],
    reviser: Reviser,
    overrides: dict[str, Override],
) -> Iterator[tuple[MicrographRow, Scores | None]]:
    """Yield micrographs as `Store.scored` does, with what was decided about them."""
    for row, scores in scored:
        override = overrides.get(row.name, NOTHING)
        if scores is None or not override.judges:
            yield row, scores
        else:
            yield reviser.revise(row, scores, override)
