"""PBS, LSF and SGE by their commands: stand-ins take the job scripts that real queues would get.

None of these queues runs here, so what is shown is that the documented configuration gives job
scripts that start workers, in the form in which the commands take them. SLURM is tested for real.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from test_dask import COMMAND, OPTIONS, same
from test_pipeline import data_set

pytest.importorskip("dask_jobqueue")

EXAMPLE = Path(__file__).parents[1] / "docs" / "jobqueue.yaml"

# Queues keep a copy of the script: dask-jobqueue removes its own when the command has answered.
TAKE_FILE = 'cat "$1"'
TAKE_INPUT = "cat"
RUN = """#!/bin/sh
{take} > "$QUEUE/$$.sh"
setsid sh "$QUEUE/$$.sh" > "$QUEUE/$$.log" 2>&1 < /dev/null &
echo $! >> "$QUEUE/started"
echo "{answer}"
"""
CANCEL = """#!/bin/sh
for id in "$@"; do kill -TERM -"$id"; echo "$id" >> "$QUEUE/cancelled"; done
"""
PROGRAMS = {
    "pbs": {"qsub": (TAKE_FILE, "$!.server"), "qdel": None},
    "sge": {"qsub": (TAKE_FILE, "Your job $! has been submitted"), "qdel": None},
    "lsf": {"bsub": (TAKE_INPUT, "Job <$!> is submitted to queue <cpu>."), "bkill": None},
}
ASKED = {
    "pbs": ("#PBS -q cpu", "#PBS -l select=1:ncpus=8:mem=16gb", "#PBS -l walltime=04:00:00"),
    "sge": ("#$ -q all.q", "#$ -l h_vmem=2G", "#$ -pe smp 8", "#$ -l h_rt=04:00:00"),
    "lsf": ("#BSUB -q cpu", "#BSUB -n 8", "#BSUB -W 04:00"),
}


def stop(queue: Path) -> None:
    """End what is left of the jobs, and say what they printed."""
    for number in (queue / "started").read_text().split():
        with suppress(ProcessLookupError):
            os.killpg(int(number), signal.SIGKILL)
    for log in queue.glob("*.log"):
        print(log.read_text())


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_queue_gets_its_jobs_and_they_are_cancelled(tmp_path: Path, kind: str) -> None:
    """Two jobs go to the queue as the example describes, do the work, and are taken back."""
    data_set(tmp_path, 12)
    queue, programs = tmp_path / "queue", tmp_path / "bin"
    queue.mkdir()
    programs.mkdir()
    for name, what in PROGRAMS[kind].items():
        text = CANCEL if what is None else RUN.format(take=what[0], answer=what[1])
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    described = yaml.safe_load(EXAMPLE.read_text())
    described["jobqueue"][kind] |= {"processes": 1, "memory": "2GB"}  # two cores are all there is
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "jobqueue.yaml").write_text(yaml.safe_dump(described))
    environment = os.environ | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "QUEUE": str(queue),
        "DASK_CONFIG": str(tmp_path / "conf"),
    }
    subprocess.run([*COMMAND, *OPTIONS, "-o", "alone"], cwd=tmp_path, check=True)
    command = [*COMMAND, *OPTIONS, "-o", "queued", "--dask", f"{kind}:2"]
    try:
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=240)
    finally:
        stop(queue)
    scripts = [path.read_text() for path in queue.glob("*.sh")]
    assert len(scripts) == 2
    for line in (*ASKED[kind], f"{sys.executable} -m distributed.cli.dask_worker"):
        assert all(line in script for script in scripts), (line, scripts[0])
    started = {line.partition(".")[0] for line in (queue / "started").read_text().split()}
    assert set((queue / "cancelled").read_text().split()) == started
    shutil.rmtree(tmp_path / "queued" / "workers")
    same(tmp_path, "queued")


def test_the_example_describes_every_queue() -> None:
    """docs/jobqueue.yaml has what dask-jobqueue wants for each queue that --dask takes."""
    from micscreen.run.cluster import QUEUES

    described = yaml.safe_load(EXAMPLE.read_text())["jobqueue"]
    assert set(described) == set(QUEUES)
    assert all({"cores", "processes", "memory"} <= set(one) for one in described.values())
