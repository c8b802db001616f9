"""Streaming: whatever comes, in whatever order, ends as the batch would have left it."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from micscreen.cli import cli
from micscreen.errors import JobError
from micscreen.run.engine import SerialEngine
from micscreen.run.export import rethreshold
from micscreen.run.pipeline import Event, Outcome
from micscreen.run.poll import Lookout, on_network
from micscreen.run.report import write_report
from micscreen.run.settings import OutputSettings, WatchSettings
from micscreen.run.store import Store
from test_pipeline import asked, data_set, do, outputs, picture, stored, write_mrc

QUICK = WatchSettings(poll=0.05, quiet=0.06, notify="no")


def watched(folder: Path, job: str = "stream", watch: WatchSettings = QUICK, **values: Any) -> Any:
    """Ask for a stream that ends when folder/finish appears."""
    return asked(folder, job, watch=replace(watch, finish_file=folder / "finish"), **values)


def feed(folder: Path, steps: list[Callable[[], Any]], pause: float = 0.0) -> threading.Thread:
    """Do the steps one after the other and then end the stream, in a thread that has begun."""

    def work() -> None:
        try:
            for step in steps:
                step()
                time.sleep(pause)
        finally:
            (folder / "finish").touch()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def until(happened: Callable[[], object]) -> None:
    """Wait for something that the stream does."""
    end = time.monotonic() + 120
    while not happened() and time.monotonic() < end:
        time.sleep(0.02)
    assert happened()


def stored_in(job: Path) -> int:
    """Return how many micrographs are done and stored."""
    if not (job / "screen.sqlite").exists():
        return 0
    with suppress(JobError), Store(job) as store:
        return sum(row.status == "done" for row in store.micrographs())
    return 0


def arrive(source: Path, target: Path, style: str) -> list[Callable[[], None]]:
    """Steps in which a file comes: at once, in parts, by renaming, or twice."""
    data = source.read_bytes()

    def write(content: bytes) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def rename() -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(target.name + ".tmp")
        aside.write_bytes(data)
        aside.rename(target)

    if style == "parts":
        cuts = [len(data) // 3, 2 * len(data) // 3]
        return [lambda cut=cut: write(data[:cut]) for cut in cuts] + [lambda: write(data)]
    if style == "grown" and target.suffix == ".star":  # whole lines first, the rest much later
        lines = data.splitlines(keepends=True)
        return [lambda: write(b"".join(lines[:-3])), lambda: time.sleep(0.25), lambda: write(data)]
    return [rename] if style == "rename" else [lambda: write(data)]


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_stream_leaves_what_a_batch_leaves(data: st.DataObject) -> None:
    """Files in any order, whole, in parts, renamed or grown: sets, tables and scores are equal."""
    with tempfile.TemporaryDirectory() as name:
        whole, folder = Path(name) / "whole", Path(name) / "stream"
        data_set(whole, 5, picks=6, side=96)
        (whole / "picks/mic_004_autopick.star").unlink()  # this one never gets picks
        shutil.copy(whole / "mics/mic_001.mrc", whole / "mics/.hidden.mrc")
        files = sorted(p.relative_to(whole) for p in whole.rglob("*.*") if p.is_file())
        styles = st.sampled_from(["once", "parts", "rename", "grown"])
        queues = [arrive(whole / f, folder / f, data.draw(styles)) for f in files]
        rng = random.Random(data.draw(st.integers(0, 2**32)))
        steps = []
        while any(queues):  # steps of different files are mixed
            steps.append(rng.choice([queue for queue in queues if queue]).pop(0))
        wanted = OutputSettings(thumbnails=3, save_masks=True)
        calm = do(asked(whole, outputs=wanted))
        (folder / "mics").mkdir(parents=True)
        (folder / "picks").mkdir()
        thread = feed(folder, steps, 0.03)
        outcome = do(watched(folder, outputs=wanted))
        thread.join()
        assert (outcome.done, outcome.skipped, outcome.exit_code) == (calm.done, 0, 0) == (5, 0, 0)
        one, other = outputs(whole / "job"), outputs(folder / "stream")
        assert {k: v for k, v in one.items() if not k.startswith("micrographs")} == {
            k: v for k, v in other.items() if not k.startswith("micrographs")
        }
        table = one["micrographs.csv"].replace(str(whole).encode(), str(folder).encode())
        assert table == other["micrographs.csv"]
        assert [row[1] for row in stored(whole / "job")] == [
            row[1] for row in stored(folder / "stream")
        ]


def test_what_was_there_for_long_is_screened_at_once(tmp_path: Path) -> None:
    """Files from yesterday are taken at the first look, not at the end of the stream."""
    data_set(tmp_path, 3)
    for path in tmp_path.rglob("*.*"):
        os.utime(path, (1e9, 1e9))
    (tmp_path / "finish").touch()
    events: list[Event] = []
    outcome = do(watched(tmp_path), progress=events.append)
    kinds = [event.kind for event in events]
    planned = next(i for i, event in enumerate(events) if event.text.startswith("finding"))
    assert kinds[:planned].count("micrograph") == 3 == outcome.done
    assert kinds[planned:].count("micrograph") == 0


def test_a_micrograph_waits_for_its_picks_and_a_changed_one_is_screened_again_once(
    tmp_path: Path,
) -> None:
    """Nothing is screened before its picks; rewritten picks replace what was found, once."""
    data_set(tmp_path / "src", 2, picks=5)
    picks = [tmp_path / f"src/picks/mic_00{i}_autopick.star" for i in (0, 1)]
    (tmp_path / "picks").mkdir()
    shutil.copytree(tmp_path / "src/mics", tmp_path / "mics")
    events: list[Event] = []

    def more() -> None:
        text = picks[0].read_text() + "50.0 60.0 0.9\n"
        (tmp_path / "picks" / picks[0].name).write_text(text)

    def done() -> list[str]:
        return [event.row.name for event in events if event.kind == "micrograph" and event.row]

    thread = feed(
        tmp_path,
        [
            lambda: time.sleep(0.4),
            lambda: shutil.copy(picks[0], tmp_path / "picks"),
            lambda: until(lambda: len(done()) == 1),
            more,
            lambda: until(lambda: len(done()) == 2),
            lambda: shutil.copy(picks[1], tmp_path / "picks"),
        ],
    )
    outcome = do(watched(tmp_path), progress=events.append)
    thread.join()
    assert done() == ["mic_000", "mic_000", "mic_001"]
    assert outcome.picks_in == 11
    assert outcome.export is not None and outcome.export.unscreened == 0


STAR_HEAD = (
    "\ndata_particles\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n"
)


def star_list(count: int) -> bytes:
    """Return a particles.star with the first picks of three micrographs."""
    rows = [f"mics/mic_00{i}.mrc {20 + 30 * j}.0 {70 + i}.0\n" for i in range(3) for j in range(3)]
    return (STAR_HEAD + "".join(rows[:count])).encode()


def cs_list(count: int) -> bytes:
    """Return the same picks as cryoSPARC keeps them."""
    fields = [("uid", "<u8"), ("location/micrograph_path", "S40"),
              ("location/micrograph_shape", "<u4", (2,)),
              ("location/center_x_frac", "<f4"), ("location/center_y_frac", "<f4")]  # fmt: skip
    table = np.zeros(count, fields)
    table["uid"] = np.arange(count) + 1
    table["location/micrograph_shape"] = 128
    for k in range(count):
        table["location/micrograph_path"][k] = f"mics/mic_00{k // 3}.mrc"
        table["location/center_x_frac"][k] = (20 + 30 * (k % 3)) / 128
        table["location/center_y_frac"][k] = (70 + k // 3) / 128
    stream = io.BytesIO()
    np.save(stream, table)
    return stream.getvalue()


@pytest.mark.parametrize(("name", "content"), [("particles.star", star_list), ("p.cs", cs_list)])
def test_a_global_list_that_grows_is_followed(
    tmp_path: Path, name: str, content: Callable[[int], bytes]
) -> None:
    """A list of all picks that is rewritten with more micrographs gives each its picks."""
    data_set(tmp_path, 3)
    shutil.rmtree(tmp_path / "picks")
    (tmp_path / "picks").mkdir()
    target = tmp_path / "picks" / name

    def write(count: int) -> Callable[[], None]:
        def work() -> None:
            aside = target.with_name(f"{name}.tmp")
            aside.write_bytes(content(count))
            aside.rename(target)

        return work

    events: list[Event] = []
    thread = feed(tmp_path, [write(3), write(6), write(9)], 0.4)
    settings = watched(tmp_path, inputs={"coordinates": (str(target),)})
    outcome = do(settings, progress=events.append)
    thread.join()
    batch = do(asked(tmp_path, "batch", inputs={"coordinates": (str(target),)}))
    assert outcome.export is not None and batch.export is not None
    assert (outcome.export.kept, outcome.export.rejected) == (
        batch.export.kept,
        batch.export.rejected,
    )
    assert sum(event.kind == "micrograph" for event in events) == 3


def test_other_micrographs_are_waited_for(tmp_path: Path) -> None:
    """With another set, a micrograph is screened when partner and picks are there, also late."""
    data_set(tmp_path, 2)
    late = tmp_path / "late"
    for number in (0, 1):
        write_mrc(late / f"mic_00{number}.mrc", picture(number, 64), 3.0)
    (tmp_path / "other").mkdir()
    steps = [lambda n=n: shutil.copy(late / f"mic_00{n}.mrc", tmp_path / "other") for n in (1, 0)]
    events: list[Event] = []
    thread = feed(tmp_path, [lambda: time.sleep(0.3), *steps], 0.3)
    settings = watched(tmp_path, inputs={"other_micrographs": (str(tmp_path / "other"),)})
    outcome = do(settings, progress=events.append)
    thread.join()
    names = [event.row.name for event in events if event.kind == "micrograph" and event.row]
    assert names == ["mic_001", "mic_000"]
    assert (outcome.done, outcome.exit_code) == (2, 0)


def test_a_finish_file_ends_the_stream_when_all_that_is_there_is_taken(tmp_path: Path) -> None:
    """JOB/finish ends it without an idle timeout, and is gone afterwards."""
    data_set(tmp_path, 3)
    thread = feed(tmp_path, [lambda: time.sleep(0.3), (tmp_path / "stream/finish").touch])
    outcome = do(asked(tmp_path, "stream", watch=QUICK))
    thread.join()
    assert (outcome.done, outcome.exit_code) == (3, 0)
    assert not (tmp_path / "stream/finish").exists()


def test_a_running_job_can_be_shown_reported_and_rethresholded(tmp_path: Path) -> None:
    """While a stream waits, all that reads a job works on what is done; the end is not disturbed.

    The set that is written meanwhile has the picks of what was screened until then.
    """
    data_set(tmp_path, 3)
    (tmp_path / "mics/mic_002.mrc").rename(tmp_path / "later.mrc")
    reports, pages = [], []

    def work() -> None:
        until(lambda: stored_in(tmp_path / "stream") == 2)
        said = CliRunner().invoke(cli, ["show", str(tmp_path / "stream"), "--micrographs"])
        page = write_report(tmp_path / "stream", tmp_path / "report.html")
        pages.append((said.output, page.read_text()))
        reports.append(rethreshold(tmp_path / "stream", 0.5))
        (tmp_path / "later.mrc").rename(tmp_path / "mics/mic_002.mrc")

    thread = feed(tmp_path, [work])
    outcome = do(watched(tmp_path))
    thread.join()
    (report,), ((shown, page),) = reports, pages
    assert [line.count("mic_00") > 0 for line in shown.splitlines()] == [False, True, True]
    assert "2 of 2 micrographs screened" in page
    assert report.kept + report.rejected == 24
    assert outcome.export is not None
    assert outcome.export.kept + outcome.export.rejected == 36


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_stream_writes_everything_and_says_so(tmp_path: Path, number: int) -> None:
    """Ctrl-C or SIGTERM: what is done is in the sets, exit code 130; the same command goes on."""
    data_set(tmp_path, 4)
    (tmp_path / "mics/mic_003.mrc").rename(tmp_path / "later.mrc")
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path\n"
        "from test_stream import *\n"
        "raise SystemExit(do(watched(Path(sys.argv[1]))).exit_code)\n"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parent)]
    process = subprocess.Popen(arguments)
    until(lambda: stored_in(tmp_path / "stream") == 3)
    process.send_signal(number)
    assert process.wait(120) == 130
    sets = tmp_path / "stream/picks_auto_080"
    assert len(list(sets.iterdir())) == 3
    assert len(list((tmp_path / "stream/picks_auto_080_unscreened").iterdir())) == 1
    (tmp_path / "later.mrc").rename(tmp_path / "mics/mic_003.mrc")
    (tmp_path / "finish").touch()
    events: list[Event] = []
    outcome = do(watched(tmp_path), progress=events.append)
    assert outcome.exit_code == 0 and outcome.done == 4
    assert sum(event.kind == "micrograph" for event in events) == 1
    calm = do(asked(tmp_path, "calm"))
    assert calm.export is not None and outcome.export is not None
    assert outputs(tmp_path / "stream") == outputs(tmp_path / "calm")


def test_notifications_wake_before_the_next_poll(tmp_path: Path) -> None:
    """On a local disk a file is screened although the next poll is an hour away."""
    pytest.importorskip("watchfiles")
    data_set(tmp_path, 2)
    (tmp_path / "mics/mic_001.mrc").rename(tmp_path / "later.mrc")
    watch = WatchSettings(poll=3600.0, quiet=0.2)
    seen: list[str] = []

    def tell(event: Event) -> None:
        seen.extend([event.row.name] if event.row else [])

    def nudge() -> bool:
        (tmp_path / "mics/nudge.txt").touch()  # the first events may come before anybody listens
        return len(seen) == 2

    def move() -> None:
        until(lambda: len(seen) == 1)
        (tmp_path / "later.mrc").rename(tmp_path / "mics/mic_001.mrc")
        until(nudge)

    def end() -> None:
        (tmp_path / "finish").touch()
        (tmp_path / "mics/nudge.txt").touch()

    thread = feed(tmp_path, [move, end])
    outcome: Outcome = do(watched(tmp_path, watch=watch), SerialEngine(), tell)
    thread.join()
    assert outcome.done == 2
    assert seen == ["mic_000", "mic_001"]


# --- looking --------------------------------------------------------------------------------------


def lookout(*patterns: str, quiet: float = 3.0, **values: Any) -> Lookout:
    return Lookout(patterns, lambda path: path.suffix == ".mrc", quiet=quiet, **values)


def test_a_file_is_told_once_when_it_is_quiet_and_again_when_it_changes(tmp_path: Path) -> None:
    """Growing files are not told; quiet ones once; changed ones once more."""
    path, eye = tmp_path / "a.mrc", lookout(str(tmp_path))
    path.write_bytes(b"1")
    wall = time.time()
    assert eye.poll(0, wall) == []
    path.write_bytes(b"12")
    assert eye.poll(3, wall) == [] and eye.waiting
    assert eye.poll(6, wall) == [path] and not eye.waiting
    assert eye.poll(9, wall) == []
    path.write_bytes(b"123")
    told = [eye.poll(t, wall) for t in range(10, 40)]
    assert [found for found in told if found] == [[path]]


def test_hidden_and_unfinished_names_are_never_told(tmp_path: Path) -> None:
    """Dotfiles, .tmp, .part and other kinds of file are left alone, whatever their age."""
    for name in (".a.mrc", "b.mrc.tmp", "c.mrc.part", "d.txt", "e.mrc~", "f.mrc"):
        (tmp_path / name).write_bytes(b"1")
        os.utime(tmp_path / name, (1, 1))
    assert [path.name for path in lookout(str(tmp_path)).poll(0, time.time())] == ["f.mrc"]


def test_a_file_that_is_not_whole_is_waited_for_but_not_for_ever(tmp_path: Path) -> None:
    """A file that is quiet but not whole is told when it is, or when patience ends."""
    path = tmp_path / "a.mrc"
    path.write_bytes(b"1")
    whole = [False]
    eye = lookout(str(tmp_path), whole=lambda path: whole[0], patience=60.0)
    assert [eye.poll(t, time.time()) for t in range(0, 50, 3)][-1] == []
    assert any(eye.poll(t, time.time()) for t in range(50, 70, 3))


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("", {"a.mrc"}),
        ("*.mrc", {"a.mrc"}),
        ("**/*.mrc", {"a.mrc", "s1/b.mrc", "s1/deep/c.mrc", "s2/d.mrc"}),
        ("s*/*.mrc", {"s1/b.mrc", "s2/d.mrc"}),
        ("s1/b.mrc", {"s1/b.mrc"}),
        ("s[12]/?.mrc", {"s1/b.mrc", "s2/d.mrc"}),
    ],
)
def test_patterns_mean_what_they_mean_in_a_batch(
    tmp_path: Path, pattern: str, names: set[str]
) -> None:
    """Folders, files, wildcards and ** find the same files in a stream as in a batch."""
    from micscreen.run.find import find_micrographs

    for name in ("a.mrc", "s1/b.mrc", "s1/deep/c.mrc", "s2/d.mrc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
        os.utime(tmp_path / name, (1, 1))
    (tmp_path / "s1/loop").symlink_to(tmp_path)
    text = str(tmp_path / pattern)
    found = {p.relative_to(tmp_path).as_posix() for p in lookout(text).poll(0, time.time())}
    assert {name for name in found if "loop" not in name} == names
    if "**" not in pattern:
        batch = {p.relative_to(tmp_path).as_posix() for p in find_micrographs([text], [])}
        assert batch == names


def test_a_replaced_file_is_told_although_size_and_time_are_equal(tmp_path: Path) -> None:
    """A rename onto a name is seen by the inode."""
    path, eye = tmp_path / "a.mrc", lookout(str(tmp_path))
    path.write_bytes(b"1")
    os.utime(path, (1, 1))
    assert eye.poll(0, time.time()) == [path]
    (tmp_path / "x").write_bytes(b"2")
    os.utime(tmp_path / "x", (1, 1))
    (tmp_path / "x").rename(path)
    assert any(eye.poll(t, time.time()) for t in range(1, 10, 3))


def test_a_local_disk_is_no_network_file_system(tmp_path: Path) -> None:
    """The file system of a path is the one that is mounted nearest above it."""
    assert on_network(Path("/proc")) is False


# --- the command line -----------------------------------------------------------------------------


def test_watch_and_events_on_the_command_line(tmp_path: Path) -> None:
    """`screen --watch --events` ends by idleness; every line of the events fits the schema."""
    import jsonschema

    data_set(tmp_path, 3, side=160)
    (tmp_path / "mics/mic_001.mrc").write_bytes(b"broken")
    os.utime(tmp_path / "mics/mic_001.mrc", (1, 1))
    log = tmp_path / "logs/events.jsonl"
    command = [
        sys.executable, "-m", "micscreen", "screen", str(tmp_path / "mics"),
        "-c", str(tmp_path / "picks"), "-o", str(tmp_path / "job"), "--box-size", "32",
        "--watch", "--poll", "0.1", "--quiet-time", "0.1", "--idle-timeout", "1",
        "--events", str(log), "--json", "--device", "cpu",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    schema = json.loads((Path(__file__).parents[1] / "docs/events.schema.json").read_text())
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(lines) == len(done.stdout.splitlines())
    for line in (*lines, *map(json.loads, done.stdout.splitlines())):
        jsonschema.validate(line, schema)
    rows = {line["name"]: line for line in lines if line["event"] == "micrograph"}
    assert rows["mic_001"]["status"] == "failed" and rows["mic_001"]["reason"]
    fine = rows["mic_000"]
    assert fine["picks_kept"] + fine["picks_rejected"] == fine["picks_in"] == 12
    assert sum(fine["rejected_by"].values()) == fine["picks_rejected"]
    assert np.isclose(sum(fine["area"].values()), 1.0, atol=1e-3)
    assert lines[-1]["event"] == "end" and lines[-1]["done"] == 2


def test_impossible_times_are_refused(tmp_path: Path) -> None:
    """A poll of 0 s and a negative idle timeout are errors that name the option."""
    from micscreen.errors import UsageError

    with pytest.raises(UsageError, match="--poll"):
        WatchSettings(poll=0)
    with pytest.raises(UsageError, match="--idle-timeout"):
        WatchSettings(idle_timeout=-1)
