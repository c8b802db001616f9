"""The same job over several hosts: network namespaces on this machine, one of them cut off."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from test_dask import COMMAND, OPTIONS, same, wait_for
from test_pipeline import data_set

pytest.importorskip("distributed")


def ip(*words: str) -> bool:
    done = subprocess.run(["ip", *words], capture_output=True, check=False)
    return done.returncode == 0


def may_have_hosts() -> bool:
    """Whether this account may make network namespaces."""
    if shutil.which("ip") is None or os.getuid() != 0 or not ip("netns", "add", "micscreen-try"):
        return False
    return ip("netns", "del", "micscreen-try")


pytestmark = pytest.mark.skipif(not may_have_hosts(), reason="network namespaces cannot be had")


class Host:
    """A namespace with one address, on a cable to this machine."""

    def __init__(self, number: int) -> None:
        tag = f"{os.getpid() % 10000}{number}"
        self.space, self.cable = f"mics{tag}", f"mc{tag}"
        self.here, self.there = f"10.213.{number}.1", f"10.213.{number}.2"
        far = f"mf{tag}"
        ip("netns", "add", self.space)
        ip("link", "add", self.cable, "type", "veth", "peer", "name", far)
        ip("link", "set", far, "netns", self.space)
        ip("addr", "add", f"{self.here}/24", "dev", self.cable)
        ip("link", "set", self.cable, "up")
        ip("-n", self.space, "addr", "add", f"{self.there}/24", "dev", far)
        ip("-n", self.space, "link", "set", far, "up")
        ip("-n", self.space, "link", "set", "lo", "up")

    def start(self, *words: object, log: Path) -> subprocess.Popen[bytes]:
        command = ["ip", "netns", "exec", self.space, sys.executable, "-m", *map(str, words)]
        with log.open("ab") as out:
            return subprocess.Popen(command, stdout=out, stderr=out, env=patience())

    def cut(self) -> None:
        """Pull the cable."""
        ip("link", "set", self.cable, "down")

    def remove(self) -> None:
        ip("link", "del", self.cable)
        ip("netns", "del", self.space)


def patience() -> dict[str, str]:
    """Dask notices a dead connection after 12 s in place of 30."""
    return {**os.environ, "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s"}


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    made = [Host(number) for number in (1, 2)]
    yield made
    for host in made:
        host.remove()


def test_a_host_that_is_cut_off_loses_nothing(tmp_path: Path, hosts: list[Host]) -> None:
    """Of two hosts one loses its cable in the middle; the other does its work; same bytes."""
    data_set(tmp_path, 60)
    alone = [*COMMAND, *OPTIONS, "-o", "alone", "--threads", "1"]
    subprocess.run(alone, cwd=tmp_path, check=True)
    log, file = tmp_path / "log", tmp_path / "scheduler.json"
    with log.open("ab") as out:
        scheduler = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "0.0.0.0",
             "--port", "0", "--no-dashboard", "--scheduler-file", str(file)],
            stdout=out, stderr=out, env=patience(),
        )  # fmt: skip
    processes = [scheduler]
    try:
        until = time.monotonic() + 120
        while not file.exists() and time.monotonic() < until:
            time.sleep(0.1)
        port = json.loads(file.read_text())["address"].rpartition(":")[2]
        processes += [host.start(
            "distributed.cli.dask_worker", f"tcp://{host.here}:{port}", "--host", host.there,
            "--nthreads", 1, "--no-nanny", "--no-dashboard", log=log,
        ) for host in hosts]  # fmt: skip
        job = subprocess.Popen(
            [*COMMAND, *OPTIONS, "-o", "cut", "--dask", f"tcp://127.0.0.1:{port}"],
            cwd=tmp_path, env=patience(),
        )  # fmt: skip
        wait_for(tmp_path / "cut", 5)
        hosts[1].cut()
        assert job.wait(240) == 0
        same(tmp_path, "cut")
    finally:
        for process in processes:
            process.kill()
            process.wait()
