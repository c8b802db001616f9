"""What the contaminants leave: layers of darkness and texture, and the objects for the truth."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from micscreen.simulate.optics import Image, Optics

FILM, ICE, CRYSTALLINE, AGGREGATE, DAMAGED, IGNORE = 1, 2, 3, 4, 5, 255

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Thing:
    """One bad object.

    Attributes
    ----------
    label
        Class 1..5, or 255 where nobody could be sure.
    window
        Rows and columns of the scene in which it lies.
    mask
        Shape of the window: where it is.
    """

    label: int
    window: tuple[slice, slice]
    mask: Mask


@dataclass
class Layers:
    """What the contaminants do to a scene, all of shape (h, w).

    Attributes
    ----------
    dark
        Darkness, in standard deviations of the good field.
    texture
        Structure that the optics have already passed, likewise.
    particles
        Factor on the strength of particles, 1 = undisturbed.
    solvent
        Factor on the noise of ice, 1 = ice as elsewhere, 0 = none.
    things
        The objects.
    jammed
        True where the particles of the field itself lie clumped.
    """

    dark: Image
    texture: Image
    particles: Image
    solvent: Image
    optics: Optics
    box_size: float
    things: list[Thing] = field(default_factory=list)
    jammed: Mask | None = None

    @classmethod
    def blank(cls, shape: tuple[int, int], optics: Optics, box_size: float) -> Layers:
        """Layers that change nothing."""
        zero, one = np.zeros(shape, np.float32), np.ones(shape, np.float32)
        return cls(zero, zero.copy(), one, one.copy(), optics, box_size)

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w)."""
        return (self.dark.shape[0], self.dark.shape[1])

    def add(self, label: int, mask: Mask) -> None:
        """Remember an object that covers mask (h, w)."""
        if mask.any():
            self.things.append(Thing(label, (slice(None), slice(None)), mask))
