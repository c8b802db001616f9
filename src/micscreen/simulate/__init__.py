"""Synthetic micrographs: image and truth together, from a seed."""

from __future__ import annotations

from micscreen.simulate.micrograph import KINDS, simulate_micrograph
from micscreen.simulate.overlay import overlay
from micscreen.simulate.scene import Recipe, Scene, simulate_scene
from micscreen.simulate.truth import picks_on_bad

__all__ = [
    "KINDS",
    "Recipe",
    "Scene",
    "overlay",
    "picks_on_bad",
    "simulate_micrograph",
    "simulate_scene",
]
