# SPDX-License-Identifier: GPL-3.0-or-later
"""A Scipion of its own, before pyworkflow is imported; micrographs that micscreen simulated."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
PROGRAM = os.environ.get("MICSCREEN_PROGRAM", str(REPOSITORY / ".venv" / "bin" / "micscreen"))

HOME = Path(tempfile.mkdtemp(prefix="scipion-"))
os.environ.update(
    SCIPION_HOME=str(HOME),
    SCIPION_USER_DATA=str(HOME / "data"),
    SCIPION_DOMAIN="pwem",
    SCIPION_PYTHON=sys.executable,
    SCIPION_NOTIFY="False",
    SCIPION_TEST_NOSYNC="True",
    SCIPION_STEPS_CHECK_SEC="1",
    MPLBACKEND="Agg",
    MICSCREEN_ENV_ACTIVATION=PROGRAM,
    OMP_NUM_THREADS="1",
    OPENBLAS_NUM_THREADS="1",
)
(HOME / "config").mkdir()
(HOME / "data" / "projects").mkdir(parents=True)

import pyworkflow as pw  # noqa: E402
from pyworkflow.project import Manager  # noqa: E402
from pyworkflow.protocol import HostConfig  # noqa: E402

HostConfig.writeBasic(str(HOME / "config" / "hosts.conf"))
pw.Config.setDomain("pwem")


def pytest_sessionfinish(session, exitstatus):
    import shutil

    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    """Folder of six simulated micrographs of 1024 px with particles, film, ice, aggregates."""
    folder = tmp_path_factory.mktemp("simulated")
    kinds = ["--kind", "mixed", "--kind", "film", "--kind", "clean"]
    size = ["--size", "1024x1024", "-b", "64", "--pixel-size", "2.0", "--seed", "3"]
    command = [PROGRAM, "simulate", "-o", str(folder), "-n", "6", *kinds, *size, "-q"]
    subprocess.run(command, check=True)
    return folder


@pytest.fixture
def project(tmp_path):
    """An empty Scipion project, which is the working directory."""
    here = os.getcwd()
    manager = Manager()
    made = manager.createProject("p%s" % tmp_path.name, location=str(tmp_path))
    os.chdir(made.path)
    yield made
    made.closeMapper()
    os.chdir(here)
