"""The micrograph: one motion-corrected 2D image with its pixel size and name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from micscreen.errors import MicrographError


@dataclass(frozen=True, slots=True, eq=False)
class Micrograph:
    """One motion-corrected 2D image.

    Attributes
    ----------
    image
        Shape (h, w), any real dtype and byte order, row 0 is the first row in the file. It may be
        a read-only memory map: never write to it.
    pixel_size
        Å/px, or None when the file does not say (a header of 0 or 1.0 is not believed).
    name
        The file's name without folder and extensions.
    notes
        What the reader noticed and the user should know, one sentence each.
    """

    image: NDArray[Any]
    pixel_size: float | None = None
    name: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.image.ndim != 2:
            raise MicrographError(
                f"a micrograph is one 2D image, this has shape {self.image.shape}",
                where=self.name or None,
                hint="Motion-correct movies first; split stacks into single images.",
            )
        if min(self.image.shape) < 1:
            raise MicrographError("the image has no pixels", where=self.name or None)
        if self.pixel_size is not None and not 0 < self.pixel_size < float("inf"):
            raise MicrographError(
                f"a pixel size of {self.pixel_size} Å/px is impossible", where=self.name or None
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in px."""
        return int(self.image.shape[0]), int(self.image.shape[1])
