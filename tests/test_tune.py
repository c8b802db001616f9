"""Training on own labels."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import mrcfile
import numpy as np
import pytest
from numpy.typing import NDArray

from micscreen.errors import MicrographFormatError, ModelError, UsageError
from micscreen.io.labels import as_classes, label_kind, read_label
from micscreen.model.backend import open_backend
from micscreen.model.weights import model_path
from micscreen.train import fit as fitting
from micscreen.train.fit import FitSettings
from micscreen.train.labelled import hold_out, read_labelled

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

BOX = 32.0


def picture(seed: int, bad: bool) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A field of dark discs, with rings like other particles over one half when bad."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1, (448, 480)).astype(np.float32)
    labels = np.zeros(image.shape, np.uint8)
    for x, y in rng.integers(0, 448, (60, 2)).tolist():
        cv2.circle(image, (x, y), 9, -1.5, -1)
    if bad:
        for x, y in rng.integers((250, 10), (470, 438), (70, 2)).tolist():
            cv2.circle(image, (x, y), 9, -2.0, 2)
        labels[:, 240:] = 5
    return image, labels


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight micrographs as MRC, their class maps as PNG of half the size."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "labels").mkdir()
    for seed in range(8):
        image, labels = picture(seed, bad=seed % 2 == 0)
        with mrcfile.new(folder / f"mic_{seed}.mrc") as mrc:
            mrc.set_data(image)
        cv2.imwrite(str(folder / "labels" / f"mic_{seed}_classes.png"), labels[::2, ::2])
    return folder


def train(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "micscreen", "train", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of two rounds from the packaged weights, on own pictures alone."""
    out = tmp_path_factory.mktemp("trained") / "out"
    done = train(
        data / "*.mrc", "-l", data / "labels", "-b", BOX, "-o", out, "--real-share", 1,
        "--steps", 128, "--batch", 2, "--rate", 2e-3, "--threads", 1, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows[0] == {"event": "training", "learnt": 6, "kept_apart": 2, "labels": "classes"}
    return out


def test_training_on_own_labels_learns_what_the_weights_did_not_know(trained: Path) -> None:
    """On pictures kept apart two rounds find more of a pattern that only the labels call bad."""
    rows = [json.loads(line) for line in (trained / "history.jsonl").open()]
    assert [row["round"] for row in rows] == [0, 1, 2]
    assert max(row["iou"] for row in rows[1:]) > rows[0]["iou"] + 0.1
    assert max(row["agreement"] for row in rows[1:]) > rows[0]["agreement"]


def test_the_trained_weights_screen(trained: Path, data: Path, tmp_path: Path) -> None:
    """The result is a model for the other commands; it finds the pattern where it is."""
    assert open_backend(trained / "model.onnx", device="cpu").spec.name == "own"
    subprocess.run(
        [sys.executable, "-m", "micscreen", "mask", data / "mic_0.mrc", data / "mic_1.mrc",
         "-b", str(BOX), "-o", tmp_path, "--model", trained / "model.onnx", "--mask-format", "npy",
         "--contrast", "dark", "--quiet"],
        check=True,
    )  # fmt: skip
    bad, good = (np.load(tmp_path / f"mic_{i}.npy") for i in (0, 1))
    assert bad[:, 260:].mean() > 2 * max(bad[:, :220].mean(), good.mean())


def test_the_report_shows_the_pictures_kept_apart(trained: Path) -> None:
    """The page holds a curve, a row per picture kept apart, and loads nothing from elsewhere."""
    page = (trained / "report.html").read_text()
    assert page.count("<figure>") == 2
    assert "<polyline" in page
    assert "before" in page
    assert "http" not in page
    assert 'src="/' not in page


def test_a_finished_training_is_not_done_again(trained: Path, data: Path) -> None:
    """The same command again trains no step and gives the same weights; other steps are refused."""
    words = (
        data / "*.mrc", "-l", data / "labels", "-b", BOX, "-o", trained, "--real-share", 1,
        "--batch", 2, "--rate", 2e-3, "--json",
    )  # fmt: skip
    before = open_backend(trained / "model.onnx", device="cpu").spec.sha256
    again = train(*words, "--steps", 128)
    assert again.returncode == 0, again.stderr
    assert '"round"' not in again.stdout
    assert open_backend(trained / "model.onnx", device="cpu").spec.sha256 == before
    other = train(*words, "--steps", 64)
    assert other.returncode == 2
    assert "other settings" in other.stderr


def test_labels_without_micrographs_and_broken_ones_are_told(data: Path, tmp_path: Path) -> None:
    """A folder of labels of other names is an error that shows both lists; so is an empty one."""
    (tmp_path / "labels").mkdir()
    cv2.imwrite(str(tmp_path / "labels" / "other_7.png"), np.zeros((8, 8), np.uint8))
    done = train(data / "*.mrc", "-l", tmp_path / "labels", "-b", BOX, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "other_7" in done.stderr
    assert "mic_0.mrc" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_label_of_another_shape_is_left_out_with_its_reason(data: Path, tmp_path: Path) -> None:
    """One unusable pair does not stop the others."""
    odd = tmp_path / "odd.png"
    cv2.imwrite(str(odd), np.zeros((100, 300), np.uint8))
    fine = data / "labels" / "mic_1_classes.png"
    found = read_labelled([(data / "mic_0.mrc", odd), (data / "mic_1.mrc", fine)], BOX)
    assert [name for name, *_ in found.pictures] == ["mic_1.mrc"]
    assert "100 x 300" in found.problems[0][1]
    with pytest.raises(UsageError, match="no labelled micrograph"):
        read_labelled([(data / "mic_0.mrc", odd)], BOX)


def test_large_pictures_are_kept_small_and_bright_ones_inverted(data: Path) -> None:
    """A picture comes with 21 px per box, its label on it pixel by pixel, particles dark."""
    pair = [(data / "mic_0.mrc", data / "labels" / "mic_0_classes.png")]
    dark, bright = (read_labelled(pair, BOX, contrast=c).pictures[0] for c in ("dark", "bright"))
    _, image, labels, box = dark
    assert box == pytest.approx(21.0)
    assert image.shape == labels.shape == (294, 315)
    assert set(np.unique(labels)) == {0, 5}
    np.testing.assert_array_equal(bright[1], -image)


def test_masks_and_class_maps_are_told_apart() -> None:
    """Numbers from 2 to 5 make class maps of a set; 0 and 1, 0 and 255 and fractions are masks."""
    binary = np.array([[0, 1]], np.uint8)
    assert label_kind([binary, np.array([[0, 255]], np.uint8)]) == "mask"
    assert label_kind([binary, np.array([[0, 3, 255]], np.uint8)]) == "classes"
    assert label_kind([np.array([[0.2, 3.0]], np.float32)]) == "mask"
    where = Path("x.png")
    assert as_classes(binary, "mask", where).tolist() == [[0, 254]]
    assert as_classes(np.array([[0.2, 0.7]]), "mask", where).tolist() == [[0, 254]]
    assert as_classes(np.array([[1, 255]], np.uint8), "classes", where).tolist() == [[1, 255]]
    with pytest.raises(MicrographFormatError, match="no class map"):
        as_classes(np.array([[7]], np.uint8), "classes", where)
    with pytest.raises(MicrographFormatError, match="no mask"):
        as_classes(np.array([[0.5, 7.0]]), "mask", where)


def test_class_maps_in_floats_are_read_as_numbers(tmp_path: Path) -> None:
    """A class map in an MRC file of floats counts as one; a mask of floats stays a mask."""
    for name, values in (("classes", [[0, 3]]), ("mask", [[0, 0.5]])):
        with mrcfile.new(tmp_path / f"{name}.mrc") as mrc:
            mrc.set_data(np.array(values, np.float32))
    assert label_kind([read_label(tmp_path / "classes.mrc")]) == "classes"
    assert label_kind([read_label(tmp_path / "mask.mrc")]) == "mask"


def test_bad_of_any_kind_teaches_no_class() -> None:
    """Under label 254 the loss asks for bad, and does not care which."""
    from micscreen.model.loss import loss_of

    torch.manual_seed(0)
    logits = torch.randn(1, 6, 8, 8)
    classes = torch.full((1, 8, 8), 254)
    turned = logits[:, [0, 2, 3, 4, 5, 1]]
    assert float(loss_of(turned, classes)) == pytest.approx(float(loss_of(logits, classes)))
    worse = logits.clone()
    worse[:, 0] += 3.0
    assert float(loss_of(worse, classes)) > float(loss_of(logits, classes))


def test_each_kind_of_picture_gives_some_to_judge_by() -> None:
    """Bad and clean pictures are both kept apart, by the seed; a few are not divided."""
    pictures = [(str(i), *picture(0, bad=i < 6), 21.0) for i in range(10)]
    learnt, apart = hold_out(pictures, 0.2, seed=1)
    assert len(learnt) + len(apart) == 10
    assert {bool(p[2].any()) for p in apart} == {True, False}
    assert [p[0] for p in hold_out(pictures, 0.2, seed=1)[1]] == [p[0] for p in apart]
    assert hold_out(pictures[:3], 0.2, seed=1)[1] == []
    with pytest.raises(UsageError, match="hold-out"):
        hold_out(pictures, 1.0, seed=1)


def test_the_packaged_weights_are_trained_on_as_they_are() -> None:
    """The network from the ONNX file answers as the file does; another file is refused."""
    from micscreen.model.export import parity
    from micscreen.model.unfold import network_from_onnx

    assert parity(network_from_onnx(model_path()), model_path()) < 1e-4
    with pytest.raises(ModelError, match="no training can start"):
        network_from_onnx(Path(__file__))
    assert FitSettings(steps=1).crop % fitting.UNetConfig().multiple == 0


def test_a_network_grows_and_gets_its_normalisation_back() -> None:
    """Weights from ONNX go on in a network with one block more, nearly as they were; given the
    statistics of a batch, the normalisation works again, weights have the size that they have in a
    training, and the answers stay.
    """
    from micscreen.model.unet import UNetConfig, build_unet
    from micscreen.model.unfold import GROWN, grown, network_from, renormalise

    torch.manual_seed(0)
    small = network_from(model_path())
    config = replace(small.config, dilations=(*small.config.dilations, 2))
    net = grown(small, config).eval()
    batch = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        before, first = small(batch).softmax(1), net(batch)
        assert (first.softmax(1) - before).abs().mean() < 0.02
        renormalise(net, [batch])
        torch.testing.assert_close(net(batch), first, atol=2e-3, rtol=1e-3)
        torch.testing.assert_close(net.train()(batch), first, atol=0.05, rtol=0.05)
    sizes = net.down16[0].weight.detach().flatten(1).square().mean(1).sqrt()  # (channels,)
    fresh = (3 * net.down16[0].weight[0].numel()) ** -0.5
    torch.testing.assert_close(sizes, torch.full_like(sizes, GROWN * fresh))
    with pytest.raises(ModelError, match="cannot grow"):
        grown(small, UNetConfig(widths=(8, 8, 8, 8)))
    with pytest.raises(ModelError, match="cannot grow"):
        grown(build_unet(config), small.config)


def test_quantised_weights_answer_as_before(tmp_path: Path) -> None:
    """The int8 twin is a third of the size, keeps the metadata, and hardly answers otherwise."""
    from micscreen.model.backend import OnnxBackend
    from micscreen.train.quantise import calibration_pictures, quantise

    twin = tmp_path / "int8.onnx"
    quantise(model_path(), twin, scenes=3)
    assert twin.stat().st_size < model_path().stat().st_size / 3
    assert [path.name for path in tmp_path.iterdir()] == ["int8.onnx"]
    exact, close = OnnxBackend(model_path()), OnnxBackend(twin)
    assert replace(close.spec, sha256="") == replace(exact.spec, sha256="")
    picture = next(calibration_pictures(1, 5))[:, :, :320, :320]
    assert np.abs(exact.predict(picture) - close.predict(picture)).mean() < 0.02
