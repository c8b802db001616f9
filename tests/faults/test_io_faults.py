"""Disks that fill up, files that vanish or change, folders that may not be written: clear ends."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from micscreen.errors import JobError, MicrographError, MicrographFormatError, MicscreenError
from micscreen.io import guard, read_micrograph
from micscreen.model.backend import FakeBackend
from micscreen.run.engine import SerialEngine, ThreadEngine
from micscreen.run.pipeline import Event, screen
from micscreen.run.settings import OutputSettings
from micscreen.run.store import Store
from test_pipeline import asked, data_set, do, outputs, write_mrc

HERE = Path(__file__).parent
WANTED = OutputSettings(thumbnails=2, save_masks=True)


def in_a_process(folder: Path, before: str, command: str = "") -> subprocess.CompletedProcess[str]:
    """Run the job of `folder` in a process of its own, as the command line would end it."""
    script = f"""
    import os, resource, signal, sys
    sys.path.insert(0, {str(HERE.parent)!r})
    from pathlib import Path
    from test_pipeline import asked, do
    from micscreen.errors import MicscreenError
    from micscreen.run.settings import OutputSettings
    folder = Path({str(folder)!r})
    settings = asked(folder, outputs=OutputSettings(thumbnails=2, save_masks=True))
    {before}
    try:
        sys.exit(do(settings).exit_code)
    except MicscreenError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )


def as_if_undisturbed(folder: Path, calm: Path) -> None:
    """Continue the job of `folder`; its outputs must be those of a run that nothing disturbed."""
    assert do(asked(folder, outputs=WANTED)).exit_code == 0
    do(asked(calm, outputs=WANTED))
    wanted, found = outputs(calm / "job"), outputs(folder / "job")
    assert wanted.keys() == found.keys()
    here, there = str(folder).encode(), str(calm).encode()
    assert [name for name in wanted if wanted[name] != found[name].replace(here, there)] == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Callable[[int], Path]:
    """Mount a tmpfs of so many kB; skipped where this is not allowed."""
    mounted: list[Path] = []

    def mount(kilobytes: int) -> Path:
        place = tmp_path / "disk"
        place.mkdir()
        options = f"size={kilobytes}k"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
        mounted.append(place)
        return place

    yield mount  # type: ignore[misc]
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)


def fill(place: Path, keep: int) -> Path:
    """Fill a disk but for about `keep` bytes."""
    path = place / "ballast"
    free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
    path.write_bytes(bytes(max(free - keep, 1)))
    return path


@pytest.mark.parametrize("room", [0, 60_000, 110_000, 160_000])
def test_a_full_disk_is_said_and_the_job_goes_on_when_there_is_room(
    tmp_path: Path, small_disk: Callable[[int], Path], room: int
) -> None:
    """Whatever step the disk fills up in: an error or failed rows that say so, nothing half
    written, and the same outputs as ever once there is room.
    """
    place = small_disk(4096)
    for part in (tmp_path / "calm", tmp_path / "hit"):
        data_set(part, 6, picks=6, side=96)
    (tmp_path / "hit/job").symlink_to(place / "job")
    (place / "job").mkdir()
    ballast = fill(place, room)
    done = in_a_process(tmp_path / "hit", "")
    assert done.returncode in (2, 3), done.stderr
    assert "Traceback" not in done.stderr
    if done.returncode == 2:
        assert "No space left" in done.stderr or "full" in done.stderr, done.stderr
        assert "continue" in done.stderr or "room" in done.stderr
    ballast.unlink()
    if (place / "job/screen.sqlite").exists() and done.returncode == 3:
        with Store(tmp_path / "hit/job") as store:
            reasons = [row.reason for row in store.micrographs() if row.status == "failed"]
        assert reasons and all("space" in (reason or "") for reason in reasons)
    as_if_undisturbed(tmp_path / "hit", tmp_path / "calm")


def test_files_that_may_not_grow_end_like_a_full_disk(tmp_path: Path) -> None:
    """A quota (RLIMIT_FSIZE) that stops the database: one clear error, and the job goes on."""
    for part in ("calm", "hit"):
        data_set(tmp_path / part, 4, picks=6, side=96)
    limit = (
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))"
    )
    done = in_a_process(tmp_path / "hit", limit)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "database cannot be written" in done.stderr, done.stderr
    as_if_undisturbed(tmp_path / "hit", tmp_path / "calm")


def test_a_micrograph_cut_while_it_is_used_is_harmless(tmp_path: Path) -> None:
    """After reading, a fresh file may be cut or removed: no SIGBUS, the same pixels."""
    path = tmp_path / "m.mrc"
    write_mrc(path, np.random.default_rng(0).normal(0, 1, (1024, 1024)))
    micrograph = read_micrograph(path)
    total = float(micrograph.image.sum())
    os.truncate(path, 2048)
    assert float(micrograph.image.sum()) == total
    path.unlink()
    assert float(micrograph.image.sum()) == total


MAPPED = """
    import os, sys
    from pathlib import Path
    import numpy as np
    from micscreen.errors import MicrographFormatError
    from micscreen.io import read_micrograph
    from micscreen.io.cuts import unchanged
    path = Path(sys.argv[1])
    try:
        with unchanged(path):
            image = read_micrograph(path).image
            assert isinstance(image, np.memmap)
            {harm}
            print(float(image.sum()))
    except MicrographFormatError as error:
        print("refused:", error)
"""


def mapped(path: Path, harm: str) -> subprocess.CompletedProcess[str]:
    """Read an old micrograph in a process of its own, which a signal may end, and harm it."""
    write_mrc(path, np.ones((1024, 1024), np.float32) + np.eye(1024, dtype=np.float32))
    os.utime(path, (1e9, 1e9))
    script = textwrap.dedent(MAPPED).format(harm=harm)
    return subprocess.run(
        [sys.executable, "-c", script, path], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "harm",
    ["os.truncate(path, 2048)", "os.truncate(path, 2_000_000)", "path.touch()"],
    ids=["cut to its header", "cut in the middle", "written"],
)
def test_a_mapped_micrograph_that_is_cut_or_written_to_is_refused(
    tmp_path: Path, harm: str
) -> None:
    """A file at rest that changes under its map is an error that says so, and no signal."""
    done = mapped(tmp_path / "m.mrc", harm)
    assert done.returncode == 0, done.stderr
    assert "refused:" in done.stdout
    assert "changed while it was read" in done.stdout


def test_a_mapped_micrograph_that_is_removed_or_left_alone_is_read_to_its_end(
    tmp_path: Path,
) -> None:
    """A name that goes, and nothing that happens, are no change of the file."""
    for harm in ("path.unlink()", "pass"):
        assert mapped(tmp_path / "m.mrc", harm).stdout == f"{1024.0 * 1025}\n"


def test_maps_of_other_threads_come_and_go_while_one_is_checked(tmp_path: Path) -> None:
    """That a micrograph has not changed is found out while threads open and close others."""
    from micscreen.io.cuts import unchanged

    path = tmp_path / "m.mrc"
    write_mrc(path, np.ones((8, 8), np.float32))
    os.utime(path, (1, 1))  # at rest, so that it is mapped
    held = [read_micrograph(path) for _ in range(600)]  # many to look through

    def use(_: int) -> None:
        for _ in range(150):
            with unchanged(path):
                read_micrograph(path)

    often = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(use, range(4)))
    finally:
        sys.setswitchinterval(often)
    assert len(held) == 600


def test_a_signal_of_another_map_still_ends_the_process(tmp_path: Path) -> None:
    """Only micrographs are forgiven: SIGBUS from anywhere else does what it always did."""
    other = tmp_path / "other"
    other.write_bytes(bytes(100_000))
    harm = f"a = np.memmap({str(other)!r}); os.truncate({str(other)!r}, 0); a.sum()"
    assert mapped(tmp_path / "m.mrc", harm).returncode == -signal.SIGBUS


STORM = """
    import os, sys, threading
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    import numpy as np
    from test_pipeline import asked, data_set, do
    from micscreen.run.engine import ThreadEngine
    folder = Path(sys.argv[1])
    data_set(folder, 2, picks=4, side=2048)
    paths = sorted((folder / "mics").iterdir())
    whole = {path: path.read_bytes() for path in paths}
    for path in paths:
        os.utime(path, (1e9, 1e9))
    stop = threading.Event()

    def cut():
        rng = np.random.default_rng(3)
        while not stop.is_set():
            path = paths[int(rng.integers(len(paths)))]
            os.truncate(path, int(rng.integers(len(whole[path]))))
            with path.open("r+b") as file:
                file.write(whole[path])
            os.utime(path, (1e9, 1e9))

    thread = threading.Thread(target=cut, daemon=True)
    thread.start()
    for number in range(4):
        outcome = do(asked(folder, f"job{number}"), ThreadEngine(2))
        assert outcome.done + len(outcome.failed) == 2
        assert not [reason for _, reason in outcome.failed if "unexpected" in reason]
    stop.set()
    thread.join()
    assert do(asked(folder, "job0")).done == 2
"""


def test_old_files_cut_again_and_again_never_end_a_run(tmp_path: Path) -> None:
    """While mapped micrographs are cut and restored all the time, each is done or a failed row."""
    command = [sys.executable, "-c", textwrap.dedent(STORM), tmp_path, HERE.parent]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("what", ["cut", "written"])
def test_a_micrograph_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A file cut or written to between the header and the last pixel says so."""
    path = tmp_path / "m.mrc"
    write_mrc(path, np.random.default_rng(0).normal(0, 1, (256, 256)))
    real = os.preadv

    def read(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        if what == "cut":
            os.truncate(path, 2048)
        found = real(descriptor, buffers, offset)
        os.utime(path, ns=(1, 1))
        return found

    monkeypatch.setattr(guard.os, "preadv", read)
    with pytest.raises(MicrographFormatError, match="changed while it was read"):
        read_micrograph(path)


@pytest.mark.parametrize("age", [0, 3600])
def test_a_micrograph_replaced_while_it_is_read_is_the_old_one_and_then_the_new(
    tmp_path: Path, age: int
) -> None:
    """A file renamed over a micrograph under way harms neither; the next run screens the new one.

    With `age` seconds since the last change the file is read, or memory-mapped.
    """
    for part in ("calm", "hit"):
        data_set(tmp_path / part, 3, picks=6, side=256)
    hit, new = tmp_path / "hit/mics/mic_001.mrc", tmp_path / "new.mrc"
    write_mrc(new, np.random.default_rng(9).normal(5, 2, (300, 300)))
    content, before = new.read_bytes(), hit.read_bytes()
    os.utime(hit, (time.time() - age,) * 2)

    class Replacing(FakeBackend):
        """The network, which sees the second file replaced while it works on it."""

        calls = 0

        def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
            self.calls += 1
            if self.calls == 2:
                new.rename(hit)
            return super().predict(batch)

    settings = asked(tmp_path / "hit", outputs=WANTED)
    first = screen(settings, backend=Replacing(), engine=SerialEngine())
    assert first.done == 3 and hit.read_bytes() == content
    again = do(settings)
    assert (again.done, again.skipped) == (3, 2)
    assert (tmp_path / "calm/mics/mic_001.mrc").read_bytes() == before
    (tmp_path / "calm/mics/mic_001.mrc").write_bytes(content)
    as_if_undisturbed(tmp_path / "hit", tmp_path / "calm")


def test_files_cut_again_and_again_never_end_a_run(tmp_path: Path) -> None:
    """While another thread cuts and restores micrographs, each one is done or a failed row."""
    data_set(tmp_path, 12, picks=4, side=512)
    paths = sorted((tmp_path / "mics").iterdir())
    whole = {path: path.read_bytes() for path in paths}
    stop = threading.Event()

    def cut() -> None:
        rng = np.random.default_rng(3)
        while not stop.is_set():
            path = paths[int(rng.integers(len(paths)))]
            os.truncate(path, int(rng.integers(len(whole[path]))))
            path.write_bytes(whole[path])

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        outcome = do(asked(tmp_path), ThreadEngine(2))
    finally:
        stop.set()
        thread.join()
    assert outcome.done + len(outcome.failed) == 12
    assert not [reason for _, reason in outcome.failed if "unexpected" in reason]
    assert do(asked(tmp_path)).done == 12


def test_micrographs_that_vanish_after_the_listing_are_failed_rows(tmp_path: Path) -> None:
    """Each missing file has its reason, the others are done, and nothing is counted twice."""
    data_set(tmp_path, 6, picks=3, side=96)

    def tell(event: Event) -> None:
        if event.kind == "start":
            for number in (2, 5):
                (tmp_path / f"mics/mic_{number:03d}.mrc").rename(tmp_path / f"gone_{number}")

    outcome = do(asked(tmp_path), progress=tell)
    assert [name for name, _ in outcome.failed] == ["mic_002", "mic_005"]
    assert all("no such file" in reason.lower() for _, reason in outcome.failed)
    assert outcome.done == 4 and outcome.export is not None and outcome.export.unscreened == 6


def test_links_in_a_circle_are_failed_rows(tmp_path: Path) -> None:
    """A micrograph that is a link to itself is named with its reason; folders in a circle end."""
    data_set(tmp_path, 3, picks=3, side=96)
    path = tmp_path / "mics/mic_001.mrc"
    path.unlink()
    path.symlink_to(path)
    (tmp_path / "mics/round").symlink_to(tmp_path / "mics")
    with pytest.raises(MicrographError, match="link that leads to itself"):
        read_micrograph(path)
    pattern = str(tmp_path / "mics/**/*.mrc")
    outcome = do(asked(tmp_path, inputs={"micrographs": (pattern,)}))
    assert outcome.done == 2
    assert outcome.export is not None and outcome.export.unscreened == 3


UNPRIVILEGED = 65534


def as_nobody(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the job without the rights of root."""
    if os.getuid() != 0:
        return in_a_process(folder, "")
    before = (  # a first mask loads what lies in folders of root
        "import numpy, tempfile; from micscreen.io import write_mask; "
        "write_mask(Path(tempfile.mkdtemp()) / 'm.tif', numpy.zeros((4, 4), 'f4')); "
        f"os.setgroups([]); os.setgid(100); os.setuid({UNPRIVILEGED})"
    )
    return in_a_process(folder, before)


def opened(folder: Path) -> None:
    """Let everybody come to a folder below pytest's private one."""
    for path in (folder, *folder.parents):
        if str(path).startswith("/tmp/"):
            path.chmod(path.stat().st_mode | 0o055)


def test_a_micrograph_that_may_not_be_read_is_a_failed_row(tmp_path: Path) -> None:
    """Permission denied stands in its row; the others are done."""
    data_set(tmp_path, 3, picks=3, side=96)
    opened(tmp_path)
    (tmp_path / "job").mkdir()
    (tmp_path / "job").chmod(0o777)
    (tmp_path / "mics/mic_001.mrc").chmod(0)
    done = as_nobody(tmp_path)
    if "No module" in done.stderr or "Permission denied" in done.stderr.partition("micscreen")[0]:
        pytest.skip("another user cannot reach this Python")
    assert done.returncode == 3, done.stderr
    with Store(tmp_path / "job") as store:
        reasons = {row.name: row.reason for row in store.micrographs() if row.status == "failed"}
    assert list(reasons) == ["mic_001"], reasons
    assert "not permitted" in (reasons["mic_001"] or "")


@pytest.mark.parametrize("readonly", ["folder", "parent"])
def test_an_output_folder_that_may_not_be_written_is_one_clear_error(
    tmp_path: Path, readonly: str
) -> None:
    """No traceback: the folder, what is wrong, what next."""
    data_set(tmp_path, 2, picks=3, side=96)
    opened(tmp_path)
    if readonly == "folder":
        (tmp_path / "job").mkdir(mode=0o555)
    tmp_path.chmod(0o555)
    done = as_nobody(tmp_path)
    tmp_path.chmod(0o755)
    if "No module" in done.stderr:
        pytest.skip("another user cannot reach this Python")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr and str(tmp_path / "job") in done.stderr
    assert "ermi" in done.stderr and "--output" in done.stderr


def test_a_read_only_file_system_is_one_clear_error(
    tmp_path: Path, small_disk: Callable[[int], Path]
) -> None:
    """An output on a disk that is mounted read-only is refused before anything is screened."""
    place = small_disk(2048)
    data_set(tmp_path, 2, picks=3, side=96)
    (place / "job").mkdir()
    (tmp_path / "job").symlink_to(place / "job")
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    done = in_a_process(tmp_path, "")
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "ead-only" in done.stderr and "--output" in done.stderr


@pytest.mark.parametrize("damage", ["text", "cut", "noise", "empty"])
def test_a_damaged_database_is_one_clear_error(tmp_path: Path, damage: str) -> None:
    """Whatever has happened to `screen.sqlite`: our own error, and no file is touched by it."""
    data_set(tmp_path, 8, picks=200, side=96)
    do(asked(tmp_path))
    path = tmp_path / "job/screen.sqlite"
    data = bytearray(path.read_bytes())
    if damage == "noise":
        for at in range(100, len(data), 4096):
            data[at : at + 64] = np.random.default_rng(at).bytes(64)
    changed = {"text": b"not a database", "cut": data[: len(data) // 2], "empty": b""}
    path.write_bytes(bytes(changed.get(damage, data)))
    if damage == "empty":  # as a machine that lost power while the file was made leaves it
        assert do(asked(tmp_path)).done == 8
        return
    with pytest.raises(JobError) as caught:
        do(asked(tmp_path))
    assert "screen.sqlite" in str(caught.value) and caught.value.hint


def test_a_database_that_another_program_holds_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone with the database open for writing is told of, after the patience is over."""
    data_set(tmp_path, 2, picks=3, side=96)
    do(asked(tmp_path))
    monkeypatch.setattr("micscreen.run.store.BUSY_SECONDS", 0.2)
    other = sqlite3.connect(tmp_path / "job/screen.sqlite")
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(MicscreenError, match="locked"):
            do(asked(tmp_path))
    finally:
        other.close()
    assert do(asked(tmp_path)).done == 2


def test_a_clock_that_jumps_changes_nothing(tmp_path: Path) -> None:
    """Files and a lock from next year or from 1970: the same job, skipped and continued."""
    data_set(tmp_path, 3, picks=3, side=96)
    for path, when in zip(sorted((tmp_path / "mics").iterdir()), (0, 1, 2**33), strict=True):
        os.utime(path, (when, when))
    assert do(asked(tmp_path)).done == 3
    for when in (0, 2**33):
        os.utime(tmp_path / "job/.lock", (when, when))
        assert do(asked(tmp_path)).skipped == 3


def test_the_limit_of_this_process_is_as_it_was() -> None:
    """The faults above were done to other processes: this one may still write files."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
