"""Names that file systems allow and programs stumble over."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from micscreen.run.export import rethreshold
from micscreen.run.find import printable
from micscreen.run.settings import OutputSettings
from test_pipeline import STAR_HEAD, asked, do, picture, stored, write_mrc

NAMES = (
    b"with space", b"new\nline", b"caf\xe9", "µ粒子".encode(), b"-dash", b"quo'te\"s",
    b"semi;colon#hash", b"x" * (255 - len("_autopick.star")),
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One micrograph and its picks for each name."""
    for part in ("mics", "picks"):
        (tmp_path / part).mkdir()
    for number, name in enumerate(NAMES):
        write_mrc(tmp_path / "plain.mrc", picture(number, 96))
        text = os.fsdecode(name)
        (tmp_path / "plain.mrc").rename(tmp_path / "mics" / f"{text}.mrc")
        xy = np.random.default_rng(number).uniform(10, 86, (6, 2))
        rows = "".join(f"{x:.3f} {y:.3f} 0.5\n" for x, y in xy)
        (tmp_path / "picks" / f"{text}_autopick.star").write_text(STAR_HEAD + rows)
    return tmp_path


def test_any_name_is_screened_stored_written_and_continued(folder: Path) -> None:
    """Spaces, line ends, bytes that are no UTF-8, 255 bytes: every pick is in a set of its name."""
    wanted = OutputSettings(thumbnails=3, save_masks=True)
    outcome = do(asked(folder, outputs=wanted))
    assert (outcome.done, outcome.exit_code) == (len(NAMES), 0)
    files = {os.fsencode(path.name) for path in (folder / "job/picks_auto_080").iterdir()}
    assert files == {name + b"_autopick.star" for name in NAMES}
    paths = {os.fsencode(Path(row.path).name) for row, _ in stored(folder / "job")}
    assert paths == {name + b".mrc" for name in NAMES}
    again = do(asked(folder, outputs=wanted))
    assert again.skipped == len(NAMES)
    report = rethreshold(folder / "job", 0.5)
    assert report.kept + report.rejected == 6 * len(NAMES)
    assert "caf\\xe9" in (folder / "job/micrographs.csv").read_text()


def test_a_printable_name_has_no_line_end_and_encodes() -> None:
    """Control characters and stray bytes become hex codes; text stays as it is."""
    assert printable(os.fsdecode(b"a\nb\xe9\x7f")) == "a\\x0ab\\xe9\\x7f"
    assert printable("µ粒子 x") == "µ粒子 x"
