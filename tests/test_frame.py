"""The frame check finds flips, swaps and scales, and is silent when all is well."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micscreen.picks import Picks
from micscreen.run.frame import (
    FrameSample,
    density_evidence,
    find_frame,
    frame_sample,
    geometry_warnings,
)

SHAPE = (700, 1000)
BOX = 40.0


def field(seed: int, contrast: float = -1.0, count: int = 60) -> tuple[np.ndarray, Picks]:
    """Return a noisy picture with discs of 26 px at random places, and their centres."""
    random = np.random.default_rng(seed)
    h, w = SHAPE
    image = random.normal(100.0, 1.0, SHAPE).astype(np.float32)
    x, y = random.uniform(30, w - 30, count), random.uniform(30, h - 30, count)
    rows, columns = np.ogrid[:h, :w]
    for cx, cy in zip(x, y, strict=True):
        image += contrast * 1.0 * ((columns - cx) ** 2 + (rows - cy) ** 2 < 13**2)
    return image, Picks(x=x, y=y)


def samples(change: str, contrast: float = -1.0) -> list[FrameSample]:
    found = []
    for seed in range(3):
        image, picks = field(seed, contrast)
        h, w = SHAPE
        x, y = picks.x, picks.y
        if change == "y flipped":
            y = h - 1 - y
        if change == "x flipped":
            x = w - 1 - x
        if change == "x and y swapped":
            x, y = y, x
        found.append(frame_sample(image, Picks(x=x, y=y), BOX))
    return found


@pytest.mark.parametrize("contrast", [-1.0, 1.0])
def test_right_picks_raise_no_warning(contrast: float) -> None:
    """Picks in their own frame, dark or bright, are left alone and nothing is said."""
    finding = find_frame("auto", [(SHAPE, field(0)[1])], samples("none", contrast))
    assert not finding.flip_y
    assert finding.warnings == ()
    assert np.sign(finding.evidence["as they are"]) == contrast


@pytest.mark.parametrize("contrast", [-1.0, 1.0])
def test_flipped_picks_are_found_and_flipped(contrast: float) -> None:
    """With --flip-y auto, picks whose y counts from the other end are flipped, and it is said."""
    finding = find_frame("auto", [], samples("y flipped", contrast))
    assert finding.flip_y
    assert "y is flipped for scoring" in finding.warnings[0]


def test_what_the_user_said_is_obeyed_and_contradicted_aloud() -> None:
    """--flip-y yes and no are obeyed, and evidence against them is reported."""
    refused = find_frame("no", [], samples("y flipped"))
    assert not refused.flip_y
    assert "--flip-y no was obeyed" in refused.warnings[0]
    forced = find_frame("yes", [], samples("none"))
    assert forced.flip_y
    assert "--flip-y yes" in forced.warnings[0]
    assert find_frame("yes", [], samples("y flipped")).warnings == ()


@pytest.mark.parametrize("change", ["x flipped", "x and y swapped"])
def test_other_frames_are_named_but_not_changed(change: str) -> None:
    """Swapped or mirrored picks are reported by name, never changed silently."""
    finding = find_frame("auto", [], samples(change))
    assert not finding.flip_y
    assert change in finding.warnings[0]


def test_random_picks_give_no_clear_evidence() -> None:
    """Picks that lie anywhere are no evidence for any frame."""
    random = np.random.default_rng(5)
    image, _ = field(0)
    picks = Picks(x=random.uniform(0, 1000, 300), y=random.uniform(0, 700, 300))
    finding = find_frame("auto", [], [frame_sample(image, picks, BOX)])
    assert not finding.flip_y
    assert finding.warnings == ()


def test_few_picks_are_no_evidence() -> None:
    """Below thirty picks in all, the density is not asked."""
    image, picks = field(0, count=10)
    assert density_evidence([frame_sample(image, picks, BOX)]) == {}


def test_picks_on_larger_micrographs_are_noticed() -> None:
    """Picks from unbinned micrographs reach beyond the edges, and the factor is named."""
    _, picks = field(1, count=200)
    (text,) = geometry_warnings([(SHAPE, picks.rescaled(4.0))])
    assert "divided by 4 they fit" in text


def test_picks_on_binned_micrographs_are_noticed() -> None:
    """Picks from binned micrographs fill one corner, and that is said."""
    _, picks = field(1, count=400)
    (text,) = geometry_warnings([(SHAPE, picks.rescaled(0.5))])
    assert "binned" in text


def test_swapped_axes_are_noticed_on_a_wide_micrograph() -> None:
    """On a micrograph that is not square, swapped axes leave picks outside, and it is named."""
    _, picks = field(1, count=400)
    (text,) = geometry_warnings([(SHAPE, Picks(x=picks.y, y=picks.x))])
    assert "with x and y swapped they fit" in text


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 300))
def test_picks_inside_never_warn(seed: int, count: int) -> None:
    """Picks all over their micrographs never raise a geometry warning."""
    random = np.random.default_rng(seed)
    x, y = random.uniform(0, 1000, count), random.uniform(0, 700, count)
    assert geometry_warnings([(SHAPE, Picks(x=x, y=y))]) == []
