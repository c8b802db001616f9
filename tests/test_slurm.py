"""The same job over SLURM: a real one-node cluster without systemd, workers as its jobs."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from test_dask import COMMAND, OPTIONS, same, wait_for
from test_pipeline import data_set

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "scancel", "squeue")
missing = [name for name in PROGRAMS if shutil.which(name) is None]
pytestmark = [
    pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}"),
    pytest.mark.skipif(os.getuid() != 0, reason="a SLURM of one's own needs root"),
]
pytest.importorskip("dask_jobqueue")

CONFIGURATION = """
ClusterName=micscreen
SlurmctldHost={host}
SlurmctldPort={control}
SlurmdPort={daemon}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} CPUs=4 RealMemory=4000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=YES
"""

QUEUE = """
jobqueue:
  slurm:
    cores: 1
    processes: 1
    memory: 1GB
    interface: lo
    walltime: "00:10:00"
    scheduler-options: {dashboard_address: null}
"""


class Slurm:
    """munge, slurmctld and slurmd of our own, in one folder, stopped by their process ids."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes = folder, []  # type: Path, list[subprocess.Popen[bytes]]
        for name in ("state", "spool"):
            (folder / name).mkdir()
        host = socket.gethostname().split(".")[0]
        control, daemon = _free_ports(2)
        words = {"host": host, "folder": folder, "control": control, "daemon": daemon}
        (folder / "slurm.conf").write_text(CONFIGURATION.format(**words))
        (folder / "jobqueue.yaml").write_text(QUEUE)
        (folder / "key").write_bytes(os.urandom(1024))
        (folder / "key").chmod(0o400)
        self.environment = {
            **os.environ,
            "SLURM_CONF": str(folder / "slurm.conf"),
            "DASK_CONFIG": str(folder / "jobqueue.yaml"),
        }
        self.start(
            "munged", "--foreground", "--force", f"--socket={folder}/munge.socket",
            f"--key-file={folder}/key", f"--pid-file={folder}/munged.pid",
            f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed",
        )  # fmt: skip
        self._wait(lambda: (folder / "munge.socket").exists(), "munge")
        self.start("slurmctld", "-D")
        self.start("slurmd", "-D", "-N", host)
        self._wait(lambda: "idle" in self.ask("sinfo", "-h", "-o", "%t"), "slurm")

    def start(self, *words: str) -> None:
        with (self.folder / "daemons.log").open("ab") as log:
            self.processes.append(
                subprocess.Popen(words, env=self.environment, stdout=log, stderr=log)
            )

    def ask(self, *words: str) -> str:
        done = subprocess.run(
            words, env=self.environment, capture_output=True, text=True, check=False
        )
        return done.stdout

    def jobs(self) -> list[str]:
        """Return the numbers of the jobs that run."""
        return self.ask("squeue", "-h", "-t", "R", "-o", "%i").split()

    def _wait(self, ready: object, what: str) -> None:
        until = time.monotonic() + 120
        while not ready():  # type: ignore[operator]
            if time.monotonic() > until:
                logs = "".join(p.read_text()[-1500:] for p in self.folder.glob("*.log"))
                self.stop()
                raise AssertionError(f"{what} does not start: {logs}")
            time.sleep(0.1)

    def stop(self) -> None:
        self.ask("scancel", "--user=root", "--signal=KILL", "--full")
        self.ask("scancel", "--user=root")
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Slurm]:
    folder = tmp_path / "slurm"
    folder.mkdir()
    running = Slurm(folder)
    yield running
    running.stop()


def test_workers_as_jobs_of_slurm_one_of_them_cancelled(tmp_path: Path, slurm: Slurm) -> None:
    """dask-jobqueue submits two workers; scancel takes one; the bytes are the same."""
    data_set(tmp_path, 60)
    alone = [*COMMAND, *OPTIONS, "-o", "alone", "--threads", "1"]
    subprocess.run(alone, cwd=tmp_path, check=True)
    job = subprocess.Popen(
        [*COMMAND, *OPTIONS, "-o", "queued", "--dask", "slurm:2"],
        cwd=tmp_path, env=slurm.environment,
    )  # fmt: skip
    wait_for(tmp_path / "queued", 3)
    running = slurm.jobs()
    assert running
    slurm.ask("scancel", running[0])
    assert job.wait(240) == 0
    shutil.rmtree(tmp_path / "queued" / "workers")
    same(tmp_path, "queued")
    until = time.monotonic() + 120
    while slurm.ask("squeue", "-h").strip() and time.monotonic() < until:
        time.sleep(0.2)
    assert slurm.ask("squeue", "-h").strip() == ""
