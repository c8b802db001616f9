"""`micscreen simulate`: folders of micrographs with truth, through the command line."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from micscreen.cli.vocabulary import SIMULATED_KINDS
from micscreen.errors import UsageError
from micscreen.io import read_micrograph, read_picks
from micscreen.io.labels import read_label
from micscreen.simulate import KINDS, simulate_micrograph
from micscreen.simulated import SimulateSettings, simulate_folder

SMALL = ("--size", "640x480", "-b", "40", "--pixel-size", "2.5")


def micscreen(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "micscreen", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_words_of_the_command_are_those_of_the_simulator() -> None:
    """`--kind` offers what the simulator can make, and nothing else."""
    assert set(SIMULATED_KINDS) == set(KINDS)


@pytest.mark.parametrize("format", ["mrc", "tif"])
def test_image_truth_and_picks_belong_together(tmp_path: Path, format: str) -> None:
    """Size, Å/px, classes and picks that are written are those of the scene of that seed, in both
    formats the right way up.
    """
    done = micscreen(
        "simulate", "-o", tmp_path, "-n", 2, "--kind", "film", "--kind", "clean", "--seed", 5,
        "--format", format, *SMALL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "truth.csv").open()))
    assert [row["kind"] for row in rows] == ["film", "clean"]
    name = rows[0]["micrograph"]
    scene = simulate_micrograph("film", (480, 640), 40.0, 2.5, seed=5)
    micrograph = read_micrograph(tmp_path / "images" / f"{name}.{format}")
    np.testing.assert_array_equal(micrograph.image, scene.image)
    assert micrograph.pixel_size == pytest.approx(2.5)
    np.testing.assert_array_equal(read_label(tmp_path / "labels" / f"{name}.png"), scene.classes)
    picks = read_picks(tmp_path / "picks" / f"{name}.star")
    np.testing.assert_allclose(picks.x, scene.x, atol=1e-3)
    assert float(rows[0]["support_film"]) == pytest.approx((scene.classes == 1).mean(), abs=1e-4)
    assert float(rows[1]["good"]) == 1.0


def test_an_interrupted_simulation_goes_on(tmp_path: Path) -> None:
    """Micrographs made by a run that stopped stay as they are, and all is as in one run."""
    settings = {"shape": (240, 320), "box_size": 40.0, "kinds": ("ice", "dense")}
    simulate_folder(SimulateSettings(tmp_path / "whole", number=3, **settings))  # type: ignore[arg-type]
    simulate_folder(SimulateSettings(tmp_path / "parts", number=1, **settings))  # type: ignore[arg-type]
    first = next((tmp_path / "parts" / "images").iterdir())
    before = first.stat().st_mtime_ns
    simulate_folder(SimulateSettings(tmp_path / "parts", number=3, **settings))  # type: ignore[arg-type]
    assert first.stat().st_mtime_ns == before
    assert contents(tmp_path / "whole").keys() == contents(tmp_path / "parts").keys()
    for name, data in contents(tmp_path / "whole").items():
        if not name.endswith(".mrc"):  # whose header holds the time of writing
            assert contents(tmp_path / "parts")[name] == data


def test_the_folder_is_evaluated(tmp_path: Path) -> None:
    """`micscreen evaluate` takes the folder as it is and finds labels, boxes and particles."""
    assert (
        micscreen("simulate", "-o", tmp_path / "a", "-n", 1, "--kind", "film", *SMALL).returncode
        == 0
    )
    done = micscreen("evaluate", tmp_path / "a", "-b", 40, "-o", tmp_path / "out", "-q")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())["summary"]
    assert found["pictures"] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--size", "4096"), "4096x4096"),
        (("--size", "100x100"), "too few"),
        (("-n", "0"), "at least 1"),
        (("-b", "2"), "at least 8"),
    ],
)
def test_impossible_wishes_are_refused(tmp_path: Path, words: tuple[str, str], said: str) -> None:
    """Sizes and numbers that cannot be are one clear error, and nothing is written."""
    done = micscreen("simulate", "-o", tmp_path / "out", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="unknown kind"):
        SimulateSettings(tmp_path, kinds=("snow",))
