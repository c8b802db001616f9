"""One small frozen record per stage, validated at birth and saved with the run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from micscreen.errors import UsageError

FlipY = Literal["auto", "yes", "no"]
Contrast = Literal["auto", "dark", "bright"]


@dataclass(frozen=True, slots=True)
class InputSettings:
    """What is screened, and how files are read.

    Attributes
    ----------
    micrographs
        Files, folders or glob patterns of the micrographs that were picked.
    coordinates
        Files, folders or glob patterns of coordinates.
    other_micrographs
        Another set of the same fields of view that is screened instead; empty = the picked ones.
    coordinate_format
        Key of `micscreen.io.FORMATS`, None = found out per file.
    box_size
        Side of the extraction box, px of the picking micrographs.
    particle_diameter
        Å; the box is 1.5 times as large. Used when there is no box size.
    pixel_size, other_pixel_size
        Å/px of the picking and of the other micrographs; None = from the headers.
    flip_y
        Whether coordinate y counts from the bottom of the file's rows.
    tiff_flip_y
        Whether TIFF rows are read bottom-up, as RELION does.
    """

    micrographs: tuple[str, ...]
    coordinates: tuple[str, ...]
    other_micrographs: tuple[str, ...] = ()
    coordinate_format: str | None = None
    box_size: float | None = None
    particle_diameter: float | None = None
    pixel_size: float | None = None
    other_pixel_size: float | None = None
    flip_y: FlipY = "auto"
    tiff_flip_y: bool = True

    def __post_init__(self) -> None:
        for name in ("box_size", "particle_diameter", "pixel_size", "other_pixel_size"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                option = "--" + name.replace("_", "-")
                raise UsageError(f"must be a positive number, not {value}", where=option)
        if self.box_size is not None and self.particle_diameter is not None:
            raise UsageError(
                "the box was given twice",
                where="--box-size and --particle-diameter",
                hint="Give one of them: the box in px, or the particle's diameter in Å.",
            )


@dataclass(frozen=True, slots=True)
class ScoreSettings:
    """How a mask is predicted and picks are scored.

    Attributes
    ----------
    model
        Name of weights in the package, or the path of an ONNX file.
    contrast
        Particles `dark` on bright, `bright` on dark, or `auto`.
    rule
        `box`: mean contamination in the box; `centre`: around the centre; `distance`: the worst
        within `distance` Å of the centre.
    distance
        Å, for the rule `distance`.
    on_suspect
        What happens to picks of micrographs that the domain guard marks: `flag` decides by score,
        `keep` keeps all, `drop` drops all.
    windows
        Predict as MicrographCleaner does; for its weights only.
    """

    model: str = "default"
    contrast: Contrast = "auto"
    rule: Literal["box", "centre", "distance"] = "box"
    distance: float | None = None
    on_suspect: Literal["keep", "drop", "flag"] = "flag"
    windows: bool = False

    def __post_init__(self) -> None:
        if self.rule == "distance" and (self.distance is None or self.distance <= 0):
            raise UsageError(
                "the rule `distance` needs a distance in Å",
                where="--distance",
                hint="For example --rule distance --distance 150.",
            )


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """What is written beside the scores.

    Attributes
    ----------
    threshold
        Picks with goodness >= threshold are kept; -1 keeps all.
    coordinate_scale
        With other micrographs: `original` coordinates, or on the scale of the screened
        `micrographs`.
    output_format
        Key of `micscreen.io.FORMATS` to convert to; None keeps the input's own.
    save_masks, mask_size, mask_format
        Masks in `JOB/masks`, at model or full size.
    thumbnails
        How many pictures are made, spread over the run.
    """

    threshold: float = 0.8
    coordinate_scale: Literal["original", "micrographs"] = "original"
    output_format: str | None = None
    save_masks: bool = False
    mask_size: Literal["model", "full"] = "model"
    mask_format: Literal["tif", "mrc", "png", "npy"] = "tif"
    thumbnails: int = 20

    def __post_init__(self) -> None:
        check_threshold(self.threshold)
        if self.thumbnails < 0:
            raise UsageError(f"must be 0 or more, not {self.thumbnails}", where="--thumbnails")


@dataclass(frozen=True, slots=True)
class ComputeSettings:
    """Where and how fast; nothing in here changes a result, so a resumed run may differ in it.

    Attributes
    ----------
    device
        `auto`, `cpu`, `cuda` or `cuda:0,1`.
    threads
        Worker threads; None = one per core.
    batch_size
        Micrographs per step: -1 automatic, 0 all, n.
    dask
        Workers of a Dask cluster in place of threads here: see `micscreen.run.cluster`.
    """

    device: str = "auto"
    threads: int | None = None
    batch_size: int = -1
    dask: str | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"must be 1 or more, not {self.threads}", where="--threads")
        if self.batch_size < -1:
            raise UsageError("must be -1 (automatic), 0 (all) or more", where="--batch-size")


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """How a folder is followed into which files still come.

    Attributes
    ----------
    poll
        Seconds between two looks.
    quiet
        Seconds for which a file's size and time must stay the same before it is taken.
    idle_timeout
        Seconds without anything new after which the run ends; None = never.
    finish_file
        Ends the run, once all that is there has been taken, as soon as it exists; None for
        `JOB/finish`.
    notify
        Whether the system's notifications are used to look earlier, where the package `watchfiles`
        is installed: `auto` (not on network file systems, which have none), `yes`, `no`.
    """

    poll: float = 5.0
    quiet: float = 3.0
    idle_timeout: float | None = None
    finish_file: Path | None = None
    notify: Literal["auto", "yes", "no"] = "auto"

    def __post_init__(self) -> None:
        if not 0 < self.poll < float("inf"):
            raise UsageError(f"must be above 0, not {self.poll}", where="--poll")
        if not 0 <= self.quiet < float("inf"):
            raise UsageError(f"must be 0 or more, not {self.quiet}", where="--quiet-time")
        if self.idle_timeout is not None and self.idle_timeout <= 0:
            raise UsageError(f"must be above 0, not {self.idle_timeout}", where="--idle-timeout")


@dataclass(frozen=True, slots=True)
class ScreenSettings:
    """Everything that a screening run was asked for; with `watch`, files may still come."""

    inputs: InputSettings
    output: Path
    scoring: ScoreSettings = field(default_factory=ScoreSettings)
    outputs: OutputSettings = field(default_factory=OutputSettings)
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    watch: WatchSettings | None = None

    def identity(self) -> dict[str, Any]:
        """Return what must stay the same when a run is resumed, as plain JSON values."""
        return {
            "inputs": asdict(self.inputs),
            "scoring": asdict(self.scoring),
            "outputs": asdict(self.outputs),
        }


def check_threshold(threshold: float) -> None:
    """Raise UsageError unless `threshold` is -1 or lies in [0, 1]."""
    if threshold != -1 and not 0 <= threshold <= 1:
        raise UsageError(
            f"must lie in 0..1, or be -1 to keep all picks; not {threshold}",
            where="--threshold",
            hint="0.75 to 0.9 is recommended; higher rejects more.",
        )


def threshold_name(threshold: float, prefix: str = "auto") -> str:
    """Return the part of output names that tells the threshold: `auto_080`, or `full` for -1.

    Three digits, and more only where three would give two thresholds one name: 0.755 is
    `auto_0755`.
    """
    check_threshold(threshold)
    if threshold == -1:
        return "full"
    digits = f"{threshold:.6f}".replace(".", "").rstrip("0").ljust(3, "0")
    return f"{prefix}_{digits}"
