"""Whether a job is continued with the arguments that it was begun with."""

from __future__ import annotations

from typing import Any, Final

from micscreen.errors import JobMismatchError
from micscreen.run.settings import ScreenSettings
from micscreen.run.store import Store

OPTIONS: Final = {
    "micrographs": "MICROGRAPHS",
    "other_micrographs": "--micrographs-other",
    "other_pixel_size": "--pixel-size-other",
    "output_format": "--format",
    "tiff_flip_y": "--tiff-flip",
}
"""Settings whose option has another name than they."""


def check_identity(store: Store, settings: ScreenSettings, weights: str | None = None) -> None:
    """Raise JobMismatchError, naming each difference, unless the job was begun like this.

    Parameters
    ----------
    store
        The job's; a job that has not begun fits anything.
    settings
        What is asked for now.
    weights
        sha256 of the network; None when it is not known yet.
    """
    known = store.info()
    if "identity" not in known:
        return
    old, new = known["identity"], settings.identity()
    differences = [
        f"{_option(name)}: was {_shown(before)}, is now {_shown(now)}"
        for group, values in new.items()
        for name, now in values.items()
        if _plain(now) != (before := old.get(group, {}).get(name))
    ]
    if weights is not None and known["model"]["sha256"] != weights:
        differences.append("the network's weights are others")
    if differences:
        only_threshold = len(differences) == 1 and differences[0].startswith("--threshold")
        raise JobMismatchError(
            "this job was begun with other arguments:\n  " + "\n  ".join(differences),
            where=settings.output,
            hint="For another threshold: micscreen rethreshold JOB --threshold T."
            if only_threshold
            else "Give the same arguments to continue it, or another --output.",
        )


def _plain(value: Any) -> Any:
    """Return a value as JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _option(name: str) -> str:
    """Return how a setting is typed."""
    return OPTIONS.get(name, "--" + name.replace("_", "-"))
