# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs over sets that are whole: one as Scipion launches it, others in this process."""

import csv
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import PROGRAM
from feeder import BOX, PICKS, SAMPLING, Feeder, places
from helpers import fed, images, launched, log_of, protocol_of, ran, rows


def by_command(simulated, tmp_path, count=3):
    """Return the goodness that `micscreen screen` gives the same picks, in order."""
    folder = tmp_path / "command"
    (folder / "picks").mkdir(parents=True)
    paths = images(simulated, count)
    for number, path in enumerate(paths):
        with open(folder / "picks" / (path.stem + ".csv"), "w") as handle:
            handle.write("x,y\n" + "".join("%d,%d\n" % place for place in places(number)))
    options = ["-b", str(BOX), "--pixel-size", str(SAMPLING), "-t", "-1", "--thumbnails", "0", "-q"]
    options += ["-c", str(folder / "picks"), "-o", str(folder / "job"), "--device", "cpu"]
    subprocess.run([PROGRAM, "screen", *map(str, paths), *options], check=True)
    goodness = []
    for path in paths:
        with open(folder / "job" / "picks_full" / (path.stem + ".csv"), newline="") as handle:
            goodness += [float(row["goodness"]) for row in csv.DictReader(handle)]
    return goodness


def test_static_run(project, simulated, tmp_path):
    """A finished set: every kept coordinate is the one that came in, to the last digit (NOT to
    copy: none goes through whole numbers and back), with both scores, which are those of
    `micscreen screen`; numbers, sentence for a paper and thumbnails are there."""
    feeder = fed(project, simulated)
    done = launched(project, protocol_of(project, feeder, threshold=0.8))
    assert done.isFinished(), log_of(done)
    output = done.outputCoordinates_Auto_080
    found = rows(output)
    expected = by_command(simulated, tmp_path)
    assert len(expected) == 3 * PICKS
    kept = {key: value for key, value in enumerate(expected, 1) if np.float32(value) >= 0.8}
    assert found.keys() == kept.keys()
    assert 0 < len(kept) < len(expected)
    for key, (x, y, micId, micName, score, xmipp) in found.items():
        number = (key - 1) // PICKS
        assert (x, y) == places(number)[(key - 1) % PICKS]
        assert (micId, micName) == (number + 1, feeder.names[number + 1])
        assert score == xmipp == pytest.approx(kept[key], abs=1e-6)
    assert output.isStreamClosed()
    assert output.getBoxSize() == BOX
    assert output.getMicrographs().getSize() == 3
    text = "\n".join(done._summary())
    assert "180 coordinates on 3 micrographs" in text
    assert "%d are kept, %d rejected" % (len(kept), 180 - len(kept)) in text
    assert "cpu" in text  # what the network ran on
    assert "0.8" in done._methods()[0]
    assert len(list(Path(done._getExtraPath("predictor", "job", "thumbnails")).glob("*.png"))) == 3


def test_nothing_is_removed_without_a_threshold(project, monkeypatch, simulated):
    """-1 keeps every coordinate, also those outside the picture, and scores all of them."""
    outside = [(-30, 500), (5000, 20), (500, 500)]
    feeder = fed(project, simulated, 2, lambda number: outside)
    done = ran(project, protocol_of(project, feeder), monkeypatch)
    assert done.isFinished(), log_of(done)
    found = rows(done.outputCoordinates_Full)
    assert [row[:2] for row in found.values()] == outside * 2
    assert [row[4] for row in found.values()][:2] == [0.0, 0.0]
    assert all(row[4] is not None for row in found.values())


def test_everything_rejected(project, monkeypatch, simulated):
    """When nothing is kept the output is there, empty and closed, and the summary says so."""
    feeder = fed(project, simulated, 2, lambda number: [(-500, -500)])
    done = ran(project, protocol_of(project, feeder, threshold=0.5), monkeypatch)
    assert done.isFinished(), log_of(done)
    assert done.outputCoordinates_Auto_050.getSize() == 0
    assert done.outputCoordinates_Auto_050.isStreamClosed()
    assert rows(done.outputCoordinates_Auto_050) == {}
    assert "0 are kept, 2 rejected" in done._summary()[0]
    assert "outside frame: 2" in done._summary()[1]


def test_threshold_zero_filters(project, monkeypatch, simulated):
    """NOT to copy: 0 is a threshold. It is named _Auto_000 and compares, as `micscreen` does. And
    saveMasks keeps a mask; without thumbnails none is made."""
    feeder = fed(project, simulated, 1)
    asked = {"saveMasks": True, "saveMicThumbnailWithMask": False}
    done = ran(project, protocol_of(project, feeder, threshold=0, **asked), monkeypatch)
    assert done.isFinished(), log_of(done)
    assert done.getOutputName() == "outputCoordinates_Auto_000"
    assert len(rows(done.outputCoordinates_Auto_000)) == PICKS
    assert "(threshold 0)" in done._summary()[0]
    job = Path(done.jobFolder())
    assert len(list((job / "masks").glob("*.tif"))) == 1
    assert not list(job.glob("thumbnails/*"))


def test_empty_input(project, monkeypatch, simulated):
    """A closed set without coordinates ends at once, with an empty output."""
    feeder = Feeder(project)
    feeder.add(images(simulated)[0], [])
    feeder.close()
    done = ran(project, protocol_of(project, feeder, threshold=0.8), monkeypatch)
    assert done.isFinished(), log_of(done)
    assert done.outputCoordinates_Auto_080.getSize() == 0


def test_micrographs_that_cannot_be_read(project, monkeypatch, simulated, tmp_path):
    """A damaged, a missing and a stacked micrograph cost their own coordinates alone, and are named
    with their reasons; batches of one are accepted (NOT to copy: the old one refused them)."""
    damaged = tmp_path / "damaged.mrc"
    damaged.write_bytes(images(simulated)[0].read_bytes()[:5000])
    feeder = Feeder(project)
    feeder.add(images(simulated)[0], places(0))
    feeder.add(damaged, places(1))
    feeder.add(tmp_path / "gone.mrc", places(2))
    feeder.close()
    done = ran(
        project, protocol_of(project, feeder, threshold=0.8, streamingBatchSize=1), monkeypatch
    )
    assert done.isFinished(), log_of(done)
    assert {row[3] for row in rows(done.outputCoordinates_Auto_080).values()} == {
        images(simulated)[0].name
    }
    text = "\n".join(done._summary())
    assert "60 coordinates on 1 micrographs" in text
    assert "2 micrographs failed" in text
    assert "damaged.mrc: " in text
    assert "no such file" in text


def test_all_micrographs_unreadable(project, monkeypatch, tmp_path):
    """When not one micrograph can be read the protocol fails, and says why."""
    feeder = Feeder(project)
    feeder.add(tmp_path / "gone.mrc", places(2))
    feeder.close()
    done = ran(project, protocol_of(project, feeder), monkeypatch)
    assert done.isFailed()
    assert "no such file" in done.getErrorMessage()
