# SPDX-License-Identifier: GPL-3.0-or-later
"""Another set of micrographs of the same fields of view, at twice the pixel size."""

import mrcfile
import numpy as np
import pytest
from feeder import BOX, PICKS, SAMPLING, Feeder, places
from helpers import ended, fed, images, launched, log_of, protocol_of, ran, rows, until

ORIGINAL, SCALED = 0, 1


@pytest.fixture(scope="module")
def binned(simulated, tmp_path_factory):
    """Paths of the first three micrographs, averaged over 2 x 2 px, under their own names."""
    folder, paths = tmp_path_factory.mktemp("binned"), []
    for path in images(simulated):
        with mrcfile.open(path) as source:
            small = source.data.reshape(512, 2, 512, 2).mean((1, 3)).astype(np.float32)
        with mrcfile.new(folder / path.name) as target:
            target.set_data(small)
            target.voxel_size = 2 * SAMPLING
        paths.append(folder / path.name)
    return paths


def others_of(project, binned, order=(2, 0, 1)):
    """Return a feeder of the binned micrographs in another order, so with other ids."""
    others = Feeder(project, sampling=2 * SAMPLING, coordinates=False)
    for number in order:
        others.add(binned[number])
    return others


def near(found, expected, tolerance):
    """Whether scores agree as well as pictures do of which one is binned."""
    return np.median(np.abs(np.array(found) - np.array(expected))) <= tolerance


def test_output_on_the_picked_micrographs(project, monkeypatch, simulated, binned):
    """By default the output is untouched: places, micrographs and box of picking, related by name
    although ids differ, with scores like those on the micrographs themselves."""
    feeder = fed(project, simulated)
    own = ran(project, protocol_of(project, feeder), monkeypatch)
    others = others_of(project, binned)
    others.close()
    asked = protocol_of(project, feeder, others, useOtherScale=ORIGINAL)
    done = ran(project, asked, monkeypatch)
    assert done.isFinished(), log_of(done)
    found, alone = rows(done.outputCoordinates_Full), rows(own.outputCoordinates_Full)
    assert [row[:4] for row in found.values()] == [row[:4] for row in alone.values()]
    assert near([row[4] for row in found.values()], [row[4] for row in alone.values()], 0.02)
    assert done.outputCoordinates_Full.getBoxSize() == BOX
    assert done.outputCoordinates_Full.getMicrographs().getSamplingRate() == SAMPLING
    assert done.getBoxScale() == 0.5


def test_output_on_the_other_micrographs(project, simulated, binned):
    """NOT to copy: scaled coordinates belong to the other micrographs (ids and names of these), at
    the nearest pixel there, and the set says so, with the box scaled too."""
    feeder = fed(project, simulated)
    others = others_of(project, binned)
    others.close()
    done = launched(project, protocol_of(project, feeder, others, useOtherScale=SCALED))
    assert done.isFinished(), log_of(done)
    ids = {name: key for key, name in others.names.items()}
    output = done.outputCoordinates_Full
    for key, (x, y, micId, micName, *_) in rows(output).items():
        number = (key - 1) // PICKS
        was = places(number)[(key - 1) % PICKS]
        assert micName == binned[number].name
        assert micId == ids[micName]
        assert abs((x + 0.5) * 2 - 0.5 - was[0]) <= 1
        assert abs((y + 0.5) * 2 - 0.5 - was[1]) <= 1
    assert output.getBoxSize() == BOX // 2
    assert output.getMicrographs().getSamplingRate() == 2 * SAMPLING


def test_late_and_missing_partners(project, simulated, binned):
    """NOT to copy: the other set decides too when the end has come. A micrograph of it that comes
    after the coordinates were closed is taken; one that never comes is reported."""
    feeder = fed(project, simulated)
    others = Feeder(project, sampling=2 * SAMPLING, coordinates=False)
    others.add(binned[0])
    protocol = protocol_of(project, feeder, others, threshold=0.8)
    project.launchProtocol(protocol, wait=False)
    until(project, protocol, lambda p: p.getOutput() and len(rows(p.getOutput())) > 0)
    assert protocol.isActive()
    others.add(binned[2])
    others.close()
    done = ended(project, protocol)
    assert done.isFinished(), log_of(done)
    assert {row[2] for row in rows(done.outputCoordinates_Auto_080).values()} == {1, 3}
    text = "\n".join(done._summary())
    assert "120 coordinates on 2 micrographs" in text
    assert "1 micrographs are missing" in text
    assert "%s: %d coordinates" % (binned[1].name, PICKS) in text


def test_related_by_id(project, monkeypatch, simulated, binned):
    """When not one name is in both sets, equal ids are the same field of view; a subset is one."""
    feeder = fed(project, simulated)
    others = Feeder(project, sampling=2 * SAMPLING, coordinates=False)
    for number in (0, 2):
        others.add(binned[number], micId=number + 1, name="filtered_%d.mrc" % number)
    others.close()
    asked = protocol_of(project, feeder, others, useOtherScale=SCALED)
    done = ran(project, asked, monkeypatch)
    assert done.isFinished(), log_of(done)
    found = {row[2:4] for row in rows(done.outputCoordinates_Full).values()}
    assert found == {(1, "filtered_0.mrc"), (3, "filtered_2.mrc")}
    assert len(done.missing()) == 1
