"""The shipped weights reach the first bar on real labelled micrographs they never saw."""

from __future__ import annotations

from pathlib import Path

import pytest

from micscreen import open_predictor
from micscreen.evaluate import evaluate, summary

VAL = Path(__file__).parents[3] / "shared" / "data" / "val"


@pytest.mark.skipif(not VAL.is_dir(), reason="../shared/data with real micrographs is not here")
def test_the_shipped_weights_reach_the_first_bar() -> None:
    """On `val`: IoU over sources >= 0.35, clean area called bad <= 2 %, true picks lost <= 3 %."""
    figures = summary(evaluate(open_predictor(), VAL))
    assert figures["true_picks"] > 1000
    assert figures["iou_mean_over_sources"] >= 0.35
    assert figures["clean_area_called_bad"] <= 0.02
    assert figures["true_picks_lost"] <= 0.03
