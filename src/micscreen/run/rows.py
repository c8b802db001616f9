"""The nouns of a run: what is stored about coordinate tables, micrographs and picks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from micscreen.score import keep

Status = Literal["pending", "done", "failed"]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A coordinate file as it was when the job read it."""

    path: str
    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Source:
    """One coordinate table: a key of `micscreen.io.FORMATS`, the file named, all files it needs."""

    format: str
    path: str
    files: tuple[SourceFile, ...]


@dataclass(frozen=True, slots=True)
class MicrographRow:
    """What is known about one micrograph.

    Attributes
    ----------
    name
        Unique within the job; names its mask and thumbnail.
    position
        Place in the plan, from 0.
    path, picked_path
        The micrograph that is screened, and the one that was picked, as the user named them.
    source, micrograph_index
        Which table holds its picks and which of the table's micrographs it is; None without picks.
    picks_in
        How many picks came in.
    fingerprint, picks_digest
        What the file and the picks were when it was screened; they tell whether that still holds.
    status, reason
        `failed` rows say why.
    height, width, picked_height, picked_width
        px, of the screened and of the picked micrograph.
    pixel_size, screened_pixel_size
        Å/px of the picked and of the screened micrograph; None when unknown.
    box_size
        px of the picked micrograph.
    box_scale
        Pixel size of the picked / of the screened micrograph.
    contrast
        `dark` or `bright`, as found or given.
    contamination
        Mean contamination over the micrograph, 0 to 1.
    area
        Share of the micrograph per class of `CLASS_NAMES`, 0 to 1.
    suspect
        Why the domain guard distrusts it; empty when it does not.
    warnings
        What the user should know.
    timings
        Seconds per step.
    """

    name: str
    position: int
    path: str
    picked_path: str
    source: int | None = None
    micrograph_index: int | None = None
    picks_in: int = 0
    fingerprint: str = ""
    picks_digest: str = ""
    status: Status = "pending"
    reason: str | None = None
    height: int | None = None
    width: int | None = None
    picked_height: int | None = None
    picked_width: int | None = None
    pixel_size: float | None = None
    screened_pixel_size: float | None = None
    box_size: float | None = None
    box_scale: float | None = None
    contrast: str | None = None
    contamination: float | None = None
    area: tuple[float, ...] | None = None
    suspect: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    timings: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Picks of one micrograph and their scores, in the order of the coordinate file; see `Picks`.

    Attributes
    ----------
    rows
        Shape (n,), int64: row numbers in the coordinate table.
    x, y
        Shape (n,), float32: centres in px of the picked micrograph, as the file has them.
    goodness
        Shape (n,), float32, 0 to 1.
    class_index, reason
        Shape (n,), uint8.
    distance
        Shape (n,), float32, px of the picked micrograph.
    """

    rows: NDArray[np.int64]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    goodness: NDArray[np.float32]
    class_index: NDArray[np.uint8]
    distance: NDArray[np.float32]
    reason: NDArray[np.uint8]


def decide(row: MicrographRow | None, fingerprint: str, picks_digest: str) -> bool:
    """Return whether a micrograph has still to be screened.

    It has not when it is done and neither its file nor its picks have changed since. Failed ones
    are tried again.

    Parameters
    ----------
    row
        What the store knows; None when it knows nothing.
    fingerprint, picks_digest
        Of the micrograph and its picks as they are now.
    """
    return row is None or (row.status, row.fingerprint, row.picks_digest) != (
        "done",
        fingerprint,
        picks_digest,
    )


def kept(
    row: MicrographRow,
    scores: Scores,
    threshold: float,
    on_suspect: Literal["keep", "drop", "flag"],
) -> NDArray[np.bool_]:
    """Return which picks of a screened micrograph go on, shape (n,).

    Parameters
    ----------
    row, scores
        The micrograph and its picks.
    threshold
        Goodness from which picks are kept; -1 keeps all, those of suspect micrographs too.
    on_suspect
        For suspect micrographs: decide by score (`flag`), keep all, or drop all.
    """
    if row.suspect and on_suspect != "flag" and threshold != -1:
        return np.full(len(scores.rows), on_suspect == "keep")
    return keep(scores.goodness, threshold)
