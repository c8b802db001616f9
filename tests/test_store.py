"""The job's database: what goes in comes out, all or nothing, one writer."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micscreen.errors import JobError, JobLockedError
from micscreen.run.lock import LOCK_NAME, JobLock
from micscreen.run.rows import MicrographRow, Scores, Source, SourceFile, decide
from micscreen.run.store import SCHEMA_VERSION, STORE_NAME, Store, prepare_folder

DONE = MicrographRow(
    name="mic_01",
    position=0,
    path="mics/mic_01.mrc",
    picked_path="mics/mic_01.mrc",
    source=0,
    micrograph_index=3,
    picks_in=2,
    fingerprint="10:20",
    picks_digest="ab",
    status="done",
    height=100,
    width=200,
    picked_height=100,
    picked_width=200,
    pixel_size=1.5,
    screened_pixel_size=1.5,
    box_size=64.0,
    box_scale=1.0,
    contrast="dark",
    contamination=0.25,
    area=(0.75, 0.25, 0.0, 0.0, 0.0, 0.0),
    suspect=("almost all of it is bad",),
    warnings=("a header of 1.0 Å/px is not believed",),
    timings=(("read", 0.5), ("predict", 1.25)),
)
SOURCE = Source("relion", "/a/mic.star", (SourceFile("/a/mic.star", 5, 6, "00ff"),))


def some_scores(n: int = 2) -> Scores:
    steps = np.arange(n)
    return Scores(
        rows=steps.astype(np.int64) * 7,
        x=steps.astype(np.float32) + 0.5,
        y=steps.astype(np.float32) + 0.25,
        goodness=np.linspace(0, 1, n).astype(np.float32),
        class_index=(steps % 6).astype(np.uint8),
        distance=np.where(steps == 0, np.inf, steps).astype(np.float32),
        reason=(steps % 3).astype(np.uint8),
    )


def same_scores(one: Scores | None, other: Scores | None) -> bool:
    assert one is not None and other is not None
    names = Scores.__dataclass_fields__
    assert np.allclose(one.distance, other.distance, rtol=1e-6)  # through Å and back
    rest = set(names) - {"distance"}
    return all(np.array_equal(getattr(one, n), getattr(other, n)) for n in rest)


def test_everything_about_a_micrograph_comes_back(tmp_path: Path) -> None:
    """A row, its scores (infinite distances too), the sources and the notes survive reopening."""
    failed = MicrographRow("mic_02", 1, "b.mrc", "b.mrc", status="failed", reason="truncated")
    with Store(tmp_path, create=True) as store:
        store.register([replace(DONE, status="pending"), replace(failed, status="pending")], [])
        store.register([replace(DONE, status="pending"), failed], [SOURCE])
        store.add(DONE, some_scores())
        store.add(failed, None)
        store.note(model="m", settings={"a": [1, 2]})
    with Store(tmp_path) as store:
        (first, scores), (second, nothing) = store.scored()
        assert (first, second, nothing) == (DONE, failed, None)
        assert same_scores(scores, some_scores())
        assert list(store.sources()) == [SOURCE]
        assert store.info() == {"model": "m", "settings": {"a": [1, 2]}}
        assert list(store.micrographs()) == [DONE, failed]


@given(n=st.integers(0, 50))
def test_any_number_of_picks_comes_back(n: int) -> None:
    """Arrays of any length, also none, are the same after the way through the database."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder, Store(Path(folder), create=True) as store:
        store.add(replace(DONE, picks_in=n), some_scores(n))
        ((_, scores),) = store.scored()
        assert same_scores(scores, some_scores(n))


def test_blobs_are_little_endian_as_documented(tmp_path: Path) -> None:
    """Another program can read the goodness as little-endian float32, as docs/store.md says."""
    with Store(tmp_path, create=True) as store:
        store.add(DONE, some_scores(3))
    raw = sqlite3.connect(tmp_path / STORE_NAME).execute("SELECT goodness FROM picks").fetchone()[0]
    assert np.frombuffer(raw, "<f4").tolist() == [0.0, 0.5, 1.0]


def test_distances_are_stored_in_angstrom(tmp_path: Path) -> None:
    """At 1.5 Å/px, 2 px are stored as 3 Å; without a pixel size they are stored as 2 px."""
    with Store(tmp_path, create=True) as store:
        store.add(DONE, some_scores(3))
        store.add(replace(DONE, name="unknown", pixel_size=None), some_scores(3))
    query = "SELECT distance FROM picks ORDER BY micrograph"
    with sqlite3.connect(tmp_path / STORE_NAME) as connection:
        known, unknown = (np.frombuffer(blob, "<f4") for (blob,) in connection.execute(query))
    assert known.tolist() == [np.inf, 1.5, 3.0]
    assert unknown.tolist() == [np.inf, 1.0, 2.0]


def test_registering_again_keeps_what_is_done_and_forgets_what_has_gone(tmp_path: Path) -> None:
    """Done rows keep scores and get their new place; pending ones start afresh; others leave."""
    other = replace(DONE, name="mic_02", position=1)
    third = replace(DONE, name="mic_03", position=2)
    with Store(tmp_path, create=True) as store:
        for row in (DONE, other, third):
            store.add(row, some_scores())
        moved = replace(other, position=0, micrograph_index=9, source=1)
        again = replace(third, position=1, status="pending")
        assert store.register([moved, again], [SOURCE]) == ["mic_01"]
        (first, scores), (second, nothing) = store.scored()
    assert (first, second.status, nothing) == (moved, "pending", None)
    assert same_scores(scores, some_scores())


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        (None, True),
        (DONE, False),
        (replace(DONE, status="pending"), True),
        (replace(DONE, status="failed"), True),
        (replace(DONE, fingerprint="11:20"), True),
        (replace(DONE, picks_digest="cd"), True),
    ],
)
def test_only_what_is_done_and_unchanged_is_skipped(
    row: MicrographRow | None, wanted: bool
) -> None:
    """New, pending, failed and changed micrographs are screened; a done one is not again."""
    assert decide(row, "10:20", "ab") is wanted


def test_rows_that_were_committed_survive_a_kill(tmp_path: Path) -> None:
    """After kill -9 the database has all that was flushed, opens, and holds whole micrographs."""
    script = f"""
    import os, signal, sys
    from dataclasses import replace
    sys.path.insert(0, {str(Path(__file__).parent)!r})
    from pathlib import Path
    from test_store import DONE, some_scores
    from micscreen.run.store import Store
    store = Store(Path({str(tmp_path)!r}), create=True)
    for i in range(40):
        store.add(replace(DONE, name=f"mic_{{i}}", position=i), some_scores(1000))
    store.flush()
    for i in range(40, 45):
        store.add(replace(DONE, name=f"mic_{{i}}", position=i), some_scores(1000))
    os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert done.returncode == -signal.SIGKILL
    with Store(tmp_path) as store:
        found = list(store.scored())
    assert 40 <= len(found) <= 45
    assert all(same_scores(scores, some_scores(1000)) for _, scores in found)


def test_a_commit_follows_at_the_latest_after_sixteen_micrographs(tmp_path: Path) -> None:
    """Another reader sees the rows while the writer goes on, without a flush by hand."""
    with Store(tmp_path, create=True) as store:
        for i in range(20):
            store.add(replace(DONE, name=f"mic_{i}", position=i), some_scores())
        with Store(tmp_path) as reader:
            assert len(list(reader.micrographs())) >= 16


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    """A job of a newer micscreen is not touched, and the message says to update."""
    Store(tmp_path, create=True).close()
    with sqlite3.connect(tmp_path / STORE_NAME) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(JobError, match="newer micscreen"):
        Store(tmp_path)


def test_an_unreleased_store_is_refused(tmp_path: Path) -> None:
    """A job from before the first release, with distances in px, is not misread."""
    Store(tmp_path, create=True).close()
    with sqlite3.connect(tmp_path / STORE_NAME) as connection:
        connection.execute("PRAGMA user_version = 1")
    with pytest.raises(JobError, match="unreleased micscreen"):
        Store(tmp_path)


def test_databases_of_others_are_refused(tmp_path: Path) -> None:
    """A file that is no database, or not ours, is an error that says so, and stays as it is."""
    path = tmp_path / STORE_NAME
    path.write_bytes(b"something else, for years " * 100)
    with pytest.raises(JobError, match="not a database"):
        Store(tmp_path, create=True)
    assert path.read_bytes().startswith(b"something else")
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    with pytest.raises(JobError, match="not of micscreen"):
        Store(tmp_path, create=True)


def test_a_folder_without_a_job_is_not_read(tmp_path: Path) -> None:
    """Reading a folder that is no job says so and creates nothing."""
    with pytest.raises(JobError, match="no job folder"):
        Store(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_foreign_files_is_refused(tmp_path: Path) -> None:
    """A run never writes among somebody's files; an empty or a new folder, or a job, will do."""
    prepare_folder(tmp_path / "deep" / "new")
    prepare_folder(tmp_path / "deep" / "new")
    prepare_folder(tmp_path / "new")
    (tmp_path / "new" / "thesis.tex").touch()
    with pytest.raises(JobError, match="thesis"):
        prepare_folder(tmp_path / "new")
    with pytest.raises(JobError, match="not a folder"):
        prepare_folder(tmp_path / "new" / "thesis.tex")
    (tmp_path / "new" / STORE_NAME).touch()
    prepare_folder(tmp_path / "new")


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    """The second run is refused with the first one's process number, and may begin after it."""
    with (
        JobLock(tmp_path),
        pytest.raises(JobLockedError, match=str(os.getpid())),
        JobLock(tmp_path),
    ):
        pass
    with JobLock(tmp_path):
        pass


def lock_text(host: str, pid: int, started: str) -> str:
    return json.dumps({"host": host, "pid": pid, "started": started})


def test_a_lock_left_by_a_dead_run_is_taken_over(tmp_path: Path) -> None:
    """A process of this host that is gone, or whose number now means another one, holds nothing."""
    import socket

    for pid, started in ((2**22 - 1, "1"), (os.getpid(), "1")):
        (tmp_path / LOCK_NAME).write_text(lock_text(socket.gethostname(), pid, started))
        with JobLock(tmp_path):
            owner = json.loads((tmp_path / LOCK_NAME).read_text())
            assert (owner["pid"], owner["started"] != "1") == (os.getpid(), True)
    (tmp_path / LOCK_NAME).write_text("half a fi")
    with JobLock(tmp_path):
        assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == os.getpid()


def test_a_run_on_another_host_is_believed_while_it_gives_signs_of_life(tmp_path: Path) -> None:
    """Without locks across hosts the file's age decides: fresh is refused, old is taken over."""
    path = tmp_path / LOCK_NAME
    path.write_text(lock_text("another-node", 1, "1"))
    with pytest.raises(JobLockedError, match="another-node"), JobLock(tmp_path):
        pass
    old = path.stat().st_mtime - 3600
    os.utime(path, (old, old))
    with JobLock(tmp_path) as lock:
        os.utime(path, (old, old))
        lock.beat()
        assert path.stat().st_mtime > old + 3000
