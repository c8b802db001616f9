"""The records of a run refuse what cannot be, and name outputs by their threshold."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micscreen.errors import UsageError
from micscreen.run.settings import (
    ComputeSettings,
    InputSettings,
    OutputSettings,
    ScoreSettings,
    ScreenSettings,
    threshold_name,
)


@pytest.mark.parametrize(
    ("threshold", "name"),
    [
        (0.9, "auto_090"),
        (0.755, "auto_0755"),
        (0.8, "auto_080"),
        (0.29, "auto_029"),
        (1.0, "auto_100"),
        (0.0, "auto_000"),
        (-1, "full"),
    ],
)
def test_the_name_tells_the_threshold(threshold: float, name: str) -> None:
    """Three digits, more where three would not tell; -1 is `full`."""
    assert threshold_name(threshold) == name


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_different_thresholds_have_different_names(one: int, two: int) -> None:
    """Thresholds that differ in the third decimal never share a name: no set replaces another."""
    names = {threshold_name(one / 1000, "manual"), threshold_name(two / 1000, "manual")}
    assert len(names) == (1 if one == two else 2)


@pytest.mark.parametrize("threshold", [-0.5, 1.01, 80, float("nan")])
def test_thresholds_outside_the_range_are_refused(threshold: float) -> None:
    """A threshold is -1 or lies in 0..1, and the error says what is recommended."""
    with pytest.raises(UsageError, match="recommended"):
        OutputSettings(threshold=threshold)


@pytest.mark.parametrize(
    "wrong",
    [
        {"box_size": 0},
        {"box_size": float("nan")},
        {"pixel_size": -1.0},
        {"other_pixel_size": float("inf")},
        {"box_size": 100, "particle_diameter": 100},
    ],
)
def test_impossible_sizes_are_refused(wrong: dict[str, float]) -> None:
    """Sizes that are not positive numbers, or given twice, name their option."""
    with pytest.raises(UsageError, match="--"):
        InputSettings(micrographs=("m",), coordinates=("c",), **wrong)


def test_a_distance_rule_needs_its_distance() -> None:
    """The rule `distance` without Å is refused with an example."""
    with pytest.raises(UsageError, match="--distance 150"):
        ScoreSettings(rule="distance")


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"batch_size": -2}])
def test_impossible_computers_are_refused(wrong: dict[str, int]) -> None:
    """Zero threads and a batch of minus two are refused."""
    with pytest.raises(UsageError):
        ComputeSettings(**wrong)


def test_what_changes_no_result_is_not_part_of_the_identity() -> None:
    """A run may be resumed on another device with other threads, not with another rule."""
    inputs = InputSettings(micrographs=("m",), coordinates=("c",))
    one = ScreenSettings(inputs, Path("a"), compute=ComputeSettings(threads=1))
    two = ScreenSettings(inputs, Path("a"), compute=ComputeSettings(threads=2, device="cpu"))
    assert one.identity() == two.identity()
    other = ScreenSettings(inputs, Path("a"), scoring=ScoreSettings(rule="centre"))
    assert one.identity() != other.identity()
