"""`micscreen evaluate`: figures of a network on a labelled folder."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import mrcfile
import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from micscreen.cli import cli
from micscreen.evaluate import evaluate
from micscreen.evaluate import summary as bar
from micscreen.evaluation.data import find_labelled, read_truth
from micscreen.evaluation.measure import Figures, Measured, measure, pooled, summary
from micscreen.evaluation.page import contact_sheet, worst_first
from micscreen.io import write_picks
from micscreen.metrics import Confusion, calibration_error, confusion
from micscreen.model.backend import open_backend
from micscreen.picks import Picks
from micscreen.simulate import picks_on_bad, simulate_micrograph
from test_report_html import read

BOX = 40.0
KINDS = ("film", "ice", "clean", "crystalline")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like ../shared/data/train, simulated; `picks/` holds picks on bad regions."""
    folder = tmp_path_factory.mktemp("labelled") / "set"
    for name in ("images", "labels", "particles", "picks"):
        (folder / name).mkdir(parents=True)
    index = []
    for i, kind in enumerate(KINDS):
        scene = simulate_micrograph(kind, (400, 480), BOX, 2.0, seed=i)
        name = f"e1000{i % 2}_{kind}"
        grey = np.clip(128 + 30 * (scene.image - scene.image.mean()) / scene.image.std(), 0, 255)
        cv2.imwrite(str(folder / "images" / f"{name}.png"), grey.astype(np.uint8))
        classes = scene.classes.copy()
        classes[100:260] = 255  # left out, whatever is there
        cv2.imwrite(str(folder / "labels" / f"{name}.png"), classes)
        discs = np.zeros((400, 480), np.uint8)
        for x, y in zip(scene.x, scene.y, strict=True):
            if 12 < x < 467 and 12 < y < 387:
                cv2.circle(discs, (round(x), round(y)), 10, 255, -1)
        cv2.imwrite(str(folder / "particles" / f"{name}.png"), discs)
        x, y = picks_on_bad(scene, 9, i)
        write_picks(folder / "picks" / f"{name}.box", Picks(x, y, box_size=BOX), format="eman_box")
        index.append(
            {"name": name, "source": "x", "box_size_px": BOX, "particle_diameter_px": 20}
        )  # fmt: skip
    (folder.parent / "index.json").write_text(json.dumps(index))
    return folder


def run(*words: object) -> Result:
    return CliRunner().invoke(cli, ["evaluate", *map(str, words)], standalone_mode=False)


@pytest.fixture(scope="module")
def done(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder evaluated, with picks."""
    output = tmp_path_factory.mktemp("evaluated")
    result = run(labelled, "-o", output, "-c", labelled / "picks", "--contrast", "dark")
    assert result.exit_code == 0, result.output
    assert "IoU of bad regions" in result.output
    return output


def test_the_figures_are_those_of_the_bar(labelled: Path, done: Path) -> None:
    """Per picture and in sum, IoU, area, particles and calibration agree with the model card's."""
    content = json.loads((done / "evaluation.json").read_text())
    rows = {row.name: row for row in evaluate(open_backend("default", device="cpu"), labelled)}
    assert {p["name"] for p in content["pictures"]} == set(rows)
    for picture in content["pictures"]:
        row = rows[picture["name"]]
        for key in ("bad", "iou", "precision", "recall", "called_bad", "calibration_error"):
            value = math.nan if picture[key] is None else picture[key]
            np.testing.assert_allclose(value, getattr(row, key), atol=1e-6, err_msg=key)
        assert picture["true_particles"] == row.true_picks
        for name, share in row.found.items():
            assert abs(picture["classes"][name]["called_bad"] - share) < 1e-6
    figures, wanted = content["summary"], bar(list(rows.values()))
    for mine, theirs in (
        ("iou_mean_over_sources", "iou_mean_over_sources"),
        ("clean_area_called_bad", "clean_area_called_bad"),
        ("true_particles_lost_080", "true_picks_lost"),
        ("calibration_error_mean_over_pictures", "calibration_error"),
    ):
        assert abs(figures[mine] - wanted[theirs]) < 1e-6
    assert figures["sources"].keys() == {"e10000", "e10001"}
    assert 5 < figures["pooled"]["picks_on_bad"] < 9 * 3
    removed = figures["pooled"]["picks_on_bad_removed"]
    assert list(removed) == [f"{0.5 + 0.05 * i:.2f}" for i in range(10)]
    assert list(removed.values()) == sorted(removed.values())


def figures_of(
    contamination: NDArray[np.float64], classes: NDArray[np.uint8], worst: NDArray[np.int64]
) -> Figures:
    """Count by hand, pixel by pixel."""
    typing, bins = np.zeros((6, 6), int), np.zeros((3, 15))
    found, labelled = np.zeros(6, int), np.zeros(6, int)
    for chance, label, kind in zip(contamination.flat, classes.flat, worst.flat, strict=True):
        if label != 255:
            typing[label, kind if chance >= 0.5 else 0] += 1
            bins[:, min(int(chance * 15), 14)] += 1, chance, label > 0
            labelled[label] += 1
            found[label] += chance >= 0.5
    goodness = (1 - contamination.ravel()[:40]).astype(np.float32)
    parts = goodness[:10], goodness[10:25], goodness[25:]
    return Figures(confusion(contamination, classes), bins, typing, found, labelled, *parts)


def test_pooling_gives_the_figures_of_one_large_picture() -> None:
    """Sums of two pictures are what their pixels and picks give side by side."""
    rng = np.random.default_rng(0)
    chance = rng.uniform(0, 1, (2, 30, 40))
    classes = rng.choice(np.array([0, 0, 1, 2, 3, 4, 5, 255], np.uint8), chance.shape)
    worst = rng.integers(1, 6, chance.shape)
    two = pooled([figures_of(chance[i], classes[i], worst[i]) for i in range(2)])
    one = figures_of(chance.reshape(60, 40), classes.reshape(60, 40), worst.reshape(60, 40))
    assert two.pixels == one.pixels
    assert (two.typing == one.typing).all()
    whole = chance.reshape(60, 40), classes.reshape(60, 40)
    assert abs(two.calibration_error - calibration_error(*whole)) < 1e-9
    assert (len(two.particles), len(two.on_bad), len(two.elsewhere)) == (20, 30, 30)
    film = two.by_class()["support_film"]
    is_film, called = whole[1] == 1, (worst.reshape(60, 40) == 1) & (whole[0] >= 0.5)
    known = whole[1] != 255
    hit = (is_film & called).sum()
    assert film["precision"] == pytest.approx(hit / (called & known).sum())
    assert film["iou"] == pytest.approx(hit / ((called & known) | is_film).sum())
    assert film["recall"] == pytest.approx(hit / is_film.sum())
    assert film["f1"] == pytest.approx(2 * hit / ((called & known).sum() + is_film.sum()))
    assert film["called_bad"] == pytest.approx((whole[0][is_film] >= 0.5).mean())


def test_shares_at_thresholds_count_as_the_export_does() -> None:
    """A pick at the threshold is kept; without picks there is no share."""
    nothing, empty = np.zeros((6, 6), int), np.empty(0, np.float32)
    goodness = np.array([0.8, 0.79, 0.5, 0.95], np.float32)
    one = Figures(Confusion(0, 0, 0, 1), np.zeros((3, 15)), nothing, nothing[0], nothing[0],
                  goodness, empty, empty)  # fmt: skip
    record = one.record()
    assert record["true_particles_lost"]["0.80"] == 0.5
    assert record["true_particles_lost"]["0.50"] == 0.0
    assert record["true_particles_lost"]["0.95"] == 0.75
    assert record["picks_on_bad_removed"]["0.80"] is None
    assert record["iou"] is None
    grey = np.zeros((8, 8), np.uint8)
    figures = summary([Measured("a", "s", one, grey, grey, grey)])
    assert figures["iou_mean_over_sources"] is None
    json.dumps(figures, allow_nan=False)


def test_the_page_has_every_part_and_loads_nothing(done: Path) -> None:
    """Overview, picks, classes, calibration, sources, pictures and sheets, in one file."""
    reader = read(done / "evaluation.html")
    for words in ("Overview", "Picks", "Classes", "Labelled class, and what it is called",
                  "Calibration", "Sources", "Pictures, worst first", "Contact sheets",
                  "What was measured", "e10000_film", "macro-F1", "micscreen-"):  # fmt: skip
        assert words in reader.text, words
    assert len(reader.addresses) == len(KINDS)
    assert all(address.startswith("data:image/jpeg") for address in reader.addresses)


def test_sheets_show_input_prediction_and_truth_the_worst_first() -> None:
    """Colours stand where the classes are, and the picture with most wrong pixels comes first."""
    grey = np.full((40, 40), 100, np.uint8)
    found, truth = np.zeros((10, 10), np.uint8), np.zeros((10, 10), np.uint8)
    found[:, 5:], truth[5:] = 1, 255
    none = np.zeros((6, 6), int)
    empty = np.empty(0, np.float32)
    bad, good = (
        Figures(Confusion(0, n, 0, 9), np.zeros((3, 15)), none, none[0], none[0], *[empty] * 3)
        for n in (5, 1)
    )
    one = Measured("b", "s", good, grey, found, truth)
    sheet = contact_sheet(one)
    assert sheet.shape == (40, 136, 3)
    assert (sheet[:, :40] == 100).all()
    assert (sheet[:, 48:68] == 100).all()
    assert (sheet[:, 68:88, 0] > 150).all()
    assert (sheet[:20, 96:] == 100).all()
    assert (sheet[20:, 96:] != 100).all()
    other = Measured("a", "s", bad, grey, found, truth)
    assert [m.name for m in worst_first([one, other])] == ["a", "b"]


def test_rows_at_a_time_give_the_same_figures(
    labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels that are compared in blocks of a few rows give the figures of all at once."""
    backend, entry = open_backend("default", device="cpu"), find_labelled(labelled, None)[0]
    truth = read_truth(entry, "classes", True)
    whole = measure(entry, truth, backend, "dark").figures.record()
    monkeypatch.setattr("micscreen.evaluation.measure.BLOCK", 7 * 480)
    parts = measure(entry, truth, backend, "dark").figures.record()
    assert parts.pop("calibration_error") == pytest.approx(whole.pop("calibration_error"))
    assert parts == whole


def test_masks_and_small_labels_of_any_format_are_measured(labelled: Path, tmp_path: Path) -> None:
    """MRC micrographs with binned masks in float, named _mask, without an index: no typing."""
    for name in ("micrographs", "labels"):
        (tmp_path / name).mkdir()
    for stem in ("e10000_film", "e10001_ice"):
        image = cv2.imread(str(labelled / "images" / f"{stem}.png"), cv2.IMREAD_GRAYSCALE)
        classes = cv2.imread(str(labelled / "labels" / f"{stem}.png"), cv2.IMREAD_GRAYSCALE)
        mask = cv2.resize(
            (classes > 0).astype(np.float32), (240, 200), interpolation=cv2.INTER_AREA
        )
        mrcfile.write(tmp_path / "micrographs" / f"{stem}.mrc", image.astype(np.float32))
        mrcfile.write(tmp_path / "labels" / f"{stem}_mask.mrc", mask.astype(np.float32))
    result = run(tmp_path, "-o", tmp_path / "out", "-b", BOX, "--contrast", "dark", "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["typing"] is None
    assert figures["pooled"]["bad"] > 0
    assert figures["pooled"]["iou"] > 0
    assert "Labelled class" not in read(tmp_path / "out" / "evaluation.html").text


def test_picks_are_judged_by_the_label_under_them(labelled: Path) -> None:
    """The rows of a coordinate file belong to the micrograph of its name, in its own px."""
    entries = find_labelled(labelled, None, [labelled / "picks"])
    film = next(e for e in entries if e.name == "e10000_film")
    truth = read_truth(film, "classes", True)
    assert truth.picks.shape == (9, 2)
    x, y = np.rint(truth.picks).astype(int).T
    assert (truth.classes[y, x] > 0).mean() > 0.8
    assert 255 in truth.classes
    assert len(truth.particles) > 0


def test_one_bad_picture_does_not_stop_the_others(labelled: Path, tmp_path: Path) -> None:
    """A label of another shape is told, the rest is measured, and the exit code is 3."""
    for name in ("images", "labels"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for stem in ("e10000_film", "e10001_ice", "e10000_clean"):
            path = labelled / name / f"{stem}.png"
            (tmp_path / "set" / name / path.name).write_bytes(path.read_bytes())
    cv2.imwrite(str(tmp_path / "set" / "labels" / "e10000_film.png"), np.zeros((90, 300), np.uint8))
    (tmp_path / "set" / "labels" / "e10000_clean.png").write_bytes(b"no picture")
    result = run(tmp_path / "set", "-o", tmp_path / "out", "-b", BOX)
    assert result.return_value == 3, result.output
    assert "2 failed" in result.output
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert [p["name"] for p in content["pictures"]] == ["e10001_ice"]
    assert {name for name, _ in content["failed"]} == {"e10000_film", "e10000_clean"}


def test_what_cannot_be_measured_is_refused_with_a_reason(labelled: Path, tmp_path: Path) -> None:
    """No labels, no box, no matching coordinates: an error that says what to do, and no output."""
    (tmp_path / "images").mkdir()
    strange = tmp_path / "strange.box"
    write_picks(strange, Picks(np.ones(2), np.ones(2), box_size=BOX), format="eman_box")
    cases = (
        ([tmp_path], "labels/"),
        ([labelled, "-c", strange], "no coordinates have the name"),
        ([labelled, "-b", -3], "positive"),
    )
    for words, text in cases:
        result = run(*words, "-o", tmp_path / "out")
        assert result.exit_code != 0
        assert text in str(result.exception)
    (tmp_path / "labels").mkdir()
    for name in ("images", "labels"):
        path = labelled / name / "e10000_film.png"
        (tmp_path / name / path.name).write_bytes(path.read_bytes())
    assert "--box-size" in str(run(tmp_path, "-o", tmp_path / "out").exception)
    assert not (tmp_path / "out").exists()
