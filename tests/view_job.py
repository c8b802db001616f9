"""Jobs to look at, and a real server in a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass
class Served:
    """A running `micscreen view`."""

    job: Path
    address: str
    process: subprocess.Popen[str]
    cookie: str = field(default="")

    @property
    def port(self) -> int:
        """Where it listens."""
        found = re.search(r":(\d+)/", self.address)
        assert found
        return int(found[1])

    @property
    def token(self) -> str:
        """That the address holds."""
        return self.address.partition("token=")[2]

    def ask(
        self, path: str, *, method: str = "GET", body: Any = None, **headers: str | None
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request; headers with None are left out."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        sent: dict[str, str | None] = {"host": f"127.0.0.1:{self.port}", "cookie": self.cookie}
        data = b"" if body is None else json.dumps(body).encode()
        if method == "POST":
            sent |= {"origin": f"http://127.0.0.1:{self.port}", "content_type": "application/json"}
            sent["content_length"] = str(len(data))
        for name, value in (sent | headers).items():
            if value is not None:
                connection.putheader(name.replace("_", "-"), value)
        connection.endheaders(data)
        answer = connection.getresponse()
        found = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        connection.close()
        return found

    def enter(self) -> Served:
        """Come in by the token, and keep the cookie."""
        status, headers, _ = self.ask(f"/?token={self.token}")
        assert status == 200
        self.cookie = headers["set-cookie"].partition(";")[0]
        return self

    def json(self, path: str, body: Any = None) -> Any:
        """Return the JSON of an answer that is 200."""
        method = "GET" if body is None else "POST"
        status, _, data = self.ask(f"/api/{path}", method=method, body=body)
        assert status == 200, data
        return json.loads(data)


def screened(small_set: Any, job: Path) -> Path:
    """Screen the small set with masks, and spoil one micrograph so that one fails."""
    from micscreen.run.pipeline import screen
    from micscreen.run.settings import InputSettings, OutputSettings, ScreenSettings

    micrographs = job.parent / "micrographs"
    shutil.copytree(small_set.micrographs, micrographs)
    (micrographs / "mic_004.mrc").write_bytes(b"no micrograph")
    settings = ScreenSettings(
        inputs=InputSettings((str(micrographs),), (str(small_set.picks),), box_size=64.0),
        output=job,
        outputs=OutputSettings(save_masks=True),
    )
    screen(settings)
    return job


@contextmanager
def serving(job: Path) -> Iterator[Served]:
    """Run `micscreen view` and stop it as Ctrl-C does."""
    command = [sys.executable, "-u", "-m", "micscreen", "view", str(job), "--no-browser"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
    ) as process:
        assert process.stdout
        line = process.stdout.readline()
        assert line.startswith("Open http://127.0.0.1:"), line
        try:
            yield Served(job, line.split()[1], process)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def kept_of(job: Path, threshold: float) -> int:
    """Return how many picks the database keeps at a threshold, by SQL and NumPy alone."""
    import sqlite3

    rows = sqlite3.connect(job / "screen.sqlite").execute("SELECT goodness FROM picks")
    goodness = np.concatenate([np.frombuffer(blob, "<f4") for (blob,) in rows])
    return int((goodness >= np.float32(threshold)).sum())
