# SPDX-License-Identifier: GPL-3.0-or-later
"""The viewer on a real run: plots, coordinates, what it registers, the browser."""

import os
import re
import subprocess
import time
import urllib.request

import matplotlib
import numpy as np
import pytest
from feeder import PICKS
from helpers import fed, launched, log_of, protocol_of, rows
from pwem.objects import SetOfCoordinates

from scipion_micscreen.manual import goodnessOf
from scipion_micscreen.viewers import MicscreenViewer
from scipion_micscreen.viewers.viewer_deep_micrograph_screen import JobView


@pytest.fixture
def viewer(project, simulated):
    """A viewer of a run at threshold 0.9."""
    done = launched(project, protocol_of(project, fed(project, simulated), threshold=0.9))
    assert done.isFinished(), log_of(done)
    made = MicscreenViewer(project=project)
    made.setProtocol(done)
    return made


def shown(viewer, name):
    """Return the views behind a button."""
    return viewer._getVisualizeDict()[name](name)


def test_viewer(viewer, project, tmp_path):
    """Histogram of all scores, thumbnails in pages, coordinates at a threshold below the run's, a
    registered output that keeps scores, is stored in the project, and is made once; and the job in
    the browser."""
    assert matplotlib.get_backend().lower() == "agg"
    (histogram,) = shown(viewer, "showHistogram")
    axes = histogram.figure.axes[0]
    assert sum(patch.get_height() for patch in axes.patches) == 3 * PICKS
    viewer.page.set(9)  # beyond the last: the last is shown
    (thumbnails,) = shown(viewer, "showThumbnails")
    assert len([one for one in thumbnails.figure.axes if one.images]) == 3
    folder = os.environ.get("MICSCREEN_PICTURES")
    if folder:
        histogram.figure.savefig(os.path.join(folder, "scipion-histogram.png"))
        thumbnails.figure.savefig(os.path.join(folder, "scipion-thumbnails.png"))

    run, goodness = viewer.protocol, goodnessOf(viewer.protocol)
    viewer.viewThreshold.set(0.5)
    (coordinates,) = shown(viewer, "showCoordinates")
    above = int((goodness >= np.float32(0.5)).sum())
    assert len(rows(run.outputCoordinates_Auto_090)) < above < 3 * PICKS
    assert coordinates._emSet.getSize() == above

    for _ in range(2):
        assert shown(viewer, "registerCoordinates") == []
    again = project.getProtocol(run.getObjId())
    output = again.outputCoordinates_Manual_050
    assert isinstance(output, SetOfCoordinates)
    found = rows(output)
    assert len(found) == output.getSize() == above
    assert min(row[4] for row in found.values()) >= 0.5
    assert all(row[4] == row[5] for row in found.values())
    viewer.viewThreshold.set(1.5)
    assert viewer._validate()
    browse(viewer, tmp_path)


def browse(viewer, tmp_path):
    """Check that the button starts `micscreen view` on the run's own job, which then answers."""
    (view,) = shown(viewer, "openJob")
    assert isinstance(view, JobView)
    with open(tmp_path / "said", "w") as said:
        server = subprocess.Popen(
            view._cmd + " --no-browser",
            shell=True,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        deadline, found = time.monotonic() + 60, None
        while not found and time.monotonic() < deadline:
            time.sleep(0.2)
            found = re.search(r"http://\S+", (tmp_path / "said").read_text())
        assert found, (tmp_path / "said").read_text()
        assert b"micscreen" in urllib.request.urlopen(found.group()).read()
    finally:
        os.killpg(server.pid, 15)
        server.wait()
