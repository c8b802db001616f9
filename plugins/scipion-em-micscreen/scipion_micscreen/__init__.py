# SPDX-License-Identifier: GPL-3.0-or-later
"""Scipion plugin for micscreen, which runs in an environment of its own as a command."""

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys

import pwem
import pyworkflow.utils as pwutils

from .constants import ENV_ACTIVATION, PIP_REQUIREMENT, VERSION

__version__ = "1.0.0"
_logo = "micscreen_logo.png"
_references = ["micscreen"]


class Plugin(pwem.Plugin):
    _supportedVersions = [VERSION]

    @classmethod
    def _defineVariables(cls):
        cls._defineVar(
            ENV_ACTIVATION,
            "",
            description="Where micscreen is: the path of its executable, or a shell command that "
            "activates its environment. Empty: what 'scipion installb micscreen' made, or else "
            "the interpreter that runs Scipion.",
        )
        cls._defineVar(
            PIP_REQUIREMENT,
            "micscreen[view]",
            description="What pip is to install by 'scipion installb micscreen': a folder with the "
            "sources, or a requirement. For GPUs with [view,cuda] behind it.",
        )

    @classmethod
    def getEnviron(cls):
        """Return an environment for micscreen that knows nothing of Scipion's Python."""
        environ = pwutils.Environ(os.environ)
        for name in ("PYTHONPATH", "PYTHONHOME"):
            environ.pop(name, None)
        return environ

    @classmethod
    def getInstalledProgram(cls):
        """Return the path where `scipion installb micscreen` puts the executable."""
        folder = os.path.join(pwem.Config.EM_ROOT, "micscreen-%s" % VERSION)
        return os.path.join(folder, "env", "bin", "micscreen")

    @classmethod
    def getProgram(cls):
        """Return the shell text that starts micscreen: arguments may follow."""
        given = (cls.getVar(ENV_ACTIVATION) or "").strip()
        if given:
            path = os.path.expanduser(given)
            if os.path.isfile(path) and os.access(path, os.X_OK):
                return shlex.quote(path)
            if shutil.which(given):
                return shlex.quote(given)
            return "%s && micscreen" % given.rstrip("&; ")
        if os.path.exists(cls.getInstalledProgram()):
            return shlex.quote(cls.getInstalledProgram())
        return "%s -m micscreen" % shlex.quote(sys.executable)

    @classmethod
    def validateInstallation(cls):
        """Return what is wrong, by asking the very program that a run would start."""
        program = cls.getProgram()
        own = program.endswith(" -m micscreen")
        if own and importlib.util.find_spec("micscreen") is None:
            return [
                "micscreen was not found.",
                "Install it with 'scipion installb micscreen', or set %s in scipion.conf to the "
                "path of its executable." % ENV_ACTIVATION,
            ]
        asked = subprocess.run(
            program + " --version",
            shell=True,
            env=cls.getEnviron(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
            check=False,
        )
        if asked.returncode == 0:
            return []
        return [
            "micscreen does not start: %s" % program,
            asked.stdout.strip()[-500:],
            "Set %s in scipion.conf to the path of its executable." % ENV_ACTIVATION,
        ]

    @classmethod
    def defineBinaries(cls, env):
        python = shlex.quote(os.environ.get("MICSCREEN_PYTHON", "python3"))
        what = shlex.quote(cls.getVar(PIP_REQUIREMENT))
        install = (
            "%s -c 'import sys; sys.exit(sys.version_info < (3, 11) and "
            '"micscreen needs Python 3.11: set MICSCREEN_PYTHON")\' && '
            "%s -m venv env && env/bin/python -m pip install %s && env/bin/micscreen --version"
        ) % (python, python, what)
        env.addPackage(
            "micscreen",
            version=VERSION,
            tar="void.tgz",
            commands=[(install, "env/bin/micscreen")],
            neededProgs=[],
            default=True,
        )
