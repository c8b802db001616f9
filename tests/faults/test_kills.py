"""kill -9 at random moments: a continued job ends as one that nothing disturbed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from kills import kill_often
moments, jobs, wrong = kill_often(Path(sys.argv[2]), 16, seed=int(sys.argv[3]))
print(dict(moments), jobs, wrong)
assert moments.total() == 16 and jobs > 0 and not wrong
"""


def test_sixteen_kills_change_nothing(tmp_path: Path) -> None:
    """Inputs untouched, every micrograph once, all files and scores as ever."""
    # A process of its own, without the test runner's threads, since it forks.
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, here, str(tmp_path), "5"],
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
