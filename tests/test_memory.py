"""What a run holds in memory: bytes per micrograph, as Python and NumPy count them themselves."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from micscreen.model.backend import FakeBackend
from micscreen.run.engine import SerialEngine
from micscreen.run.loop import Event
from micscreen.run.pipeline import screen
from micscreen.run.plan import plan
from micscreen.run.settings import InputSettings, OutputSettings, ScreenSettings

PICKS = 5


@pytest.fixture
def tracing() -> Iterator[None]:
    """Count what is allocated during a test."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


def settings_for(folder: Path, count: int) -> ScreenSettings:
    """Make links to one small micrograph, and a csv of five picks for each."""
    links, picks = folder / f"mics{count}", folder / f"picks{count}"
    for place in (links, picks):
        place.mkdir(parents=True)
    with mrcfile.new(folder / "one.mrc", overwrite=True) as file:
        file.set_data(np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32))
    for i in range(count):
        name = f"GridSquare_0123_foil_{i:05d}_fractions"
        (links / f"{name}.mrc").hardlink_to(folder / "one.mrc")
        (picks / f"{name}.csv").write_text("x,y\n" + "30.0,30.5\n" * PICKS)
    return ScreenSettings(
        inputs=InputSettings((str(links),), (str(picks),), box_size=32, flip_y="no"),
        output=folder / f"job{count}",
        outputs=OutputSettings(thumbnails=0),
    )


def now() -> int:
    """Return how many bytes are in use."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def test_a_plan_takes_less_than_a_kilobyte_per_micrograph(tmp_path: Path, tracing: None) -> None:
    """Of 1,000 micrographs with a csv of five picks each, less than 1,000 bytes each are held."""
    planned = plan(settings_for(tmp_path, 1000))
    count, held = len(planned.jobs), now()
    del planned  # what is freed with it was held by it alone
    assert 100 * count < held - now() < 1000 * count


def test_of_what_is_done_nothing_stays(tmp_path: Path, tracing: None) -> None:
    """From the 100th to the 500th micrograph memory in use grows by less than 100 bytes each."""
    seen: dict[int, int] = {}

    def look(event: Event) -> None:
        if event.kind == "micrograph" and event.done in (100, 500):
            seen[event.done] = now()

    screen(settings_for(tmp_path, 500), backend=FakeBackend(), engine=SerialEngine(), progress=look)
    assert seen[500] - seen[100] < 100 * 400
