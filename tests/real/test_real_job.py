"""The main job on real micrographs with picks of real programs (EMPIAR-10017 and two raw files)."""

from __future__ import annotations

import csv
import gzip
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

JOB = Path(__file__).parents[3] / "shared" / "data" / "job"
pytestmark = pytest.mark.skipif(
    not JOB.is_dir(), reason="../shared/data with real micrographs is not here"
)


def screen(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "micscreen", "screen", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def screened(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished job over the four JPEG micrographs with boxes of good 2D classes."""
    job = tmp_path_factory.mktemp("real") / "job"
    done = screen(
        JOB / "micrographs" / "*.jpg", "-c", JOB / "coordinates" / "good_2d_classes", "-o", job,
        "-b", 160, "--pixel-size", 1.77, "--thumbnails", 4, "--quiet",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return job


def rows(folder: Path) -> int:
    return sum(len(p.read_text().splitlines()) - 1 for p in folder.glob("*.csv"))


def test_boxes_of_good_classes_go_on(screened: Path) -> None:
    """Of the boxes that ended in good 2D classes at most 3 % are lost at the default threshold."""
    kept, lost = rows(screened / "picks_auto_080"), rows(screened / "picks_auto_080_rejected")
    assert kept + lost == rows(JOB / "coordinates" / "good_2d_classes")
    assert lost <= 0.03 * (kept + lost)


def test_the_carbon_of_a_known_micrograph_is_found(screened: Path) -> None:
    """Film is found, if only a part of it, on the two micrographs with carbon and on no other."""
    with (screened / "micrographs.csv").open() as file:
        table = {Path(r["micrograph"]).stem.split("-")[-1]: r for r in csv.DictReader(file)}
    film = {name: float(row["area_support_film"]) for name, row in table.items()}
    carbon = [film.pop("15_27_22_0"), film.pop("15_30_21_0")]
    assert all(0.02 < area < 0.25 for area in carbon)
    assert all(area < 0.005 for area in film.values())
    assert all(row["contrast"] == "dark" for row in table.values())
    assert all(row["suspect"] == "" for row in table.values())


def test_flipped_picks_are_noticed(tmp_path: Path) -> None:
    """Real picks turned upside down are found out by the frame check, and scored turned back."""
    picks = tmp_path / "picks"
    picks.mkdir()
    for path in (JOB / "coordinates" / "good_2d_classes").glob("*.csv"):
        with path.open() as file:
            table = [(float(r["x"]), 4095 - float(r["y"])) for r in csv.DictReader(file)]
        lines = "\n".join(f"{x:.1f},{y:.1f}" for x, y in table)
        (picks / path.name).write_text(f"x,y\n{lines}\n")
    done = screen(
        JOB / "micrographs" / "*.jpg", "-c", picks, "-o", tmp_path / "job", "-b", 160, "--quiet"
    )
    assert done.returncode == 0, done.stderr
    assert "y is flipped for scoring" in done.stderr
    shown = subprocess.run(
        [sys.executable, "-m", "micscreen", "show", tmp_path / "job"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "y flipped for scoring" in shown
    evidence = {
        name: abs(int(re.search(rf"[:,] {name} ([+-]\d+)", shown)[1]))
        for name in ("as they are", "y flipped")
    }
    assert evidence["y flipped"] > 2 * evidence["as they are"]


def test_raw_movies_sums_as_microscopes_write_them(tmp_path: Path) -> None:
    """Gzipped MRC files with FEI headers are screened from one particles file; -1 keeps all."""
    star = tmp_path / "particles.star"
    names = ["epu2.9_example.mrc", "fei-extended.mrc"]
    lines = ["data_", "", "loop_", "_rlnMicrographName #1", "_rlnCoordinateX #2"]
    lines += ["_rlnCoordinateY #3"]
    lines += [f"Movies/{n} {x} {y}" for n in names for x in (500, 1500) for y in (600, 2600)]
    star.write_text("\n".join([*lines, ""]))
    done = screen(
        JOB / "micrographs" / "*.mrc.gz", "-c", star, "-o", tmp_path / "job", "-d", 180,
        "--pixel-size", 1.0, "-t", -1, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    end = json.loads(done.stdout.splitlines()[-1])
    assert end["kept"] == 8
    assert (tmp_path / "job" / "picks_full" / "particles.star").exists()


def test_three_corrupt_files_in_fifty(tmp_path: Path) -> None:
    """Fifty real micrographs of which three are damaged: 47 done, 3 failed with reasons, code 3."""
    source = JOB / "micrographs" / "Falcon_2012_06_12-15_17_31_0.jpg"
    picks = JOB / "coordinates" / "good_2d_classes" / f"{source.stem}.csv"
    mics, coordinates = tmp_path / "mics", tmp_path / "picks"
    mics.mkdir()
    coordinates.mkdir()
    for i in range(50):
        (mics / f"mic_{i:02d}.jpg").hardlink_to(_near(source, tmp_path))
        shutil.copy(picks, coordinates / f"mic_{i:02d}.csv")
    for i, data in ((7, b""), (23, gzip.compress(b"no picture")), (41, source.read_bytes()[:9000])):
        (mics / f"mic_{i:02d}.jpg").unlink()
        (mics / f"mic_{i:02d}.jpg").write_bytes(data)
    done = screen(mics, "-c", coordinates, "-o", tmp_path / "job", "-b", 160, "--json")
    assert done.returncode == 3, done.stderr
    end = json.loads(done.stdout.splitlines()[-1])
    assert end["done"] == 47
    assert [one["name"] for one in end["failed"]] == ["mic_07", "mic_23", "mic_41"]
    assert all(one["reason"] for one in end["failed"])
    assert end["kept"] + end["rejected"] + end["unscreened"] == end["picks_in"]


def _near(source: Path, folder: Path) -> Path:
    """Return a copy of `source` on the file system of `folder`, made once."""
    near = folder / source.name
    if not near.exists():
        shutil.copy(source, near)
    return near
