# SPDX-License-Identifier: GPL-3.0-or-later
"""Pieces that need no Scipion: score files, names, partners, what micscreen is asked."""

import subprocess

import numpy as np
import pytest
from conftest import PROGRAM
from helpers import images

from scipion_micscreen.parts import (
    Numbers,
    Scores,
    addTo,
    failure,
    micIdOf,
    partName,
    partner,
    readNumbers,
    readScores,
    scoreFiles,
    writeNumbers,
    writeScores,
)
from scipion_micscreen.predictor import Predictor, Wish


def scores_of(name="mic_000012_1_a", goodness=(0.1, 0.8, 0.9, 0.0)):
    count = len(goodness)
    return Scores(
        name,
        np.arange(10, 10 + count),
        np.array(goodness, np.float32),
        np.array([4, 0, 0, 0][:count], np.uint8),
        np.array([1, 0, 0, 2][:count], np.uint8),
        {"status": "done", "suspect": [], "contrast": "dark"},
    )


def test_score_files_lose_nothing(tmp_path):
    """What is read back is what was written, to the last bit of every float32."""
    drawn = np.random.default_rng(1).random(4).astype(np.float32)
    before = scores_of(goodness=drawn)
    back = readScores(writeScores(str(tmp_path), before))
    assert back.name == before.name and back.about == before.about
    for column in ("ids", "goodness", "classes", "reasons"):
        assert np.array_equal(getattr(back, column), getattr(before, column))


def test_half_a_score_file_is_none(tmp_path):
    """A file that is being written is not listed; a damaged one is an error that names it."""
    (tmp_path / "mic_000001_1_a.csv.part").write_text("# {")
    assert scoreFiles(str(tmp_path)) == []
    (tmp_path / "mic_000001_1_a.csv").write_text("# {}\ncoordinate,good\n1,2\n")
    with pytest.raises(ValueError, match=r"mic_000001_1_a\.csv"):
        readScores(scoreFiles(str(tmp_path))[0])


def test_threshold_compares_as_micscreen_does():
    """float32 against float32, equal is kept; -1 keeps all."""
    scores = scores_of()
    assert scores.kept(0.8).tolist() == [False, True, True, False]
    assert scores.kept(0).all()
    assert scores.kept(-1).all()


def test_numbers(tmp_path):
    """Micrographs count once however many parts they have; rejected ones by what speaks against."""
    numbers = Numbers()
    addTo(numbers, scores_of(), 0.85)
    addTo(numbers, scores_of("mic_000012_2_a", (0.95,)), 0.85)
    addTo(numbers, failure("mic_000013_1_b", "torn"), 0.85)
    assert (numbers.micrographs, numbers.coordinates, numbers.kept) == (1, 5, 2)
    assert numbers.rejected == {"aggregate": 1, "no class": 1, "outside_frame": 1}
    assert numbers.failed == [("mic_000013_1_b", "torn")]
    writeNumbers(str(tmp_path / "n.json"), numbers)
    assert readNumbers(str(tmp_path / "n.json")).kept == 2


def test_names_of_parts():
    """Ids come back out of names; what file systems dislike does not come in."""
    name = partName(12, 1, "a b/ü:c_DW.mrc")
    assert micIdOf(name) == 12
    assert "/" not in name and " " not in name
    assert partName(12, 2, "x.mrc") != partName(12, 1, "x.mrc")


def test_a_missing_partner_is_not_replaced_by_its_number():
    """Ids are believed only when no name is in both sets, and both are complete."""
    named = {"a.mrc": 7}
    assert partner(1, "a.mrc", named, {7}, True, True) == 7
    assert partner(7, "b.mrc", named, {7}, True, True) is None
    assert partner(7, "b.mrc", {"c.mrc": 7}, {7}, False, False) is None
    assert partner(7, "b.mrc", {"c.mrc": 7}, {7}, False, True) == 7
    assert partner(8, "b.mrc", {"c.mrc": 7}, {7}, False, True) is None


@pytest.mark.parametrize(
    ("gpus", "device", "visible"),
    [((), "cpu", ""), ((2,), "auto", "2"), ((0, 3), "cuda:0,1", "0,3")],
)
def test_gpus(tmp_path, gpus, device, visible):
    """Without a GPU none can even be seen; one is used when it is there; several must be there."""
    predictor, wish = Predictor(str(tmp_path)), Wish(200, 1.0, gpus=gpus)
    assert "--device %s " % device in predictor.arguments(wish) + " "
    assert predictor.environment({}, wish)["CUDA_VISIBLE_DEVICES"] == visible


def test_thumbnails_are_capped_once(tmp_path, simulated):
    """NOT to copy: the cap is of the run, and does not begin anew with every batch."""
    predictor = Predictor(str(tmp_path / "p"))
    for number, path in enumerate(images(simulated, 4), 1):
        predictor.feed(partName(number, 1, path.name), str(path), [number], [500], [500])
    predictor.close(True)
    wish = Wish(64, 2.0, batchSize=1, thumbnails=2)
    subprocess.run("%s %s" % (PROGRAM, predictor.arguments(wish)), shell=True, check=True)
    assert len(list((tmp_path / "p" / "job" / "thumbnails").iterdir())) == 2
    assert len(list(predictor.everything())) == len(list(predictor.news())) == 4
    assert list(predictor.news()) == []
    assert predictor.device.startswith("cpu")


def test_the_same_part_twice(tmp_path):
    """Handing a part over again changes nothing but a link that points elsewhere."""
    predictor = Predictor(str(tmp_path / "p"))
    for place in ("old", "new"):
        (tmp_path / (place + ".mrc")).write_bytes(b"x")
        predictor.feed("mic_000001_1_a", str(tmp_path / (place + ".mrc")), [5, 6], [1, 2], [3, 4.5])
    assert predictor.fed() == {"mic_000001_1_a": [5, 6]}
    link = tmp_path / "p" / "micrographs" / "mic_000001_1_a.mrc"
    assert link.resolve() == (tmp_path / "new.mrc").resolve()
