"""Figures of merit on arrays whose answers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from micscreen import metrics

MASKS = hnp.arrays(np.float32, (7, 9), elements=st.floats(0, 1, width=32))
LABELS = hnp.arrays(np.uint8, (7, 9), elements=st.sampled_from([0, 1, 2, 5, 255]))


def test_iou_of_a_known_overlap() -> None:
    """Two 4 x 4 squares that share a half have IoU 1/3, precision 1/2 and recall 1/2."""
    classes = np.zeros((10, 10), np.uint8)
    classes[2:6, 2:6] = 3
    contamination = np.zeros((10, 10), np.float32)
    contamination[2:6, 4:8] = 0.9
    count = metrics.confusion(contamination, classes)
    assert (count.hit, count.false_alarm, count.missed, count.passed) == (8, 8, 8, 76)
    assert count.iou == pytest.approx(1 / 3)
    assert count.precision == count.recall == 0.5
    assert count.called_bad == pytest.approx(0.16)


@given(MASKS, LABELS)
def test_pixels_to_ignore_count_nowhere(contamination: np.ndarray, classes: np.ndarray) -> None:
    """What the mask says under label 255 changes no figure."""
    other = np.where(classes == 255, 1.0 - contamination, contamination)
    assert metrics.confusion(other, classes) == metrics.confusion(contamination, classes)
    np.testing.assert_equal(
        metrics.calibration_error(other, classes),
        metrics.calibration_error(contamination, classes),
    )


@given(MASKS, LABELS)
def test_figures_are_shares(contamination: np.ndarray, classes: np.ndarray) -> None:
    """Every figure lies in [0, 1] or is NaN, and IoU exceeds neither precision nor recall."""
    count = metrics.confusion(contamination, classes)
    assert count.hit + count.false_alarm + count.missed + count.passed == (classes != 255).sum()
    for value in (count.iou, count.precision, count.recall, count.called_bad):
        assert math.isnan(value) or 0 <= value <= 1
    if count.hit:
        assert count.iou <= min(count.precision, count.recall) + 1e-12


def test_nothing_bad_and_nothing_called_has_no_iou() -> None:
    """Empty against empty is NaN, not 0 or 1, so that means over pictures can leave it out."""
    count = metrics.confusion(np.zeros((4, 4)), np.zeros((4, 4), np.uint8))
    assert math.isnan(count.iou)
    assert math.isnan(count.recall)


def test_recall_of_a_class_counts_any_contamination() -> None:
    """A class is found where contamination is high, whatever class the network would name."""
    classes = np.array([[2, 2, 2, 2, 4, 0]], np.uint8)
    contamination = np.array([[0.9, 0.6, 0.5, 0.1, 0.0, 1.0]])
    assert metrics.class_recall(contamination, classes, 2) == 0.75
    assert metrics.class_recall(contamination, classes, 4) == 0.0
    assert math.isnan(metrics.class_recall(contamination, classes, 5))


def test_calibration_of_honest_and_of_overconfident_masks() -> None:
    """A probability that equals the frequency has no error; certainty at half truth has 1/2."""
    classes = np.tile(np.array([0, 1], np.uint8), (10, 10))
    assert metrics.calibration_error(np.full(classes.shape, 0.5), classes) == pytest.approx(0)
    assert metrics.calibration_error(np.full(classes.shape, 1.0), classes) == pytest.approx(0.5)


def test_goodness_is_the_mean_over_the_box() -> None:
    """Inside, outside and half over an edge of bad, goodness is 0, 1 and one half."""
    contamination = np.zeros((40, 40), np.float32)
    contamination[:, 20:] = 1.0
    x = np.array([30.0, 9.0, 19.5])
    goodness = metrics.box_goodness(contamination, x, np.full(3, 20.0), 10.0)
    np.testing.assert_allclose(goodness, [0.0, 1.0, 0.5], atol=1e-9)


def test_a_box_outside_is_not_good() -> None:
    """A pick whose box lies wholly outside the mask gets the given goodness, 0 by default."""
    goodness = metrics.box_goodness(np.zeros((8, 8)), np.array([99.0]), np.array([4.0]), 4.0)
    assert goodness.tolist() == [0.0]


@given(MASKS, st.floats(-3, 12), st.floats(-3, 12), st.floats(1, 9))
def test_goodness_agrees_with_plain_slicing(
    contamination: np.ndarray, x: float, y: float, box: float
) -> None:
    """The summed-area table gives what a mean over the slice gives."""
    rows = [int(np.clip(np.rint(y + 0.5 + s * box / 2), 0, 7)) for s in (-1, 1)]
    columns = [int(np.clip(np.rint(x + 0.5 + s * box / 2), 0, 9)) for s in (-1, 1)]
    part = contamination[slice(*rows), slice(*columns)]
    expected = 1.0 - float(part.mean()) if part.size else 0.0
    found = metrics.box_goodness(contamination, np.array([x]), np.array([y]), box)
    assert found[0] == pytest.approx(expected, abs=1e-5)


def test_share_lost_counts_below_the_threshold() -> None:
    """A pick exactly at the threshold is kept."""
    assert metrics.share_lost(np.array([0.79, 0.8, 0.81, 0.1])) == 0.5
    assert math.isnan(metrics.share_lost(np.empty(0)))
