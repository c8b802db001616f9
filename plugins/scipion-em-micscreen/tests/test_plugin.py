# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin as Scipion sees it: found, listed, checked, installed; what the form refuses."""

import os
import subprocess
import sys

import pytest
from conftest import PROGRAM, REPOSITORY
from feeder import Feeder
from helpers import fed, protocol_of
from pwem import Domain

from scipion_micscreen import Plugin
from scipion_micscreen.constants import ENV_ACTIVATION, PIP_REQUIREMENT
from scipion_micscreen.protocols import MicscreenProtDeepMicrographScreen


def scipion(*arguments):
    """Run scipion-app in this environment, whose `python` it takes from the path."""
    here = os.path.dirname(sys.executable)
    return subprocess.run(
        [sys.executable, "-m", "scipion", *arguments],
        env={**os.environ, "PATH": here + os.pathsep + os.environ["PATH"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        timeout=120,
        check=False,
    )


def test_listed():
    """`scipion protocols` lists the protocol under the label that users know."""
    said = scipion("protocols").stdout
    (line,) = [one for one in said.splitlines() if "MicscreenProtDeepMicrographScreen" in one]
    assert "deep micrograph cleaner" in said
    assert "scipion_micscreen" in line or "micscreen" in said


def test_found():
    """The entry point makes protocol, viewer, logo and references known."""
    assert "MicscreenProtDeepMicrographScreen" in Domain.getProtocols()
    assert [v.__name__ for v in Domain.findViewers("MicscreenProtDeepMicrographScreen", "tkinter")]
    import scipion_micscreen

    folder = os.path.dirname(scipion_micscreen.__file__)
    assert os.path.exists(os.path.join(folder, scipion_micscreen._logo))
    cited = MicscreenProtDeepMicrographScreen().getCitations(bibTexOutput=True)
    assert [entry["ENTRYTYPE"] for entry in cited.values()] == ["misc", "article"]


def test_installation_is_checked_as_it_is_run(monkeypatch, tmp_path):
    """NOT to copy: what is validated is the very program that runs. A wrong path, a program that
    fails, and a right one by path or by activation."""
    assert Plugin.validateInstallation() == []
    monkeypatch.setitem(Plugin._vars, ENV_ACTIVATION, str(tmp_path / "nothing"))
    assert any(ENV_ACTIVATION in line for line in Plugin.validateInstallation())
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no library\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setitem(Plugin._vars, ENV_ACTIVATION, str(broken))
    assert any("no library" in line for line in Plugin.validateInstallation())
    activation = ". %s/activate" % os.path.dirname(PROGRAM)
    monkeypatch.setitem(Plugin._vars, ENV_ACTIVATION, activation)
    assert Plugin.getProgram() == activation + " && micscreen"
    assert Plugin.validateInstallation() == []


def test_binaries_are_installed(tmp_path, monkeypatch):
    """What `scipion installb micscreen` runs makes an environment in which micscreen starts."""

    class Environment:
        def addPackage(self, name, **given):
            self.name, self.given = name, given

    environment = Environment()
    monkeypatch.setitem(Plugin._vars, PIP_REQUIREMENT, "%s[view]" % REPOSITORY)
    Plugin.defineBinaries(environment)
    assert environment.name == "micscreen"
    ((command, target),) = environment.given["commands"]
    python = {**os.environ, "MICSCREEN_PYTHON": sys.executable}
    subprocess.run(command, shell=True, cwd=tmp_path, env=python, check=True, timeout=300)
    subprocess.run([str(tmp_path / target), "--version"], check=True)


def refused(project, feeder, **given):
    """Return the errors of a protocol with parameters."""
    return " ".join(protocol_of(project, feeder, **given).validate())


def test_form(project, simulated):
    """What cannot work is refused with the reason; a batch of one is not (NOT to copy)."""
    feeder = fed(project, simulated, 1)
    assert refused(project, feeder, threshold=0.8, streamingBatchSize=1) == ""
    assert "between 0 and 1" in refused(project, feeder, threshold=1.5)
    assert "batch size" in refused(project, feeder, streamingBatchSize=-2)
    assert "3 threads" in refused(project, feeder, numberOfThreads=2)
    assert "other micrographs" in refused(project, feeder, micsSource=1)
    assert "list of GPUs" in refused(project, feeder, useGpu=True, gpuList="first")
    assert protocol_of(project, feeder, threshold=0.3)._warnings()
    assert not protocol_of(project, feeder, threshold=0.8)._warnings()
    boxless = Feeder(project)
    boxless.coordinates.setBoxSize(None)
    boxless.add(sorted((simulated / "images").glob("*.mrc"))[0], [(5, 5)])
    boxless.close()
    assert "box size" in refused(project, boxless)


@pytest.mark.parametrize(
    ("threshold", "name"),
    [(-1, "Full"), (0, "Auto_000"), (0.8, "Auto_080"), (0.29, "Auto_029"), (0.905, "Auto_091")],
)
def test_names_are_rounded(project, threshold, name):
    """NOT to copy: 0.29 is 029, not the 028 that cutting off digits gives."""
    protocol = project.newProtocol(MicscreenProtDeepMicrographScreen, threshold=threshold)
    assert protocol.getOutputName() == "outputCoordinates_" + name


def test_what_others_ask(project, simulated):
    """The methods by which other protocols ask have the answers of the inputs."""
    protocol = protocol_of(project, fed(project, simulated, 1))
    assert protocol.getInputMicrographs().getSize() == 1
    assert protocol.getInputMicrographsPointer().get().getSize() == 1
    assert protocol.getCoords().getSize() == 60
    assert (protocol.getCoordSampling(), protocol.getMicSampling()) == (2.0, 2.0)
    assert (protocol.getBoxScale(), protocol.getBoxSize()) == (1.0, 64)
    assert protocol.getAutoSuffix() == "_Full"
    assert protocol.getOutput() is None
