"""The same job over Dask: real schedulers and worker processes on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from micscreen.errors import DeviceError, JobError, UsageError
from micscreen.run.cluster import DaskEngine, open_cluster
from micscreen.run.workers import network_on_workers
from test_pipeline import data_set, outputs, stored

distributed = pytest.importorskip("distributed")

COMMAND = [sys.executable, "-m", "micscreen", "screen", "mics", "-c", "picks", "-b", "32"]
OPTIONS = ["--flip-y", "no", "--thumbnails", "2", "--save-masks", "--quiet"]


def run(folder: Path, job: str, *words: object) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *OPTIONS, "-o", job, *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty micrographs with picks, one of them corrupt, and the job of one thread over them."""
    folder = tmp_path_factory.mktemp("cluster")
    data_set(folder, 40)
    (folder / "mics" / "mic_007.mrc").write_bytes(b"no micrograph at all")
    done = run(folder, "alone", "--threads", 1)
    assert done.returncode == 3, done.stderr
    return folder


class Cluster:
    """A scheduler and worker processes that anybody could have started, working elsewhere."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder = folder
        folder.mkdir()
        self.file = folder / "scheduler.json"
        self.processes = [
            self.start("dask_scheduler", "--scheduler-file", self.file, "--host", "127.0.0.1",
                       "--port", 0, "--no-dashboard")
        ]  # fmt: skip
        until = time.monotonic() + 120
        while not self.file.exists() and time.monotonic() < until:
            time.sleep(0.1)
        self.processes += [self.worker() for _ in range(workers)]

    def start(self, program: str, *words: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.{program}", *map(str, words)]
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)

    def worker(self) -> subprocess.Popen[bytes]:
        return self.start(
            "dask_worker", "--scheduler-file", self.file, "--nthreads", 1, "--no-nanny",
            "--no-dashboard", "--memory-limit", 0,
        )  # fmt: skip

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    running = Cluster(tmp_path / "elsewhere", 2)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def engine() -> Iterator[DaskEngine]:
    """Two worker processes, for functions of our own."""
    with open_cluster("local:2", Path(), "cpu", None) as started:
        yield started


def same(data: Path, job: str) -> None:
    """Outputs are equal byte for byte; so is all that the store knows, but times."""
    assert outputs(data / job) == outputs(data / "alone")
    assert stored(data / job) == stored(data / "alone")


def wait_for(job: Path, done: int) -> None:
    """Wait until a number of micrographs is stored."""
    import sqlite3

    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            with sqlite3.connect(f"file:{job / 'screen.sqlite'}?mode=ro", uri=True) as store:
                query = "SELECT count(*) FROM micrographs WHERE status != 'pending'"
                if store.execute(query).fetchone()[0] >= done:
                    return
        except sqlite3.Error:
            pass
        time.sleep(0.02)
    raise AssertionError("nothing was done")


def test_processes_here_give_what_one_thread_gives(data: Path) -> None:
    """`--dask local:2` writes the same bytes as one thread, failed rows among them."""
    done = run(data, "local", "--dask", "local:2")
    assert done.returncode == 3, done.stderr
    same(data, "local")


def test_workers_killed_in_the_middle_change_nothing(data: Path, cluster: Cluster) -> None:
    """Over a running scheduler whose workers have another folder, both die by SIGKILL in turn."""
    job = subprocess.Popen([*COMMAND, *OPTIONS, "-o", "killed", "--dask", cluster.file], cwd=data)
    for number, done in ((1, 5), (2, 15)):
        wait_for(data / "killed", done)
        cluster.processes[number].kill()
        cluster.processes.append(cluster.worker())
    assert job.wait(240) == 3
    same(data, "killed")


def test_a_lost_scheduler_is_an_error_and_the_job_goes_on_later(
    data: Path, cluster: Cluster
) -> None:
    """Without its scheduler the run ends with a word for people; the same job then ends alone."""
    job = subprocess.Popen(
        [*COMMAND, *OPTIONS, "-o", "lost", "--dask", cluster.file],
        cwd=data, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(data / "lost", 3)
    cluster.processes[0].kill()
    _, errors = job.communicate(timeout=240)
    assert job.returncode == 2, errors
    assert "connection to the Dask scheduler is lost" in errors
    assert run(data, "lost", "--threads", 1).returncode == 3
    same(data, "lost")


def test_ctrl_c_and_again_over_a_cluster(data: Path, cluster: Cluster) -> None:
    """Interrupted, the run finishes what is in flight; the same command then completes it."""
    job = subprocess.Popen([*COMMAND, *OPTIONS, "-o", "again", "--dask", cluster.file], cwd=data)
    wait_for(data / "again", 3)
    job.send_signal(signal.SIGINT)
    assert job.wait(240) in (130, 3)
    assert run(data, "again", "--dask", cluster.file).returncode == 3
    same(data, "again")


def test_a_stream_works_over_a_cluster(tmp_path: Path, cluster: Cluster) -> None:
    """With --watch the workers do the micrographs, and the outputs are those of one thread."""
    data_set(tmp_path, 12)
    assert run(tmp_path, "alone", "--threads", 1).returncode == 0
    done = run(
        tmp_path, "stream", "--dask", cluster.file, "--watch", "--quiet-time", 0, "--poll", 0.3,
        "--idle-timeout", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    same(tmp_path, "stream")


def die(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_job_that_kills_its_workers_is_given_up_alone(engine: DaskEngine) -> None:
    """After many deaths its result is the one for lost jobs; all others are done."""
    found = list(engine.map(die, range(12), lambda job, why: -job if "died" in why else 0))
    assert sorted(found) == [-3, 0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11]


def die_beside(number: int) -> int:
    time.sleep(0.1 if number == 3 else 1.5)
    return die(number)


def test_jobs_beside_one_that_kills_its_workers_are_not_given_up() -> None:
    """Dask blames all jobs of a worker that dies; those that can be done are done in the end."""
    with open_cluster("local:1", Path(), "cpu", 2) as one:
        found = list(one.map(die_beside, [3, 4], lambda job, why: -job))
    assert sorted(found) == [-3, 4]


def fail(number: int) -> int:
    raise ValueError(f"no {number}")


def test_what_a_job_raises_is_raised_here(engine: DaskEngine) -> None:
    """An error of the function ends the map with that error."""
    with pytest.raises(ValueError, match="no 0"):
        list(engine.map(fail, range(1)))


def test_a_bounded_number_of_jobs_is_handed_out(engine: DaskEngine) -> None:
    """Of ten thousand jobs only a few more are drawn than results were taken."""
    drawn = 0

    def jobs() -> Iterator[int]:
        nonlocal drawn
        for number in range(10_000):
            drawn = number + 1
            yield number

    results = engine.map(abs, jobs())
    for taken in range(1, 100):
        next(results)
        assert drawn <= taken + 8
    results.close()  # type: ignore[attr-defined]


def test_restarted_workers_get_their_jobs_again(engine: DaskEngine) -> None:
    """When somebody restarts the workers in the middle, every job still gives its result once."""
    results = engine.map(slow, range(20))
    found = [next(results)]
    engine.client.restart(timeout=120, wait_for_workers=False)
    assert sorted([*found, *results]) == list(range(20))


def slow(number: int) -> int:
    time.sleep(0.1)
    return number


def opened(_: int) -> tuple[int, int]:
    """Open and use the network on a worker; say how often this process has opened it."""
    from micscreen.run import workers

    network = network_on_workers("default", "cpu")
    for _ in range(2):
        workers._opened(*network._asked)
    return os.getpid(), workers._opened.cache_info().misses


def test_a_worker_opens_its_network_once(engine: DaskEngine) -> None:
    """Ten jobs on two workers open the network at most once in each process."""
    found = set(engine.map(opened, range(10)))
    assert len(found) == len({process for process, _ in found}) <= 2
    assert {count for _, count in found} == {1}


def test_work_for_gpus_goes_to_workers_that_offer_one(engine: DaskEngine) -> None:
    """With a resource asked for, only workers that offer it get jobs; without any, none is done."""
    with open_cluster("local:1", Path(), "cuda", None) as offering:
        assert offering.resources == {"GPU": 1.0}
        assert sorted(offering.map(abs, range(4))) == [0, 1, 2, 3]
    asked = time.monotonic()
    wanting = DaskEngine(engine.client, {"GPU": 1.0})
    stopped = wanting.map(abs, range(4), stopped=lambda: time.monotonic() > asked + 2)
    assert list(stopped) == []


def test_without_a_worker_the_run_says_that_it_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a scheduler that has no workers the user is told, once; a worker that comes does it."""
    monkeypatch.setattr("micscreen.run.cluster.LONELY", 1.0)
    monkeypatch.setattr("micscreen.run.cluster.COUNT_EVERY", 0.2)
    running, said = Cluster(tmp_path / "elsewhere", 0), []

    def heard(text: str) -> None:
        said.append(text)
        running.processes.append(running.worker())

    try:
        with open_cluster(str(running.file), tmp_path, "cpu", None, heard) as engine:
            assert sorted(engine.map(abs, range(4))) == [0, 1, 2, 3]
    finally:
        running.stop()
    assert len(said) == 1
    assert "no Dask worker" in said[0]


@pytest.mark.parametrize("asked", ["local:x", "local:0", "slurm:", "nowhere"])
def test_what_cannot_be_understood_says_what_can(asked: str, tmp_path: Path) -> None:
    """A wrong --dask is a usage error that names the forms."""
    with (
        pytest.raises(UsageError, match=r"local:"),
        open_cluster(asked, tmp_path, "cpu", None),
    ):
        pass


def test_no_scheduler_there_is_said(tmp_path: Path, monkeypatch: Any) -> None:
    """An address at which nothing answers is a DeviceError that names it."""
    monkeypatch.setattr("micscreen.run.cluster.CONNECT", "1s")
    with (
        pytest.raises(DeviceError, match="no Dask scheduler"),
        open_cluster("tcp://127.0.0.1:9", tmp_path, "cpu", None),
    ):
        pass


def test_a_queue_without_its_description_says_what_is_missing(tmp_path: Path) -> None:
    """dask-jobqueue without cores and memory in its configuration is an error that says where."""
    pytest.importorskip("dask_jobqueue")
    with (
        pytest.raises((DeviceError, JobError), match="jobqueue"),
        open_cluster("slurm:1", tmp_path, "cpu", None),
    ):
        pass


def test_workers_that_gave_up_are_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the processes that look after the local workers have ended, as on an overloaded machine,
    new ones are started, and every job gives its result once.
    """
    monkeypatch.setattr("micscreen.run.cluster.LONELY", 1.0)
    with open_cluster("local:2", Path(), "cpu", None) as engine:
        own = engine.client.cluster
        for nanny in list(own.workers.values()):
            own.sync(nanny.close)
        assert sorted(engine.map(slow, range(10))) == list(range(10))
