"""Training for real, on a handful of tiny scenes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from micscreen import evaluate
from micscreen.errors import DeviceError, ModelError, UsageError
from micscreen.model import unet
from micscreen.model.backend import FakeBackend, open_backend
from micscreen.model.team import Team
from micscreen.samples import RESIZE, ahead, draw_crop, load_real, resampled, resize, write_shard
from micscreen.simulate import Recipe
from micscreen.train import __main__ as command
from micscreen.train import choose
from micscreen.train import fit as fitting
from micscreen.train.fit import FitSettings, fit, open_device
from micscreen.train.ship import export

torch = pytest.importorskip("torch")

SETTINGS = FitSettings(steps=100, batch=2, crop=64, real_share=0.3, device="cpu")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of two steps and a network of a few thousand weights."""
    tiny = unet.UNetConfig(widths=(4, 6, 8, 8), blocks=1, dilations=(1, 2))
    monkeypatch.setattr(fitting, "STEPS_PER_CHUNK", 2)
    monkeypatch.setattr(fitting, "UNetConfig", lambda **k: unet.UNetConfig(**k) if k else tiny)
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards of four scenes."""
    folder = tmp_path_factory.mktemp("shards")
    for shard in range(3):
        write_shard(folder, shard, 0, Recipe(shape=(96, 96)), scenes=4)
    return folder


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like that of the real pictures: one with a bad half, one clean with particles."""
    folder = tmp_path_factory.mktemp("real") / "train"
    for part in ("images", "labels", "particles"):
        (folder / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    entries = []
    for name, bad in (("aaa111_x", True), ("bbb222_y", False)):
        image = rng.normal(128, 20, (160, 176)).clip(0, 255)
        labels = np.zeros(image.shape, np.uint8)
        if bad:
            labels[:, :80] = 1
            image[:, :80] -= 60
        discs = np.zeros(image.shape, np.uint8)
        for x in (100, 112, 150):
            cv2.circle(discs, (x, 60), 6, 255, -1)
        cv2.imwrite(str(folder / "images" / f"{name}.png"), image.clip(0, 255).astype(np.uint8))
        cv2.imwrite(str(folder / "labels" / f"{name}.png"), labels)
        cv2.imwrite(str(folder / "particles" / f"{name}.png"), discs)
        entries.append(
            {"name": name, "source": f"{name} set", "box_size_px": 18, "particle_diameter_px": 12}
        )
    (folder.parent / "index.json").write_text(json.dumps(entries))
    return folder


def weights(path: Path) -> dict[str, Any]:
    saved = torch.load(path, weights_only=True)
    return {
        **{f"net.{k}": v for k, v in saved["net"].items()},
        **{f"average.{k}": v for k, v in saved["average"].items()},
    }


def test_a_shard_is_decided_by_its_number_and_seed(tmp_path: Path) -> None:
    """Writing a shard twice gives equal arrays; another number gives other scenes."""
    recipe = Recipe(shape=(64, 64))
    paths = [write_shard(tmp_path / part, 3, 1, recipe, scenes=2) for part in ("a", "b")]
    paths.append(write_shard(tmp_path / "a", 4, 1, recipe, scenes=2))
    first, again, other = (np.load(path)["images"] for path in paths)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not list(tmp_path.rglob("*.part"))


def test_interrupted_training_ends_with_the_same_weights(
    shards: Path, real: Path, tmp_path: Path
) -> None:
    """Three chunks at a stretch and one chunk, then two more, give identical weights."""
    straight = fit(SETTINGS, shards, tmp_path / "straight", load_real(real), most_chunks=3)
    fit(SETTINGS, shards, tmp_path / "halves", load_real(real), most_chunks=1)
    resumed = fit(SETTINGS, shards, tmp_path / "halves", load_real(real), most_chunks=2)
    one, two = weights(straight), weights(resumed)
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


def test_training_learns(shards: Path, tmp_path: Path) -> None:
    """On a few scenes the loss falls by a tenth within 160 steps."""
    settings = FitSettings(steps=160, batch=4, crop=64, rate=0.02, real_share=0.0, device="cpu")
    path = fit(settings, shards, tmp_path)
    losses = [json.loads(line)["loss"] for line in (path.parent / "log.jsonl").open()]
    assert np.mean(losses[-20:]) < 0.9 * np.mean(losses[:5])


def test_other_settings_do_not_continue_a_training(shards: Path, tmp_path: Path) -> None:
    """A checkpoint of other settings is refused, not overwritten."""
    fit(SETTINGS, shards, tmp_path, most_chunks=1)
    with pytest.raises(UsageError, match="other settings"):
        fit(FitSettings(steps=7, device="cpu"), shards, tmp_path)


def test_training_without_shards_says_so(tmp_path: Path) -> None:
    """An empty folder of shards raises a UsageError that tells how to make some."""
    with pytest.raises(UsageError, match="shards"):
        fit(SETTINGS, tmp_path, tmp_path / "out")


def test_settings_without_an_end_are_refused() -> None:
    """Training needs steps or minutes, and a crop that the network can take."""
    with pytest.raises(UsageError, match="end"):
        FitSettings()
    with pytest.raises(UsageError, match="multiple"):
        FitSettings(steps=1, crop=200)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_is_an_error_not_a_fallback() -> None:
    """Asked for cuda where there is none, training fails; auto takes the CPU."""
    with pytest.raises(DeviceError, match="cuda"):
        open_device("cuda")
    assert open_device("auto").type == "cpu"


def test_the_loss_leaves_out_what_is_unsure() -> None:
    """Logits under label 255 change the loss nowhere, others do."""
    from micscreen.model.loss import loss_of

    torch.manual_seed(0)
    logits, classes = torch.randn(1, 6, 8, 8), torch.zeros(1, 8, 8, dtype=torch.int64)
    classes[:, :, 2:4] = 2
    classes[:, :, 5:] = 255
    before = float(loss_of(logits, classes))
    changed = logits.clone()
    changed[:, :, :, 5:] += 3.0 * torch.randn(1, 6, 8, 3)
    assert float(loss_of(changed, classes)) == pytest.approx(before, abs=1e-6)
    changed[:, 0, :, 2:4] -= 5.0
    assert float(loss_of(changed, classes)) < before


def test_crops_have_one_shape_and_only_known_labels_move() -> None:
    """Any picture, also one smaller than the crop, gives a full crop; the margin is 255."""
    rng = np.random.default_rng(0)
    classes = np.ones((70, 90), np.uint8)
    image = rng.standard_normal(classes.shape).astype(np.float32)
    for _ in range(8):
        part, truth = draw_crop(rng, (image, classes), 96)
        assert part.shape == (3, 96, 96)
        assert part.dtype == np.float32
        assert set(np.unique(truth)) == {1, 255}


def test_real_pictures_can_be_left_out_by_name(real: Path) -> None:
    """Pictures whose names begin as told are not in the training set."""
    assert [entry[0] for entry in load_real(real)] == ["aaa111_x", "bbb222_y"]
    assert [entry[0] for entry in load_real(real, ["aaa"])] == ["bbb222_y"]


def test_a_label_that_does_not_fit_is_an_error(real: Path, tmp_path: Path) -> None:
    """An image whose label has another size stops the reading, with the file's name."""
    folder = tmp_path / "train"
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    cv2.imwrite(str(folder / "images" / "aaa111_x.png"), np.zeros((8, 8), np.uint8))
    cv2.imwrite(str(folder / "labels" / "aaa111_x.png"), np.zeros((8, 9), np.uint8))
    (tmp_path / "index.json").write_text((real.parent / "index.json").read_text())
    with pytest.raises(ModelError, match="aaa111_x"):
        load_real(folder)


def test_resampling_keeps_labels_whole() -> None:
    """Images are averaged over areas; labels stay labels."""
    image = np.arange(64, dtype=np.float32).reshape(8, 8)
    labels = np.where(image < 32, 0, 255).astype(np.uint8)
    small, truth = resampled(np.tile(image, (4, 4)), np.tile(labels, (4, 4)), 0.5)
    assert truth is not None
    assert small.shape == truth.shape == (16, 16)
    assert small[0, 0] == pytest.approx(np.mean([0, 1, 8, 9]))
    assert set(np.unique(truth)) == {0, 255}


def test_discs_cut_by_the_border_have_their_centre_in_the_picture() -> None:
    """A disc around a pixel of the last row, the last column or a corner has a centre there."""
    places = [(119, 40), (60, 99), (119, 99), (0, 0)]
    discs = np.zeros((100, 120), np.uint8)
    for place in places:
        cv2.circle(discs, place, 7, 255, -1)
    found = evaluate.particle_centres(discs, 14.0)
    assert len(found) == len(places)
    for place in places:
        assert np.abs(found - place).max(axis=1).min() < 4
    assert (found >= 0).all()
    assert (found <= (119, 99)).all()


def test_touching_discs_are_told_apart() -> None:
    """Centres of touching and of lone discs are found to within a pixel and a half."""
    discs = np.zeros((60, 120), np.uint8)
    centres = [(20, 30), (33, 30), (90, 22)]
    for centre in centres:
        cv2.circle(discs, centre, 7, 255, -1)
    found = evaluate.particle_centres(discs, 14.0)
    assert len(found) == 3
    for centre in centres:
        assert np.hypot(*(found - centre).T).min() <= 1.5


def test_evaluation_of_a_network_that_knows_the_truth(real: Path) -> None:
    """A network that calls dark sides bad finds the bad half and loses no true particle."""

    class DarkIsBad(FakeBackend):
        def predict(self, batch: np.ndarray) -> np.ndarray:
            maps = np.zeros((1, 6, *batch.shape[2:]), np.float32)
            maps[0, 1] = cv2.GaussianBlur(batch[0, 0], (0, 0), 4.0) < -0.75
            maps[0, 0] = 1.0 - maps[0, 1]
            return maps

    for box_px in (None, 20.0):
        rows = evaluate.evaluate(DarkIsBad(), real, box_px)
        figures = evaluate.summary(rows)
        assert [row.name for row in rows] == ["aaa111_x", "bbb222_y"]
        assert rows[0].iou > 0.85
        assert rows[0].found["support_film"] > 0.85
        assert [row.true_picks for row in rows] == [3, 3]
        assert figures["true_picks_lost"] == 0
        assert figures["clean_area_called_bad"] < 0.05
        assert "aaa111_x" in evaluate.as_text(rows)
        assert json.loads(evaluate.as_json(rows))["pictures"][1]["iou"] is None
    assert len(evaluate.evaluate(DarkIsBad(), real, only=["bbb"])) == 1


def test_the_bias_makes_everything_better(shards: Path, tmp_path: Path) -> None:
    """A bias of ln 3 on good divides the odds of contamination by three, everywhere."""
    pytest.importorskip("onnx")
    checkpoint = fit(SETTINGS, shards, tmp_path, most_chunks=1)
    channels = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
    odds = []
    for bias in (0.0, np.log(3.0)):
        export(checkpoint, tmp_path / "net.onnx", good_bias=float(bias))
        good = open_backend(tmp_path / "net.onnx", device="cpu").predict(channels)[0, 0]
        odds.append((1.0 - good) / good)
    np.testing.assert_allclose(odds[1] * 3.0, odds[0], rtol=1e-3)


def test_sharpness_multiplies_all_logits(shards: Path, tmp_path: Path) -> None:
    """A sharpness of 2 squares the odds between any two classes, after the bias."""
    pytest.importorskip("onnx")
    checkpoint = fit(SETTINGS, shards, tmp_path, most_chunks=1)
    channels = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
    odds = []
    for sharpness in (1.0, 2.0):
        export(checkpoint, tmp_path / "net.onnx", good_bias=0.7, sharpness=sharpness)
        found = open_backend(tmp_path / "net.onnx", device="cpu").predict(channels)[0]
        odds.append(found[0] / found[1])
    np.testing.assert_allclose(odds[0] ** 2, odds[1], rtol=1e-3)


def test_the_four_commands_lead_from_nothing_to_a_table(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shards, fit, export and evaluate run one after the other from the command line."""
    pytest.importorskip("onnx")
    folder, out, onnx = tmp_path / "shards", tmp_path / "fit", tmp_path / "net.onnx"
    tiny = Recipe(shape=(64, 64))
    monkeypatch.setattr(
        command, "write_shard", lambda out, n, seed, _: write_shard(out, n, seed, tiny, scenes=2)
    )
    command.main(["shards", "--out", str(folder), "--count", "2"])
    command.main(
        ["fit", "--shards", str(folder), "--out", str(out), "--steps", "4", "--crop", "64",
         "--batch", "2", "--device", "cpu", "--threads", "1"]
    )  # fmt: skip
    command.main(["export", "--checkpoint", str(out / "last.pt"), "--onnx", str(onnx)])
    table = tmp_path / "table.json"
    command.main(["evaluate", "--onnx", str(onnx), "--data", str(real), "--json", str(table)])
    assert "true_picks_lost" in capsys.readouterr().out
    assert len(json.loads(table.read_text())["pictures"]) == 2
    spec = open_backend(onnx, device="cpu").spec
    assert (spec.name, spec.version, spec.box_px) == ("micscreen-1", "1", 16.0)
    assert (spec.margin, spec.multiple, spec.contrast) == (48, 16, "dark")


def test_a_training_can_start_from_another(shards: Path, tmp_path: Path) -> None:
    """With a checkpoint to start from, the first weights are its averaged ones."""
    first = fit(SETTINGS, shards, tmp_path / "first", most_chunks=1)
    still = FitSettings(steps=100, batch=2, crop=64, rate=0.0, decay=0.0, device="cpu")
    second = fit(still, shards, tmp_path / "second", most_chunks=1, start=first)
    one, two = weights(first), weights(second)
    for name in one:
        if name.startswith("average.") and name.endswith("weight"):
            torch.testing.assert_close(one[name], two[name])


def test_two_processes_train_as_one(shards: Path, tmp_path: Path) -> None:
    """Two processes that share the batches write one checkpoint, and both can go on from it."""
    out = tmp_path / "team"
    command.main(
        ["fit", "--shards", str(shards), "--out", str(out), "--steps", "2", "--crop", "64",
         "--batch", "2", "--device", "cpu", "--processes", "2"]
    )  # fmt: skip
    saved = torch.load(out / "last.pt", weights_only=True)
    assert saved["steps"] == 2
    assert all(torch.isfinite(value).all() for value in saved["net"].values())


def test_bfloat16_trains_to_float32_weights(shards: Path, tmp_path: Path) -> None:
    """With bfloat16 convolutions the loss falls too, and the checkpoint is float32."""
    settings = FitSettings(
        steps=160, batch=4, crop=64, rate=0.02, real_share=0.0, device="cpu", precision="bfloat16"
    )
    path = fit(settings, shards, tmp_path)
    losses = [json.loads(line)["loss"] for line in (path.parent / "log.jsonl").open()]
    assert np.mean(losses[-20:]) < 0.9 * np.mean(losses[:5])
    assert {v.dtype for k, v in weights(path).items() if k.endswith("weight")} == {torch.float32}
    with pytest.raises(UsageError, match="precision"):
        FitSettings(steps=1, precision="float8")


def test_samples_are_made_ahead_and_an_error_on_the_way_is_raised() -> None:
    """The items come in their order, and what goes wrong while one is made is raised."""

    def items() -> Iterator[tuple[Any, Any]]:
        for i in range(3):
            yield i, i
        raise ValueError("the fourth")

    coming = ahead(items())
    assert next(coming) == (0, 0)
    assert next(coming) == (1, 1)
    assert next(coming) == (2, 2)
    with pytest.raises(ValueError, match="the fourth"):
        next(coming)


def test_bias_and_sharpness_are_chosen_by_the_rule() -> None:
    """Of choices that lose little of what is real nearly the best IoU, and of these the best
    calibrated; with none allowed it says so.
    """
    best = choose.Choice(0.0, 2.0, 0.660, 0.05, 0.09, 0.0, 0.001, 0.03)
    sharp = choose.Choice(0.0, 3.0, 0.657, 0.03, 0.09, 0.0, 0.001, 0.03)
    near = choose.Choice(1.0, 2.0, 0.652, 0.01, 0.05, 0.0, 0.001, 0.04)
    greedy = choose.Choice(0.0, 3.0, 0.900, 0.01, 0.0, 0.0, 0.004, 0.01)
    dirty = choose.Choice(0.0, 3.0, 0.900, 0.01, 0.0, 0.01, 0.0, 0.01)
    assert choose.chosen([near, greedy, best, sharp, dirty]) == sharp
    assert choose.chosen([near, best]) == best
    with pytest.raises(ModelError, match="loses too much"):
        choose.chosen([greedy, dirty])


def test_rare_classes_weigh_as_much_as_common_ones() -> None:
    """The loss among the classes falls more when the rare class is right than when as many pixels
    of the common one are.
    """
    from micscreen.model.loss import loss_of

    logits, classes = torch.zeros(1, 6, 8, 8), torch.full((1, 8, 8), 1)
    classes[0, 0, :4] = 5
    rare, common = logits.clone(), logits.clone()
    rare[0, 5, 0, :4] += 1.0
    common[0, 1, 7, :4] += 1.0
    assert float(loss_of(rare, classes)) < float(loss_of(common, classes)) - 0.01
    gain, more = (
        float(loss_of(common, classes, kinds)) - float(loss_of(rare, classes, kinds))
        for kinds in (0.3, 0.6)
    )
    assert more > 1.5 * gain


def test_answers_are_pulled_towards_those_for_the_turned_picture(tmp_path: Path) -> None:
    """The teacher sees the picture turned or mirrored, its answer is turned back, and a network
    whose answers agree with it has the smaller second loss.
    """
    from micscreen.model.loss import disagreement

    state = fitting._Training(SETTINGS, torch.device("cpu"), tmp_path, Team(), None)
    turned = []

    class Pointwise(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            turned.append(x.clone())
            return torch.cat([x, -x], 1)

    state.teacher = Pointwise()
    images = torch.randn(1, 3, 16, 16)
    for state.steps in range(6):
        answer = state.expected(images)
        torch.testing.assert_close(answer, torch.cat([images, -images], 1))
        assert not torch.equal(turned[-1], images)
    assert len({tuple(one.flatten().tolist()) for one in turned}) == 6
    same = disagreement(answer, answer)
    assert float(same) < float(disagreement(answer.flip(3), answer))


def test_answers_are_pulled_towards_those_for_another_size(tmp_path: Path) -> None:
    """In every second step the teacher sees the picture smaller or larger, and its answer comes
    back at the size of the picture, about where it was.
    """
    settings = replace(SETTINGS, agree_resize=1.3)
    state = fitting._Training(settings, torch.device("cpu"), tmp_path, Team(), None)
    sizes = []

    class Pointwise(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            sizes.append(x.shape[2])
            return torch.cat([x, -x], 1)

    state.teacher = Pointwise()
    bump = torch.exp(-((torch.arange(128.0) - 40) ** 2) / 200)
    images = (bump[:, None] * bump[None, :])[None, None].repeat(1, 3, 1, 1)
    for state.steps in range(4):
        answer = state.expected(images)
        assert answer.shape == (1, 6, 128, 128)
        assert divmod(int(answer[0, 2].argmax()), 128) == pytest.approx((40, 40), abs=2)
    assert sizes == [128, 96, 128, 160]


def test_a_resized_picture_keeps_its_spread() -> None:
    """The channels that are z-scores have the spread that a picture of that size would have."""
    images = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    small = fitting.resized(images, 1 / 1.3)
    assert small.shape == (2, 3, 96, 96)
    torch.testing.assert_close(small[:, :2].std((2, 3)), images[:, :2].std((2, 3)))
    assert float(small[:, 2].std()) < 0.9
    assert fitting.resized(images, 1.0) is images


def test_the_teacher_has_the_averaged_weights(shards: Path, tmp_path: Path) -> None:
    """With agreement a training goes on after an interruption as if there had been none, and its
    teacher is the running average.
    """
    settings = replace(SETTINGS, agree=1.0)
    whole = fit(settings, shards, tmp_path / "whole", most_chunks=2)
    half = fit(settings, shards, tmp_path / "half", most_chunks=1)
    fit(settings, shards, tmp_path / "half", most_chunks=1)
    one, two = weights(whole), weights(half)
    for name in one:
        torch.testing.assert_close(one[name], two[name])
    state = fitting._Training(settings, torch.device("cpu"), tmp_path / "whole", Team(), None)
    for name, value in state.teacher.state_dict().items():
        assert value.data_ptr() == state.average[name].data_ptr()
    assert not state.teacher.training


def test_samples_are_resized_as_a_wrong_box_would() -> None:
    """Picture and classes shrink or grow together, by no more than the largest factor."""
    image = np.zeros((100, 100), np.float32)
    image[40:60] = 1.0
    sizes = set()
    for seed in range(20):
        small, truth = resize(np.random.default_rng(seed), image, (image > 0).astype(np.uint8))
        assert small.shape == truth.shape
        assert 100 / RESIZE - 1 <= small.shape[0] <= 100 * RESIZE + 1
        assert abs(float(truth.mean()) - 0.2) < 0.03
        assert np.abs(small[truth > 0].mean() - 1) < 0.1
        sizes.add(small.shape[0])
    assert min(sizes) < 90
    assert max(sizes) > 110


def test_choices_are_measured(
    shards: Path, real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each bias with each sharpness gets its figures, and a bias towards good calls less bad."""
    monkeypatch.setattr(choose, "SCENES", 3)
    monkeypatch.setattr(choose, "BIASES", (-30.0, 30.0))
    monkeypatch.setattr(choose, "SHARPNESSES", (1.0,))
    path = fit(SETTINGS, shards, tmp_path, load_real(real), most_chunks=1)
    bad, good = choose.choices(path, real)
    assert (bad.bias, bad.sharpness) == (-30.0, 1.0)
    assert bad.clean > 0.99 > 0.01 > good.clean
    assert bad.lost == bad.far == 1.0
    assert good.lost == good.far == good.iou == 0.0
