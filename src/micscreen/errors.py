"""The errors of micscreen: one root, one family, each says what, where and what next.

::

    MicscreenError
    ├── UsageError               an option or argument that cannot be used (exit code 2)
    ├── MicrographError          a micrograph that cannot be read or screened
    │   └── MicrographFormatError    truncated, a stack, not what its name says
    ├── PicksError               a coordinate file that cannot be read or written
    ├── MatchError               micrographs and coordinates that do not pair by name
    ├── ModelError               weights or a network that cannot be used
    │   └── DeviceError              the device that was asked for is not there
    ├── JobError                 a job folder that cannot be used
    │   ├── JobMismatchError         started again with other arguments
    │   └── JobLockedError           another run is writing to it
    └── MissingDependencyError   an optional package is not installed
"""

from __future__ import annotations

from pathlib import Path


class MicscreenError(Exception):
    """Root of every error that micscreen raises on purpose.

    Parameters
    ----------
    what
        What is wrong, as one sentence without the place.
    where
        The file, row or option it is about.
    hint
        What the user can do next.
    """

    def __init__(
        self, what: str, *, where: str | Path | None = None, hint: str | None = None
    ) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.hint = hint
        super().__init__(what, self.where, hint)

    def __str__(self) -> str:
        text = self.what if self.where is None else f"{self.where}: {self.what}"
        return text if self.hint is None else f"{text}\n  {self.hint}"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.what, self.where, self.hint))


def _rebuild(
    kind: type[MicscreenError], what: str, where: str | None, hint: str | None
) -> MicscreenError:
    """Make the error again on the other side of a process boundary."""
    return kind(what, where=where, hint=hint)


class UsageError(MicscreenError):
    """An option or argument that cannot be used as given."""


class MicrographError(MicscreenError):
    """A micrograph that cannot be read or screened."""


class MicrographFormatError(MicrographError):
    """A micrograph file that is truncated, a stack, or not what its name says."""


class PicksError(MicscreenError):
    """A coordinate file that cannot be read or written."""


class MatchError(MicscreenError):
    """Micrographs and coordinates that do not pair by name."""


class ModelError(MicscreenError):
    """Weights or a network that cannot be used."""


class DeviceError(ModelError):
    """The compute device that was asked for is not there."""


class JobError(MicscreenError):
    """A job folder that cannot be used."""


class JobMismatchError(JobError):
    """A job folder that was started with other arguments."""


class JobLockedError(JobError):
    """A job folder to which another run is writing."""


class MissingDependencyError(MicscreenError):
    """An optional package that this step needs is not installed."""
