"""The work on one micrograph: read, screen, write its pictures, hand back one small row.

It runs in worker threads and touches no database. What goes wrong with one micrograph becomes its
row, so that the others go on.
"""

from __future__ import annotations

import glob
import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from micscreen.cleaning import Cleaned, CleanSettings, clean
from micscreen.errors import MicrographError, MicscreenError
from micscreen.io import micrograph_shape, read_micrograph, write_class_map, write_mask
from micscreen.io.cuts import unchanged
from micscreen.io.labels import IGNORE
from micscreen.io.table import PickTable
from micscreen.micrograph import Micrograph
from micscreen.model.backend import Backend
from micscreen.picks import CLASS_NAMES, Picks
from micscreen.preprocess import enlarge
from micscreen.report import draw_thumbnail, sharp_preview, write_thumbnail
from micscreen.run.frame import FrameSample, frame_sample
from micscreen.run.plan import BOX_PER_DIAMETER, Job
from micscreen.run.rows import MicrographRow, Scores
from micscreen.run.settings import InputSettings, ScreenSettings
from micscreen.run.watch import fingerprint
from micscreen.score import ScoreRule

LOG: Final = logging.getLogger("micscreen")

SAME_FIELD: Final = 0.02
"""Relative difference up to which two frames count as the same field of view."""


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A job's micrograph, its picks, and how the two belong together.

    Attributes
    ----------
    micrograph
        The screened one.
    picks
        px of the picked micrograph, with the box size; y as the coordinate file counts it.
    row
        The job's row with sizes and scales filled in.
    """

    micrograph: Micrograph
    picks: Picks
    row: MicrographRow

    @property
    def box_scale(self) -> float:
        """How many px of the screened micrograph one px of the picked one is."""
        return self.row.box_scale or 1.0

    def frame_sample(self) -> FrameSample:
        """Return the small picture on which the frame check looks for particles."""
        here = self.picks.rescaled(self.box_scale)
        assert here.box_size is not None
        return frame_sample(self.micrograph.image, here, here.box_size)


@dataclass(frozen=True, slots=True, eq=False)
class Errand:
    """One micrograph's work with all that it needs, small enough to be sent to another machine.

    Attributes
    ----------
    job
        Of a plan.
    row
        What is stored of it so far, with the digest of its picks.
    picks
        The part of its table with its rows, in their order; None without picks.
    thumbnail
        Whether it gets one.
    """

    job: Job
    row: MicrographRow
    picks: PickTable | None
    thumbnail: bool

    def failed(self, reason: str) -> tuple[MicrographRow, None]:
        """Return the result that says why there is none."""
        return replace(self.row, status="failed", reason=reason), None


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """What every worker needs; shared and never changed.

    Attributes
    ----------
    settings, backend
        Of the run.
    flip_y
        Whether pick y counts from the other end of the rows.
    folder
        From where relative paths count: the working folder of the run, when workers have another.
    """

    settings: ScreenSettings
    backend: Backend
    flip_y: bool = False
    folder: Path = Path()

    def do(self, errand: Errand) -> tuple[MicrographRow, Scores | None]:
        """Screen one micrograph; what goes wrong is told in its row, with status `failed`."""
        named, row = errand.job, errand.row
        job = replace(
            named,
            path=str(self.folder / named.path),
            picked_path=str(self.folder / named.picked_path),
        )
        try:
            row = replace(row, fingerprint=fingerprint(job.micrograph))
            if job.problem is not None:
                return replace(row, status="failed", reason=job.problem), None
            return self._screen(replace(errand, job=job), row)
        except (MicscreenError, OSError, MemoryError) as error:
            reason = str(error) or type(error).__name__
        # One micrograph must not stop a run of thousands, whatever is wrong with it: the reason
        # stands in its row, and the run's exit code tells.
        except Exception as error:
            LOG.error("unexpected error in %s", job.name, exc_info=True)
            reason = f"unexpected {type(error).__name__}: {error}"
        if self.folder != Path():
            reason = reason.replace(f"{self.folder}/", "")  # as the user named it
        return replace(row, status="failed", reason=reason), None

    def _screen(self, errand: Errand, row: MicrographRow) -> tuple[MicrographRow, Scores | None]:
        job, start = errand.job, time.perf_counter()
        with unchanged(job.micrograph):
            loaded = load(job, errand.picks, self.settings.inputs, row)
            read = time.perf_counter()
            height = loaded.row.picked_height
            assert height is not None
            picks = flipped(loaded.picks, height) if self.flip_y else loaded.picks
            cleaned = clean(loaded.micrograph, picks, self.backend, self._clean_settings(loaded))
            screened = time.perf_counter()
            preview = sharp_preview(loaded.micrograph.image) if errand.thumbnail else None
        self._write_pictures(errand, loaded, cleaned, preview)
        timings = {"read": read - start, **cleaned.timings, "write": time.perf_counter() - screened}
        row = loaded.row
        done = replace(
            row,
            status="done",
            contrast=cleaned.contrast,
            contamination=_mean(cleaned.contamination, cleaned.valid),
            area=tuple(float(cleaned.class_area[name]) for name in CLASS_NAMES),
            suspect=tuple(cleaned.suspect),
            warnings=(*row.warnings, *cleaned.notes),
            timings=tuple((name, round(seconds, 4)) for name, seconds in timings.items()),
        )
        return done, _scores(job, loaded.picks, cleaned.picks)

    def _clean_settings(self, loaded: Loaded) -> CleanSettings:
        """Return how this micrograph is to be screened."""
        scoring = self.settings.scoring
        assert loaded.picks.box_size is not None
        return CleanSettings(
            box_size=loaded.picks.box_size,
            contrast=scoring.contrast,
            rule=ScoreRule(scoring.rule, scoring.distance),
            windows=scoring.windows,
            box_scale=loaded.box_scale,
        )

    def _write_pictures(
        self, errand: Errand, loaded: Loaded, cleaned: Cleaned, preview: NDArray[np.uint8] | None
    ) -> None:
        """Write mask and thumbnail, when they are wanted, before the row says done."""
        name = errand.job.name
        outputs, folder = self.settings.outputs, self.folder / self.settings.output
        pixel_size = loaded.micrograph.pixel_size
        if outputs.save_masks:
            mask, mask_pixel_size = cleaned.contamination, pixel_size
            if outputs.mask_size == "full":
                mask = enlarge(mask, loaded.micrograph.shape)
            elif pixel_size is not None:
                mask_pixel_size = pixel_size / cleaned.scale
            path = folder / "masks" / f"{name}.{outputs.mask_format}"
            flip = self.settings.inputs.tiff_flip_y
            write_mask(path, mask, pixel_size=mask_pixel_size, tiff_flip_y=flip)
            classes = np.where(cleaned.valid, cleaned.classes, np.uint8(IGNORE))
            write_class_map(folder / "classes" / f"{name}.png", classes)
        if preview is not None:
            picks = cleaned.picks
            picture = draw_thumbnail(
                preview,
                cleaned.maps,
                None if picks is None else picks.rescaled(loaded.box_scale),
                preview.shape[1] / loaded.micrograph.shape[1],
                outputs.threshold,
                pixel_size=pixel_size,
                title=name,
            )
            write_thumbnail(folder / "thumbnails" / f"{name}.png", picture)


def remove_pictures(
    folder: Path, names: Sequence[str] | None, *, thumbnails: Sequence[str] | None = None
) -> None:
    """Remove what an earlier state of the job drew and no longer wants.

    Parameters
    ----------
    folder
        The job folder.
    names
        Micrographs that have left: their masks and thumbnails go; None for none.
    thumbnails
        Micrographs whose thumbnails stay, all others go; None keeps all.
    """
    for name in names or ():
        for path in (folder / "masks").glob(f"{glob.escape(name)}.*"):
            path.unlink(missing_ok=True)
        for part in ("thumbnails", "classes"):
            (folder / part / f"{name}.png").unlink(missing_ok=True)
    if thumbnails is not None:
        for path in (folder / "thumbnails").glob("*.png"):
            if path.stem not in thumbnails:
                path.unlink(missing_ok=True)


def pending_row(job: Job) -> MicrographRow:
    """Return the row of a job of which nothing is known yet."""
    return MicrographRow(
        name=job.name,
        position=job.position,
        path=job.path,
        picked_path=job.picked_path,
        source=job.table,
        micrograph_index=job.micrograph_index,
        picks_in=len(job.rows),
    )


def picks_digest(job: Job, tables: Sequence[PickTable]) -> str:
    """Return what tells whether the picks of a job are still the same."""
    digest = hashlib.blake2b(digest_size=12)
    digest.update(repr((job.box_size, job.problem)).encode())
    if job.table is not None:
        table = tables[job.table]
        for column in (job.rows, table.x[job.rows], table.y[job.rows]):
            digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


def flipped(picks: Picks, height: int) -> Picks:
    """Return picks with y counted from the other end of `height` rows."""
    return replace(picks, y=height - 1 - picks.y)


def errand(
    job: Job, tables: Sequence[PickTable], thumbnails: frozenset[str] = frozenset()
) -> Errand:
    """Return the work on a job of a plan.

    Parameters
    ----------
    job
        Of the plan.
    tables
        The plan's.
    thumbnails
        Names of the jobs that get one.
    """
    row = replace(pending_row(job), picks_digest=picks_digest(job, tables))
    part = None if job.table is None else tables[job.table].part(job.rows)
    return Errand(job, row, part, job.name in thumbnails)


def load(
    job: Job,
    table: PickTable | None,
    inputs: InputSettings,
    row: MicrographRow | None = None,
) -> Loaded:
    """Read a job's micrograph and bring its picks to the same frame.

    Parameters
    ----------
    job
        Of a plan.
    table
        The part of its table with its rows, in their order; None without picks.
    inputs
        How files are read.
    row
        The job's row so far; None for a fresh one.

    Raises
    ------
    MicrographError
        When it cannot be read, or the pixel size that the diameter needs is not known.
    """
    same = job.micrograph == job.picked
    given = inputs.pixel_size if same else inputs.other_pixel_size
    micrograph = read_micrograph(job.micrograph, pixel_size=given, tiff_flip_y=inputs.tiff_flip_y)
    pixel_size, shape, warnings = micrograph.pixel_size, micrograph.shape, list(micrograph.notes)
    scale = 1.0
    if not same:
        shape = micrograph_shape(job.picked)
        pixel_size = inputs.pixel_size or read_micrograph(job.picked).pixel_size
        scale = box_scale(pixel_size, micrograph.pixel_size, shape, micrograph.shape, warnings)
        if pixel_size is None and micrograph.pixel_size is not None:
            pixel_size = micrograph.pixel_size * scale
    box_size = job.box_size
    if box_size is None:
        if inputs.particle_diameter is None or pixel_size is None:
            raise MicrographError(
                "its pixel size is not known, so the diameter in Å cannot be turned into px",
                where=job.picked,
                hint="Give --pixel-size, or --box-size in px.",
            )
        box_size = inputs.particle_diameter * BOX_PER_DIAMETER / pixel_size
    if table is None:
        picks = Picks(x=np.empty(0), y=np.empty(0))
    else:
        picks = table.picks(np.arange(len(table)), shape)
    if micrograph.pixel_size is None and pixel_size is not None:
        micrograph = replace(micrograph, pixel_size=pixel_size / scale)
    row = replace(
        row or pending_row(job),
        height=micrograph.shape[0],
        width=micrograph.shape[1],
        picked_height=shape[0],
        picked_width=shape[1],
        pixel_size=pixel_size,
        screened_pixel_size=micrograph.pixel_size,
        box_size=box_size,
        box_scale=scale,
        warnings=tuple(warnings),
    )
    return Loaded(micrograph, replace(picks, box_size=box_size), row)


def box_scale(
    picked_pixel_size: float | None,
    screened_pixel_size: float | None,
    picked: tuple[int, int],
    screened: tuple[int, int],
    warnings: list[str],
) -> float:
    """Return how much larger the screened micrograph is than the picked one, in px per px.

    Parameters
    ----------
    picked_pixel_size, screened_pixel_size
        Å/px; when one is not known, the frames' sizes decide, and a warning says so.
    picked, screened
        Shapes (h, w), px.
    warnings
        Gets what the user should know.
    """
    by_height, by_width = screened[0] / picked[0], screened[1] / picked[1]
    by_frame = (by_height + by_width) / 2
    if abs(by_height - by_width) > SAME_FIELD * by_frame:
        warnings.append(
            f"the picked micrograph ({picked[1]} x {picked[0]} px) and the other one "
            f"({screened[1]} x {screened[0]} px) differ in shape: are they the same field of view?"
        )
    if picked_pixel_size is None or screened_pixel_size is None:
        warnings.append(
            f"the box scale {by_frame:.4g} is the ratio of the frames, since a pixel size is not "
            "known"
        )
        return by_frame
    scale = picked_pixel_size / screened_pixel_size
    if abs(scale - by_frame) > SAME_FIELD * by_frame:
        warnings.append(
            f"the pixel sizes give a box scale of {scale:.4g}, the frames one of {by_frame:.4g}"
        )
    return scale


def _mean(contamination: NDArray[np.float32], valid: NDArray[np.bool_]) -> float:
    """Return the mean over what is image."""
    return float(contamination[valid].mean()) if valid.any() else 0.0


def _scores(job: Job, picks: Picks, scored: Picks | None) -> Scores:
    """Return the scores for the store, with the coordinates as the file has them."""
    assert scored is not None and scored.goodness is not None and scored.class_index is not None
    assert scored.distance is not None and scored.reason is not None
    return Scores(
        rows=job.rows,
        x=picks.x.astype(np.float32),
        y=picks.y.astype(np.float32),
        goodness=scored.goodness,
        class_index=scored.class_index,
        distance=scored.distance,
        reason=scored.reason,
    )
