"""Whole jobs on real files: done, failed, killed, stopped, continued, refused."""

from __future__ import annotations

import csv
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest

from micscreen.errors import (
    JobError,
    JobLockedError,
    JobMismatchError,
    MicrographError,
    UsageError,
)
from micscreen.io import read_coordinates, read_mask
from micscreen.model.backend import FakeBackend
from micscreen.run.engine import Engine, SerialEngine, ThreadEngine
from micscreen.run.export import rethreshold
from micscreen.run.lock import JobLock
from micscreen.run.pipeline import Event, Outcome, screen
from micscreen.run.plan import plan
from micscreen.run.settings import (
    InputSettings,
    OutputSettings,
    ScoreSettings,
    ScreenSettings,
)
from micscreen.run.store import Store
from micscreen.run.work import Work, box_scale, errand, load

SIDE = 128
BOX = 32.0
STAR_HEAD = (
    "\ndata_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnAutopickFigureOfMerit #3\n"
)


def picture(seed: int, side: int = SIDE) -> np.ndarray:
    """Noise with a dark strip in the rows below 40 % of the height: something to reject."""
    image = np.random.default_rng(seed).normal(0, 1, (side, side)).astype(np.float32)
    image[: int(0.4 * side), : side // 2] -= 12.0
    return image


def write_mrc(path: Path, image: np.ndarray, pixel_size: float = 1.5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(image.astype(np.float32))
        file.voxel_size = pixel_size


def data_set(folder: Path, count: int, picks: int = 12, side: int = SIDE) -> None:
    for number in range(count):
        name = f"mic_{number:03d}"
        write_mrc(folder / "mics" / f"{name}.mrc", picture(number, side))
        xy = np.random.default_rng(1000 + number).uniform(10, side - 10, (picks, 2))
        rows = "".join(f"{x:.3f} {y:.3f} 0.{i:03d}\n" for i, (x, y) in enumerate(xy))
        (folder / "picks").mkdir(exist_ok=True)
        (folder / "picks" / f"{name}_autopick.star").write_text(STAR_HEAD + rows)


def asked(folder: Path, job: str = "job", **values: Any) -> ScreenSettings:
    inputs = {
        "micrographs": (str(folder / "mics"),),
        "coordinates": (str(folder / "picks"),),
        "box_size": BOX,
        "flip_y": "no",
        **values.pop("inputs", {}),
    }
    values.setdefault("outputs", OutputSettings(thumbnails=0))
    return ScreenSettings(InputSettings(**inputs), folder / job, **values)


def do(
    settings: ScreenSettings,
    engine: Engine | None = None,
    progress: Callable[[Event], None] | None = None,
) -> Outcome:
    return screen(
        settings, backend=FakeBackend(), engine=engine or SerialEngine(), progress=progress
    )


def outputs(job: Path) -> dict[str, bytes]:
    """All files of a job but the database, by name."""
    paths = [path for path in job.rglob("*") if path.is_file()]
    names = {str(path.relative_to(job)): path.read_bytes() for path in paths}
    own = ("screen.sqlite", ".lock", ".lock-sets")
    return {name: data for name, data in names.items() if name not in own}


def stored(job: Path) -> list[Any]:
    """All that the database knows of micrographs and picks, but times."""
    with Store(job) as store:
        return [
            (
                replace(row, timings=()),
                None if s is None else [s.goodness.tolist(), s.rows.tolist()],
            )
            for row, s in store.scored()
        ]


def test_a_job_keeps_and_rejects_and_tells(tmp_path: Path) -> None:
    """From folders to sets: picks on the dark strip go, others stay, and all are counted."""
    data_set(tmp_path, 3)
    events: list[Event] = []
    outcome = do(asked(tmp_path), progress=events.append)
    report = outcome.export
    assert report is not None and outcome.exit_code == 0
    assert (outcome.micrographs, outcome.done, outcome.picks_in) == (3, 3, 36)
    assert report.kept > 0 and report.rejected > 0 and report.unscreened == 0
    assert report.kept + report.rejected == 36
    kept = read_coordinates(tmp_path / "job/picks_auto_080/mic_000_autopick.star")
    rejected = read_coordinates(tmp_path / "job/picks_auto_080_rejected/mic_000_autopick.star")
    inside = [(t.x < SIDE / 2 - BOX) & (t.y < 0.4 * SIDE - BOX / 2) for t in (kept, rejected)]
    assert not inside[0].any()
    done = [event.done for event in events if event.kind == "micrograph"]
    assert done == [1, 2, 3]
    records = list(csv.DictReader((tmp_path / "job/micrographs.csv").open()))
    assert [record["status"] for record in records] == ["done"] * 3
    assert sum(int(record["picks_kept"]) for record in records) == report.kept
    assert all(float(record["area_good"]) < 0.95 for record in records)


def test_three_corrupt_files_among_fifty_fail_alone(tmp_path: Path) -> None:
    """47 are done; three are rows with their reasons; their picks are unscreened; exit code 3."""
    data_set(tmp_path, 50, picks=4, side=96)
    (tmp_path / "mics/mic_007.mrc").write_bytes(b"")
    broken = (tmp_path / "mics/mic_020.mrc").read_bytes()
    (tmp_path / "mics/mic_020.mrc").write_bytes(broken[: len(broken) // 2])
    write_mrc(tmp_path / "mics/mic_030.mrc", np.full((96, 96), 3.0))
    outcome = do(asked(tmp_path), ThreadEngine(2))
    assert (outcome.done, outcome.exit_code) == (47, 3)
    assert [name for name, _ in outcome.failed] == ["mic_007", "mic_020", "mic_030"]
    assert all(len(reason) > 10 for _, reason in outcome.failed)
    assert outcome.export is not None and outcome.export.unscreened == 12
    names = {path.name for path in (tmp_path / "job/picks_auto_080_unscreened").iterdir()}
    assert names == {f"mic_{number:03d}_autopick.star" for number in (7, 20, 30)}
    write_mrc(tmp_path / "mics/mic_007.mrc", picture(7, 96))
    again = do(asked(tmp_path))
    assert (again.done, again.skipped, len(again.failed)) == (48, 47, 2)


def run_and_die(
    folder: Path, number: int, at: int, threads: int
) -> subprocess.CompletedProcess[str]:
    """Start the job in a process of its own that sends itself a signal after `at` micrographs."""
    script = f"""
    import os, sys
    sys.path.insert(0, {str(Path(__file__).parent)!r})
    from pathlib import Path
    from test_pipeline import asked, do
    from micscreen.run.engine import ThreadEngine
    from micscreen.run.settings import OutputSettings
    def tell(event):
        if event.kind == "micrograph" and event.done == {at}:
            os.kill(os.getpid(), {number})
    outputs = OutputSettings(thumbnails=3, save_masks=True)
    outcome = do(asked(Path({str(folder)!r}), outputs=outputs), ThreadEngine({threads}), tell)
    sys.exit(outcome.exit_code)
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 130)])
def test_killed_in_the_middle_and_continued_gives_the_same(
    tmp_path: Path, number: int, code: int
) -> None:
    """After kill -9 or SIGTERM the same command ends where an undisturbed one does, not redoing
    what was committed.
    """
    wanted = OutputSettings(thumbnails=3, save_masks=True)
    for part in ("calm", "hit"):
        data_set(tmp_path / part, 24, picks=6, side=96)
    do(asked(tmp_path / "calm", outputs=wanted))
    done = run_and_die(tmp_path / "hit", number, 18, threads=2)
    assert done.returncode == code, done.stderr
    with Store(tmp_path / "hit/job") as store:
        before = {row.name for row in store.micrographs() if row.status == "done"}
        times = {row.name: row.timings for row in store.micrographs() if row.status == "done"}
    assert not list((tmp_path / "hit/job").glob("picks_*"))
    events: list[Event] = []
    outcome = do(asked(tmp_path / "hit", outputs=wanted), progress=events.append)
    repeated = {event.row.name for event in events if event.row is not None} & before
    assert len(before) > 18 - 16 and not repeated  # At most sixteen wait for a commit.
    assert outcome.skipped == len(before) and outcome.done == 24
    with Store(tmp_path / "hit/job") as store:
        after = {row.name: row.timings for row in store.micrographs()}
    assert all(after[name] == times[name] for name in before)
    calm, hit = outputs(tmp_path / "calm/job"), outputs(tmp_path / "hit/job")
    assert calm.keys() == hit.keys() and len(calm) == 24 * 2 + 2 * 24 + 3 + 2
    here = str(tmp_path / "hit").encode()
    there = str(tmp_path / "calm").encode()
    assert [name for name in calm if calm[name] != hit[name].replace(here, there)] == []


def test_ctrl_c_commits_what_is_in_flight_and_stops(tmp_path: Path) -> None:
    """The first Ctrl-C ends the loop in order: exit code 130, no sets, the rest is pending."""
    data_set(tmp_path, 8, picks=2)

    def tell(event: Event) -> None:
        if event.kind == "micrograph" and event.done == 3:
            os.kill(os.getpid(), signal.SIGINT)

    outcome = do(asked(tmp_path), ThreadEngine(2), tell)
    assert outcome.interrupted and outcome.exit_code == 130 and outcome.export is None
    assert 3 <= outcome.done <= 3 + 4
    with Store(tmp_path / "job") as store:
        states = [row.status for row in store.micrographs()]
    assert states.count("done") == outcome.done and states.count("pending") == 8 - outcome.done
    assert do(asked(tmp_path)).exit_code == 0


def test_the_second_ctrl_c_ends_at_once_and_loses_nothing_committed(tmp_path: Path) -> None:
    """KeyboardInterrupt leaves a job that can be continued."""
    data_set(tmp_path, 6, picks=2)

    def tell(event: Event) -> None:
        if event.kind == "micrograph" and event.done == 2:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        do(asked(tmp_path), progress=tell)
    outcome = do(asked(tmp_path))
    assert (outcome.skipped, outcome.done) == (2, 6)


def test_a_finished_job_started_again_does_nothing_twice(tmp_path: Path) -> None:
    """The same command on a finished job screens nothing and writes the same bytes."""
    data_set(tmp_path, 3)
    do(asked(tmp_path))
    before, rows = outputs(tmp_path / "job"), stored(tmp_path / "job")
    events: list[Event] = []
    outcome = do(asked(tmp_path), progress=events.append)
    assert outcome.skipped == 3 and not [e for e in events if e.kind == "micrograph"]
    assert (outputs(tmp_path / "job"), stored(tmp_path / "job")) == (before, rows)


def test_threads_change_nothing_in_the_results(tmp_path: Path) -> None:
    """One thread or three: every output file and every score is the same."""
    data_set(tmp_path, 6)
    do(asked(tmp_path, "one"))
    do(asked(tmp_path, "three"), ThreadEngine(3))
    assert outputs(tmp_path / "one") == outputs(tmp_path / "three")
    assert stored(tmp_path / "one") == stored(tmp_path / "three")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs": {"box_size": 48.0}}, "--box-size: was 32.0, is now 48.0"),
        ({"scoring": ScoreSettings(rule="centre")}, "--rule: was box, is now centre"),
        ({"inputs": {"other_pixel_size": 2.0}}, "--pixel-size-other: was None, is now 2.0"),
        ({"outputs": OutputSettings(threshold=0.9, thumbnails=0)}, "rethreshold"),
    ],
)
def test_other_arguments_are_refused_by_name(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    """Continuing with a changed argument is refused, naming it with old and new value."""
    data_set(tmp_path, 1)
    do(asked(tmp_path))
    before = outputs(tmp_path / "job")
    with pytest.raises(JobMismatchError, match=said):
        do(asked(tmp_path, **change))
    assert outputs(tmp_path / "job") == before


def test_other_weights_are_refused(tmp_path: Path) -> None:
    """Scores of two networks are never mixed in one job."""
    data_set(tmp_path, 1)
    do(asked(tmp_path))
    other = FakeBackend()
    other.spec = replace(other.spec, sha256="1" * 64)
    with pytest.raises(JobMismatchError, match="weights"):
        screen(asked(tmp_path), backend=other, engine=SerialEngine())


def test_changed_micrographs_and_picks_are_screened_again(tmp_path: Path) -> None:
    """Of three micrographs, the one whose file and the one whose picks changed are redone; new
    ones are added, and those that left are left out.
    """
    data_set(tmp_path, 4)
    do(asked(tmp_path))
    write_mrc(tmp_path / "mics/mic_000.mrc", picture(99))
    os.utime(tmp_path / "mics/mic_000.mrc", (1, 1))
    star = tmp_path / "picks/mic_001_autopick.star"
    star.write_text(star.read_text() + "50 50 0.9\n")
    (tmp_path / "mics/mic_003.mrc").unlink()
    (tmp_path / "picks/mic_003_autopick.star").unlink()
    write_mrc(tmp_path / "mics/mic_010.mrc", picture(10))
    events: list[Event] = []
    outcome = do(asked(tmp_path), progress=events.append)
    redone = sorted(event.row.name for event in events if event.row is not None)
    assert redone == ["mic_000", "mic_001", "mic_010"] and outcome.skipped == 1
    assert outcome.export is not None and outcome.picks_in == 37
    assert outcome.export.kept + outcome.export.rejected == 37
    assert any("no longer" in event.text for event in events)


def test_no_picks_anywhere_is_a_job_like_any_other(tmp_path: Path) -> None:
    """Empty coordinate files give valid empty files, full rows, and exit code 0."""
    data_set(tmp_path, 2, picks=0)
    outcome = do(asked(tmp_path))
    assert outcome.exit_code == 0 and outcome.picks_in == 0 and outcome.done == 2
    for folder in ("picks_auto_080", "picks_auto_080_rejected"):
        for path in (tmp_path / "job" / folder).iterdir():
            assert len(read_coordinates(path)) == 0
    records = list(csv.DictReader((tmp_path / "job/micrographs.csv").open()))
    assert all(record["area_good"] for record in records)


def test_picks_of_missing_micrographs_are_never_lost(tmp_path: Path) -> None:
    """Coordinates without a micrograph go to the third set, and the run goes on."""
    data_set(tmp_path, 3, picks=5)
    (tmp_path / "mics/mic_001.mrc").unlink()
    outcome = do(asked(tmp_path))
    assert outcome.export is not None and outcome.exit_code == 0
    assert outcome.export.unscreened == 5
    assert outcome.export.kept + outcome.export.rejected == 10
    assert any("mic_001" in text for text in outcome.warnings)


def test_a_new_threshold_gives_what_a_new_run_would(tmp_path: Path) -> None:
    """Rethreshold after a run equals a run with that threshold, byte for byte."""
    data_set(tmp_path, 3)
    do(asked(tmp_path, "one"))
    rethreshold(tmp_path / "one", 0.3)
    do(asked(tmp_path, "two", outputs=OutputSettings(threshold=0.3, thumbnails=0)))
    one, two = outputs(tmp_path / "one"), outputs(tmp_path / "two")
    sets = {name for name in two if name.startswith("picks_auto_030")}
    assert len(sets) == 6 and all(one[name] == two[name] for name in sets)


def test_flipping_y_changes_scores_and_not_the_text(tmp_path: Path) -> None:
    """With --flip-y yes picks count from the bottom: the mirrored picture gives the same."""
    data_set(tmp_path / "up", 2)
    data_set(tmp_path / "down", 2)
    for path in (tmp_path / "down/mics").iterdir():
        write_mrc(path, mrcfile.read(path)[::-1].copy())
    as_is = do(asked(tmp_path / "up"))
    flipped = do(asked(tmp_path / "down", inputs={"flip_y": "yes"}))
    wrong = do(asked(tmp_path / "down", "wrong"))
    assert as_is.export is not None and flipped.export is not None and wrong.export is not None
    assert flipped.export.kept == as_is.export.kept != wrong.export.kept
    name = "picks_auto_080/mic_000_autopick.star"
    kept = [read_coordinates(tmp_path / part / "job" / name).y for part in ("up", "down")]
    assert np.array_equal(*kept)


def test_other_micrographs_at_twice_the_pixel_size_give_the_same_decisions(tmp_path: Path) -> None:
    """Screening a binned set instead keeps the same picks; distances stay in picked px."""
    data_set(tmp_path, 2, side=256)
    for path in sorted((tmp_path / "mics").iterdir()):
        image = mrcfile.read(path).reshape(128, 2, 128, 2).mean(axis=(1, 3))
        write_mrc(tmp_path / "binned" / path.name, image, pixel_size=3.0)
    do(asked(tmp_path, "same", inputs={"box_size": 64.0}))
    other = {"box_size": 64.0, "other_micrographs": (str(tmp_path / "binned"),)}
    do(asked(tmp_path, "other", inputs=other))
    same_job, other_job = (list(Store(tmp_path / job).scored()) for job in ("same", "other"))
    for (row, scores), (other_row, other_scores) in zip(same_job, other_job, strict=True):
        assert scores is not None and other_scores is not None
        assert other_row.box_scale == 0.5 and row.box_scale == 1.0
        assert np.allclose(scores.goodness, other_scores.goodness, atol=0.02)
        finite = np.isfinite(scores.distance)
        assert np.allclose(scores.distance[finite], other_scores.distance[finite], atol=8.0)
        assert np.array_equal(scores.x, other_scores.x)
    for name in ("picks_auto_080", "picks_auto_080_rejected"):
        for path in (tmp_path / "same" / name).iterdir():
            there = read_coordinates(tmp_path / "other" / name / path.name)
            assert np.array_equal(read_coordinates(path).x, there.x)


def test_the_box_scale_comes_from_pixel_sizes_else_from_frames() -> None:
    """Two pixel sizes decide; with one unknown the frames do, and it is said; so is a misfit."""
    said: list[str] = []
    assert box_scale(1.0, 2.0, (100, 80), (50, 40), said) == 0.5 and said == []
    assert box_scale(None, 2.0, (100, 80), (50, 40), said) == 0.5 and "ratio" in said.pop()
    assert box_scale(1.0, 1.0, (100, 80), (50, 40), said) == 1.0 and "0.5" in said.pop()
    box_scale(1.0, 2.0, (100, 80), (50, 80), said)
    assert "same field" in said[0]


def test_masks_and_thumbnails_are_written_before_the_row(tmp_path: Path) -> None:
    """When a row says done, its mask is there; full-size masks have the micrograph's shape."""
    data_set(tmp_path, 3, picks=3)
    wanted = OutputSettings(save_masks=True, mask_size="full", mask_format="npy", thumbnails=2)

    def tell(event: Event) -> None:
        if event.row is not None:
            assert (tmp_path / "job/masks" / f"{event.row.name}.npy").is_file()

    do(asked(tmp_path, outputs=wanted), progress=tell)
    mask = read_mask(tmp_path / "job/masks/mic_000.npy")
    assert mask.shape == (SIDE, SIDE) and mask[10, 10] > 0.5 > mask[100, 100]
    assert len(list((tmp_path / "job/thumbnails").glob("*.png"))) == 2


class BrokenBackend(FakeBackend):
    """A network that cannot answer for one micrograph in two."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def predict(self, batch: np.ndarray) -> np.ndarray:
        self.calls += 1
        if self.calls % 2:
            raise ZeroDivisionError("inside the network")
        return super().predict(batch)


def test_an_unexpected_error_is_a_failed_row(tmp_path: Path) -> None:
    """Even a programming error in one micrograph does not stop the others, and says itself."""
    data_set(tmp_path, 4, picks=2)
    outcome = screen(asked(tmp_path), backend=BrokenBackend(), engine=SerialEngine())
    assert (outcome.done, outcome.exit_code) == (2, 3)
    assert all("ZeroDivisionError" in reason for _, reason in outcome.failed)


def test_what_a_worker_hands_back_is_small(tmp_path: Path) -> None:
    """Results hold no pictures, so memory stays flat over a run."""
    data_set(tmp_path, 1, picks=10, side=512)
    settings = asked(tmp_path)
    planned = plan(settings)
    work = Work(settings, FakeBackend(), flip_y=False)
    row, scores = work.do(errand(planned.jobs[0], planned.tables))
    assert row.status == "done" and len(pickle.dumps((row, scores))) < 5000


def test_a_diameter_without_a_pixel_size_fails_that_micrograph(tmp_path: Path) -> None:
    """The box in Å needs the pixel size: 1.5 diameters with it, a clear error without."""
    data_set(tmp_path, 1, picks=2)
    settings = asked(tmp_path, inputs={"box_size": None, "particle_diameter": 32.0})
    planned = plan(settings)
    picks = planned.tables[0].part(planned.jobs[0].rows)
    assert load(planned.jobs[0], picks, settings.inputs).row.box_size == 32.0
    write_mrc(tmp_path / "mics/mic_000.mrc", picture(0), pixel_size=0.0)
    with pytest.raises(MicrographError, match="--pixel-size"):
        load(planned.jobs[0], picks, settings.inputs)


def test_mistakes_leave_no_folder_behind(tmp_path: Path) -> None:
    """A run that cannot begin makes no job folder, and never writes into somebody's folder."""
    data_set(tmp_path, 1)
    with pytest.raises(UsageError):
        do(asked(tmp_path, inputs={"micrographs": (str(tmp_path / "nowhere"),)}))
    assert not (tmp_path / "job").exists()
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "thesis.tex").touch()
    with pytest.raises(JobError, match="thesis"):
        do(asked(tmp_path))
    assert [path.name for path in (tmp_path / "job").iterdir()] == ["thesis.tex"]


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    """While a run holds the folder, a second one is told so and changes nothing."""
    data_set(tmp_path, 1)
    do(asked(tmp_path))
    with JobLock(tmp_path / "job"), pytest.raises(JobLockedError):
        do(asked(tmp_path))


def test_suspect_micrographs_are_counted_and_follow_the_option(tmp_path: Path) -> None:
    """An almost wholly bad micrograph is suspect; drop rejects all of its picks."""
    data_set(tmp_path, 2)
    image = picture(5)
    image[: int(0.9 * SIDE)] -= 12.0
    write_mrc(tmp_path / "mics/mic_001.mrc", image)
    outcome = do(asked(tmp_path))
    drop = do(asked(tmp_path, "drop", scoring=ScoreSettings(on_suspect="drop")))
    assert [name for name, _ in outcome.suspect] == [name for name, _ in drop.suspect]
    assert "mic_001" in dict(outcome.suspect)
    records = {
        record["micrograph"][-7:-4]: record
        for record in csv.DictReader((tmp_path / "drop/micrographs.csv").open())
    }
    assert records["001"]["picks_kept"] == "0" and records["001"]["suspect"]


def test_the_frame_is_checked_once_per_job(tmp_path: Path) -> None:
    """What was decided about the frame at the beginning holds when the job is continued."""
    data_set(tmp_path, 2, picks=3)
    do(asked(tmp_path, inputs={"flip_y": "auto"}))
    with Store(tmp_path / "job", create=True) as store:
        store.note(frame={"flip_y": True, "warnings": ["as decided"], "micrographs": 2})
    events: list[Event] = []
    outcome = do(asked(tmp_path, inputs={"flip_y": "auto"}), progress=events.append)
    assert "as decided" in outcome.warnings
    assert not [event for event in events if "frame" in event.text]
