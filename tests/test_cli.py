"""The command line from end to end: real files, the shipped weights, a process of its own."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gemmi
import mrcfile
import numpy as np
import pytest

Tree = Callable[[Path], dict[str, bytes]]
COMMAND = [sys.executable, "-m", "micscreen"]


def micscreen(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command and wait for it."""
    return subprocess.run(
        [*COMMAND, *map(str, words)], capture_output=True, text=True, check=False, cwd=cwd
    )


def screen_words(small_set, job: Path, *more: object) -> list[object]:
    words = ["screen", small_set.micrographs, "-c", small_set.picks, "-o", job]
    return [*words, "--box-size", 64, "--quiet", *more]


def star_rows(folder: Path) -> int:
    """Count the rows of all per-micrograph STAR files of a set, as gemmi reads them."""
    return sum(
        len(gemmi.cif.read(str(path)).sole_block().find(["_rlnCoordinateX"]))
        for path in folder.rglob("*.star")
    )


@pytest.fixture(scope="module")
def job(small_set, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished job with masks and thumbnails."""
    folder = tmp_path_factory.mktemp("cli") / "job"
    done = micscreen(*screen_words(small_set, folder, "--save-masks", "--thumbnails", 2))
    assert done.returncode == 0, done.stderr
    return folder


def test_screen_writes_every_row_once_and_tells_the_threshold(small_set, job: Path) -> None:
    """Kept and rejected together hold all rows, in folders named by the threshold."""
    kept, rejected = star_rows(job / "picks_auto_080"), star_rows(job / "picks_auto_080_rejected")
    assert kept + rejected == small_set.rows
    assert kept > 0
    assert rejected > 0
    assert len(list((job / "masks").glob("*.tif"))) == 5
    assert len(list((job / "thumbnails").iterdir())) == 2
    with (job / "micrographs.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [Path(row["micrograph"]).stem for row in table] == list(small_set.names)
    assert sum(int(row["picks_kept"]) for row in table) == kept


def test_inputs_are_not_touched(small_set, tree: Tree, tmp_path: Path) -> None:
    """A run leaves every input file byte for byte as it was."""
    before = tree(small_set.micrographs.parent)
    done = micscreen(*screen_words(small_set, tmp_path / "job"))
    assert done.returncode == 0, done.stderr
    assert tree(small_set.micrographs.parent) == before


def test_kept_rows_are_the_very_text(small_set, job: Path) -> None:
    """Each line of a kept set starts with a line of the input, and the goodness stands behind."""
    name = f"{small_set.names[0]}_autopick.star"
    original = {line.strip() for line in (small_set.picks / name).read_text().splitlines()}
    rows = [
        line.split()
        for line in (job / "picks_auto_080" / name).read_text().splitlines()
        if line[:1].isdigit() or line[:1] == " "
    ]
    assert rows
    for row in rows:
        assert 0.8 <= float(row[-1]) <= 1
        assert " ".join(row[:-1]) in {" ".join(line.split()) for line in original}


def test_rethreshold_needs_no_network_and_no_micrographs(small_set, job: Path) -> None:
    """Another threshold comes from stored scores; higher keeps fewer, -1 keeps all."""
    words = ["rethreshold", job, "--json", "--threshold"]
    strict, all_ = micscreen(*words, 0.95), micscreen(*words, -1)
    assert strict.returncode == 0, strict.stderr
    assert all_.returncode == 0, all_.stderr
    assert json.loads(strict.stdout)["kept"] < star_rows(job / "picks_auto_080")
    assert json.loads(all_.stdout)["kept"] == small_set.rows == star_rows(job / "picks_full")
    assert (job / "picks_auto_095_rejected").is_dir()
    assert not (job / "picks_full_rejected").exists()


def test_show_prints_what_the_job_found(small_set, job: Path) -> None:
    """`show` counts as the sets do, lists micrographs, and prints one micrograph's picks."""
    record = json.loads(micscreen("show", job, "--json").stdout)
    assert record["kept"] == star_rows(job / "picks_auto_080")
    assert record["micrographs"]["done"] == 5
    assert sum(record["goodness_histogram"]) == small_set.rows
    plain = micscreen("show", job).stdout
    assert re.search(rf"kept +{record['kept']:,}", plain)
    rows = list(csv.DictReader(micscreen("show", job, "--micrographs").stdout.splitlines()))
    assert len(rows) == 5
    picks = micscreen("show", job, "--picks", small_set.names[0]).stdout.splitlines()
    assert len(list(csv.DictReader(picks))) == int(rows[0]["picks_in"])
    assert micscreen("show", job, "--picks", "nobody").returncode == 2


def test_json_lines_can_be_parsed_one_by_one(small_set, tmp_path: Path) -> None:
    """With --json every line of standard output is an object; the last one has the counts."""
    words = [word for word in screen_words(small_set, tmp_path / "job") if word != "--quiet"]
    done = micscreen(*words, "--json")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    found = [record for record in records if record["event"] == "micrograph"]
    assert {record["name"] for record in found} == set(small_set.names)
    assert all(abs(sum(record["area"].values()) - 1) < 0.01 for record in found)
    end = records[-1]
    assert end["event"] == "end"
    assert end["kept"] + end["rejected"] == small_set.rows


def test_conversion_to_csv_keeps_the_coordinates(small_set, tmp_path: Path) -> None:
    """--format csv writes the kept picks with their goodness, at the coordinates that came in."""
    done = micscreen(*screen_words(small_set, tmp_path / "job", "--format", "csv"))
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "job" / "picks_auto_080").rglob("*.csv")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert all(float(row["goodness"]) >= 0.8 for row in rows)
    block = gemmi.cif.read(str(small_set.picks / "mic_000_autopick.star")).sole_block()
    given = {(float(x), float(y)) for x, y in block.find("_rln", ["CoordinateX", "CoordinateY"])}
    name = next(column for column in rows[0] if column not in ("x", "y", "goodness"))
    own = [row for row in rows if "mic_000" in row[name]]
    assert own
    assert {(float(row["x"]), float(row["y"])) for row in own} <= given


def test_masks_alone(small_set, tmp_path: Path) -> None:
    """`mask` writes one mask per micrograph in [0, 1] and its class map; a second run none."""
    words = ["mask", small_set.micrographs, "--box-size", 64, "-o", tmp_path, "-q", "--classes"]
    done = micscreen(*words)
    assert done.returncode == 0, done.stderr
    for name in small_set.names:
        with mrcfile.open(tmp_path / f"{name}.mrc") as file:
            assert file.data.shape == (768, 768)
            assert file.data.min() >= 0
            assert file.data.max() <= 1
            assert file.voxel_size.x == pytest.approx(2.0)
        with mrcfile.open(tmp_path / f"{name}_classes.mrc") as file:
            assert set(np.unique(file.data)) <= set(range(6))
    assert "0 masks written" in micscreen(*words).stdout
    other = micscreen(*words, "--mask-size", "model")
    assert other.returncode == 2
    assert "mask_size" in other.stderr


def test_corrupt_micrographs_fail_alone(small_set, tmp_path: Path) -> None:
    """Two corrupt files among five are failed rows with reasons; exit code 3; the rest is done."""
    mics = tmp_path / "mics"
    shutil.copytree(small_set.micrographs, mics)
    (mics / "mic_001.mrc").write_bytes(b"")
    broken = mics / "mic_003.mrc"
    broken.write_bytes(broken.read_bytes()[:50_000])
    words = ["screen", mics, "-c", small_set.picks, "-o", tmp_path / "job", "-b", 64, "--quiet"]
    done = micscreen(*words)
    assert done.returncode == 3
    assert "2 failed" in done.stdout
    assert "mic_001" in done.stdout
    assert "mic_003" in done.stdout
    sets = [tmp_path / "job" / f"picks_auto_080{end}" for end in ("", "_rejected", "_unscreened")]
    assert sum(star_rows(folder) for folder in sets) == small_set.rows
    assert star_rows(sets[2]) > 0
    shutil.copy(small_set.micrographs / "mic_001.mrc", mics)
    again = micscreen(*words)
    assert again.returncode == 3
    assert "1 failed" in again.stdout


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_continues_to_the_same_result(
    small_set, job: Path, tree: Tree, tmp_path: Path, signal_number: int
) -> None:
    """Killed or interrupted in the middle and started again, a run gives the same bytes."""
    words = screen_words(small_set, tmp_path / "job", "--save-masks", "--thumbnails", 2)
    words = [*words, "--threads", 1, "--json"]
    words.remove("--quiet")
    process = subprocess.Popen(
        [*COMMAND, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["event"] == "micrograph":
            break
    process.send_signal(signal_number)
    process.communicate(timeout=240)
    if signal_number != signal.SIGKILL:
        assert process.returncode in (0, 130)
    again = micscreen(*words)
    assert again.returncode == 0, again.stderr
    now, undisturbed = tree(tmp_path / "job"), tree(job)
    for name in (n for n in undisturbed if n.startswith(("picks_auto_080", "micro", "masks"))):
        assert now[name] == undisturbed[name], name


def test_other_arguments_are_refused_by_name(small_set, job: Path) -> None:
    """A job begun with one box is not continued with another, and the message names both."""
    words = screen_words(small_set, job, "--save-masks", "--thumbnails", 2)
    words[words.index(64)] = 80
    done = micscreen(*words)
    assert done.returncode == 2
    assert "--box-size" in done.stderr
    assert "64" in done.stderr
    assert "80" in done.stderr


def test_another_set_at_twice_the_pixel_size_gives_the_same_decisions(
    small_set, tmp_path: Path
) -> None:
    """Screening the same fields binned by two rejects what the originals reject, but for a few."""
    binned = tmp_path / "binned"
    binned.mkdir()
    for path in small_set.micrographs.iterdir():
        image = mrcfile.read(path)
        half = image.reshape(384, 2, 384, 2).mean(axis=(1, 3)).astype(np.float32)
        mrcfile.write(binned / path.name, half, voxel_size=4.0)
    same = micscreen(*screen_words(small_set, tmp_path / "same"))
    assert same.returncode == 0, same.stderr
    other = micscreen(
        *screen_words(small_set, tmp_path / "other", "--micrographs-other", binned),
        "--coordinate-scale", "micrographs",
    )  # fmt: skip
    assert other.returncode == 0, other.stderr
    goodness = []
    for name in ("same", "other"):
        values = []
        for mic in small_set.names:
            lines = micscreen("show", tmp_path / name, "--picks", mic).stdout.splitlines()
            values += [float(row["goodness"]) for row in csv.DictReader(lines)]
        goodness.append(np.array(values) >= 0.8)
    assert (goodness[0] == goodness[1]).mean() > 0.97
    block = gemmi.cif.read(
        str(tmp_path / "other" / "picks_auto_080" / "mic_002_autopick.star")
    ).sole_block()
    assert max(float(x) for (x,) in block.find(["_rlnCoordinateX"])) < 384


def test_empty_picks_give_valid_empty_files_and_success(small_set, tmp_path: Path) -> None:
    """When nothing comes in nothing goes out: exit code 0, and files that read as zero picks."""
    picks = tmp_path / "picks"
    picks.mkdir()
    for name in small_set.names:
        (picks / f"{name}_autopick.star").write_text(
            "\ndata_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n\n"
        )
    done = micscreen("screen", small_set.micrographs, "-c", picks, "-o", tmp_path / "j", "-b", 64)
    assert done.returncode == 0, done.stderr
    assert star_rows(tmp_path / "j" / "picks_auto_080") == 0
    assert len(list((tmp_path / "j" / "picks_auto_080").rglob("*.star"))) == 5


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["screen", "nowhere", "-c", "PICKS", "-o", "job", "-b", "64"], "nowhere"),
        (["screen", "MICS", "-c", "nowhere", "-o", "job", "-b", "64"], "nowhere"),
        (["screen", "MICS", "-c", "PICKS", "-o", "job"], "--box-size"),
        (["screen", "MICS", "-c", "PICKS", "-o", "job", "-b", "64", "-t", "80"], "0.75 to 0.9"),
        (["screen", "MICS", "-c", "PICKS", "-o", "job", "-b", "64", "--device", "cuda"], "CUDA"),
        (["screen", "MICS", "-c", "PICKS", "-o", "MICS", "-b", "64"], "--output"),
        (["screen", "MICS", "-c", "MICS", "-o", "job", "-b", "64"], "Known endings"),
        (["screen", "MICS", "-c", "PICKS", "-o", "job", "-b", "64", "-q", "-v"], "--quiet"),
        (["screen", "MICS", "-c", "PICKS", "-o", "job", "-b", "64", "--model", "no"], "weights"),
        (["rethreshold", "nowhere", "-t", "0.8"], "no job"),
        (["show", "MICS"], "no job"),
        (["mask", "MICS", "-b", "-3", "-o", "m"], "--box-size"),
    ],
)
def test_mistakes_are_told_with_what_to_do(
    small_set, tmp_path: Path, words: list[str], says: str
) -> None:
    """A wrong path, option or device ends with code 2, one message without traceback, no output."""
    places = {"MICS": str(small_set.micrographs), "PICKS": str(small_set.picks)}
    done = micscreen(*(places.get(word, word) for word in words), cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "job" / "picks_auto_080").exists()


def test_formats_are_listed() -> None:
    """`formats` prints each format, for people and as JSON."""
    assert "relion_particles" in micscreen("formats").stdout
    record = json.loads(micscreen("formats", "--json").stdout)
    assert "cryosparc_cs" in {row["name"] for row in record["coordinates"]}


def test_a_second_run_in_a_job_is_refused(small_set, tmp_path: Path) -> None:
    """While one run writes to a job folder, another is turned away and told who is there."""
    words = [*screen_words(small_set, tmp_path / "job", "--threads", 1), "--json"]
    words.remove("--quiet")
    staying = [*COMMAND, *map(str, words), "--watch", "--quiet-time", "0"]  # until it is told
    first = subprocess.Popen(staying, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    while json.loads(first.stdout.readline())["event"] != "micrograph":
        pass
    second = micscreen(*words)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=240)
    assert second.returncode == 2
    assert str(first.pid) in second.stderr
    assert first.returncode == 130
