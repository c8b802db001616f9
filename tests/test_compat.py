"""MicrographCleaner's command line, run by this package."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from micscreen.cli import cli
from micscreen.io import read_coordinates, read_mask, write_mask
from test_keras import keras2_h5


def cleanmics(*words: object) -> Result:
    """Run the command on the CPU."""
    line = ["compat", "cleanmics", *map(str, words), "-g", "-1"]
    return CliRunner().invoke(cli, line, standalone_mode=False)


@pytest.fixture
def masked(small_set: Any, tmp_path: Path) -> tuple[list[Path], Path]:
    """Two micrographs, and masks that call the left half of the first one bad."""
    mics = [small_set.micrographs / f"{name}.mrc" for name in small_set.names[:2]]
    mask = np.zeros((768, 768), np.float32)
    mask[:, :384] = 1
    write_mask(tmp_path / "masks" / f"{mics[0].stem}.mrc", mask)
    write_mask(tmp_path / "masks" / f"{mics[1].stem}.mrc", np.ones((768, 768), np.float32))
    return mics, tmp_path / "masks"


def table_of(folder: Path, name: str, text: str) -> Path:
    """Write a coordinate file of the first micrograph."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder


ROWS = "xcoor\tycoor\tkind\n100\t300\ta\n600\t300\tb\n384\t300\tc\n"
POS = (
    "# XMIPP_STAR_1 *\ndata_header\nloop_\n _pickingMicrographState\nAuto\ndata_particles\nloop_\n"
    " _xcoor\n _ycoor\n100 300\n600 300\n384 300\n"
)


@pytest.mark.parametrize(("ending", "text"), [("txt", ROWS), ("tab", ROWS), ("pos", POS)])
@pytest.mark.parametrize(("threshold", "kept"), [("0.2", 1), ("0.6", 2), ("1", 2), (None, 3)])
def test_thresholds_run_in_the_old_direction(
    ending: str, text: str, threshold: str | None, kept: int,
    masked: tuple[list[Path], Path], tmp_path: Path,
) -> None:  # fmt: skip
    """The mask's mean in the box must lie below --deepThr; scores are 1 minus it, as before."""
    mics, masks = masked
    given = table_of(tmp_path / "in", f"{mics[0].stem}.{ending}", text)
    words = [] if threshold is None else ["--deepThr", threshold]
    done = cleanmics("-i", mics[0], "-c", given, "-o", tmp_path / "out", "-b", 64,
                     "-p", masks, *words)  # fmt: skip
    assert done.return_value == 0, done.output
    out = tmp_path / "out" / f"{mics[0].stem}.{ending}"
    assert "goodRegionScore" in out.read_text()
    rows = [line.split() for line in out.read_text().splitlines() if line[:1].isdigit()]
    assert len(rows) == kept
    scores = {row[0]: float(row[-1]) for row in rows}
    assert scores["600"] == pytest.approx(1, abs=0.01)
    if kept > 1:
        assert scores["384"] == pytest.approx(0.5, abs=0.1)
    assert [p.name for p in (tmp_path / "out").iterdir()] == [out.name]


def test_several_micrographs_after_one_i(masked: tuple[list[Path], Path], tmp_path: Path) -> None:
    """`-i a b -c ...` as in old pipelines; above --sizeThr all stay with -1, openly."""
    mics, masks = masked
    given = tmp_path / "in"
    for mic in mics:
        table_of(given, f"{mic.stem}.tab", ROWS)
    done = cleanmics("-i", *mics, "-c", given, "-o", tmp_path / "out", "-b", 64, "-p", masks,
                     "--deepThr", 0.2, "--sizeThr", 0.9)  # fmt: skip
    assert done.return_value == 0, done.output
    assert f"{mics[0].stem}: 1 of 3" in done.output
    assert f"{mics[1].stem}: 3 of 3" in done.output
    assert "all picks stay" in done.output
    assert (tmp_path / "out" / f"{mics[1].stem}.tab").read_text().count("-1.000000") == 3


def test_coordinates_are_divided_by_the_factor(
    masked: tuple[list[Path], Path], tmp_path: Path
) -> None:
    """-s 2: a pick at 1200 lies at 600 of the micrograph, and is written so."""
    mics, masks = masked
    given = table_of(tmp_path / "in", f"{mics[0].stem}.txt", "xcoor\tycoor\n1200\t600\n")
    cleanmics("-i", mics[0], "-c", given, "-o", tmp_path / "out", "-b", 64, "-p", masks,
              "-s", 2, "--deepThr", 0.2)  # fmt: skip
    table = read_coordinates(tmp_path / "out" / f"{mics[0].stem}.txt")
    assert (table.x[0], table.y[0]) == (600, 300)


def test_star_files_masks_and_empty_results(small_set: Any, tmp_path: Path) -> None:
    """RELION's _autopick.star by name; masks are written whole; a file also when nothing stays."""
    mics = sorted(small_set.micrographs.iterdir())[:2]
    listed = tmp_path / "mics.txt"
    listed.write_text("\n".join(map(str, mics)))
    words = ("-i", listed, "-c", small_set.picks, "-b", 64, "-p", tmp_path / "masks")
    assert cleanmics(*words, "-o", tmp_path / "out", "--deepThr", 0.2).return_value == 0
    for mic in mics:
        mask = read_mask(tmp_path / "masks" / f"{mic.stem}.mrc")
        assert mask.shape == (768, 768) and 0 <= mask.min() <= mask.max() <= 1
        kept = read_coordinates(tmp_path / "out" / f"{mic.stem}_autopick.star")
        assert 0 < len(kept) <= len(read_coordinates(small_set.picks / kept.source.name))
        write_mask(tmp_path / "masks" / f"{mic.stem}.mrc", np.ones((768, 768), np.float32))
    again = cleanmics(*words, "-o", tmp_path / "none", "--deepThr", 0.2, "--sizeThr", 1)
    assert again.return_value == 0, again.output
    assert len(read_coordinates(tmp_path / "none" / f"{mics[0].stem}_autopick.star")) == 0


def test_what_cannot_be_is_refused(small_set: Any, tmp_path: Path) -> None:
    """No input named twice as output, no half of a pair, no bad micrograph that goes unnoticed."""
    mic = small_set.micrographs / f"{small_set.names[0]}.mrc"
    picks = tmp_path / "picks"
    shutil.copytree(small_set.picks, picks)
    for words, hint in (
        (("-c", picks, "-o", picks), "overwrite"),
        (("-c", picks), "both or none"),
        ((), "folder for masks"),
        (("-p", tmp_path / "m", "--deepThr", 2), "0..1"),
        (("-p", tmp_path / "m", "-d", tmp_path / "no.h5"), "no such file"),
    ):
        assert hint in str(cleanmics("-i", mic, "-b", 64, *words).exception)
    broken = tmp_path / "broken.mrc"
    broken.write_bytes(b"x" * 2000)
    done = cleanmics("-i", broken, "-b", 64, "-p", tmp_path / "m")
    assert done.return_value == 3 and "failed" in done.output


def test_a_keras_model_is_taken_as_it_is(small_set: Any, tmp_path: Path) -> None:
    """-d with the old program's model file: converted for this run, and its mask is written."""
    keras2_h5(tmp_path / "defaultModel.h5")
    mic = small_set.micrographs / f"{small_set.names[0]}.mrc"
    done = cleanmics("-i", mic, "-b", 64, "-p", tmp_path / "m", "-d", tmp_path / "defaultModel.h5")
    assert done.return_value == 0, done.output
    assert "one kind of bad" in done.output
    assert read_mask(tmp_path / "m" / f"{mic.stem}.mrc").std() > 0
