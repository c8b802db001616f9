"""Back ends: one test body for the fake, ONNX Runtime and torch; weights and their metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from micscreen.errors import DeviceError, ModelError
from micscreen.model import weights
from micscreen.model.backend import (
    Backend,
    FakeBackend,
    OnnxBackend,
    TurnsBackend,
    open_backend,
    softmax,
)
from micscreen.model.torch_backend import TorchBackend
from micscreen.model.weights import DATA, model_path, sha256_of
from micscreen.picks import CLASS_NAMES
from micscreen.preprocess import NORMALISATION

ABOUT = {
    "name": "tiny",
    "version": "0",
    "classes": list(CLASS_NAMES),
    "box_px": 16,
    "normalisation": NORMALISATION,
    "margin": 32,
    "multiple": 8,
    "contrast": "dark",
}


def tiny_onnx(path: Path, about: dict[str, Any] | str | None, output: str = "logits") -> Path:
    """Write a network of the operators that the real one has: (n, 3, H, W) to (n, 6, H, W)."""
    onnx = pytest.importorskip("onnx")
    helper, proto = onnx.helper, onnx.TensorProto
    rng = np.random.default_rng(0)

    def array(name: str, values: NDArray[Any]) -> Any:
        return onnx.numpy_helper.from_array(values, name)

    constants = [
        array("pads", np.array([0, 0, 1, 1, 0, 0, 1, 1])),
        array("w1", rng.normal(0, 0.4, (8, 3, 3, 3)).astype(np.float32)),
        array("b1", rng.normal(0, 0.4, 8).astype(np.float32)),
        array("w2", rng.normal(0, 0.4, (24, 8, 3, 3)).astype(np.float32)),
        array("w3", rng.normal(0, 0.4, (6, 8, 1, 1)).astype(np.float32)),
        array("scales", np.array([1, 1, 2, 2], np.float32)),
        array("empty", np.array([], np.float32)),
    ]
    nodes = [
        helper.make_node("Pad", ["channels", "pads"], ["padded"], mode="edge"),
        helper.make_node("Conv", ["padded", "w1", "b1"], ["half"], strides=[2, 2]),
        helper.make_node("Relu", ["half"], ["active"]),
        helper.make_node("Conv", ["active", "w2"], ["deep"], pads=[2, 2, 2, 2], dilations=[2, 2]),
        helper.make_node("DepthToSpace", ["deep"], ["spread"], blocksize=2, mode="CRD"),
        helper.make_node("Conv", ["active", "w3"], ["side"]),
        helper.make_node(
            "Resize",
            ["side", "empty", "scales"],
            ["wide"],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        helper.make_node("Add", ["spread", "wide"], ["logits"]),
    ]
    if output != "logits":
        nodes.append(helper.make_node("Softmax", ["logits"], [output], axis=1))
    dims = ["n", 3, "h", "w"]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("channels", proto.FLOAT, dims)],
        [helper.make_tensor_value_info(output, proto.FLOAT, ["n", 6, "h", "w"])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if about is not None:
        text = about if isinstance(about, str) else json.dumps(about)
        helper.set_model_props(model, {"micscreen": text})
    onnx.save(model, str(path))
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_onnx(tmp_path_factory.mktemp("tiny") / "tiny.onnx", ABOUT)


def fake(path: Path) -> Backend:
    return FakeBackend()


def onnx_cpu(path: Path) -> Backend:
    return open_backend(path, device="cpu")


def torch_cpu(path: Path) -> Backend:
    pytest.importorskip("torch")
    return TorchBackend(path)


def turns(path: Path) -> Backend:
    return TurnsBackend([OnnxBackend(path), OnnxBackend(path)])


@pytest.mark.parametrize("make", [fake, onnx_cpu, torch_cpu, turns])
def test_every_back_end_answers_in_the_same_way(
    make: Callable[[Path], Backend], tiny: Path
) -> None:
    """Probabilities of the six classes for any batch and size, the same again, in every thread,
    independent of the batch they came in, and the input is left as it was.
    """
    backend = make(tiny)
    assert backend.spec.classes == CLASS_NAMES
    assert backend.device.startswith("cpu (")
    rng = np.random.default_rng(0)
    for shape in ((1, 3, 48, 64), (3, 3, 64, 40), (1, 3, 8 * 13, 8)):
        batch = rng.normal(0, 2, shape).astype(np.float32)
        before = batch.copy()
        maps = backend.predict(batch)
        assert maps.shape == (shape[0], 6, *shape[2:]) and maps.dtype == np.float32
        assert maps.min() >= 0
        np.testing.assert_allclose(maps.sum(axis=1), 1, atol=1e-5)
        np.testing.assert_array_equal(batch, before)
        np.testing.assert_allclose(backend.predict(batch[-1:])[0], maps[-1], atol=1e-5)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: backend.predict(batch), range(12)))
    for answer in answers:
        np.testing.assert_allclose(answer, maps, atol=1e-5)


@pytest.mark.parametrize("output", ["logits", "probability"])
def test_torch_and_onnx_runtime_agree(tmp_path: Path, output: str) -> None:
    """The same file gives the same probabilities, whether it ends in a softmax or before it."""
    pytest.importorskip("torch")
    path = tiny_onnx(tmp_path / "net.onnx", ABOUT, output)
    batch = np.random.default_rng(1).normal(0, 2, (2, 3, 64, 48)).astype(np.float32)
    first, second = OnnxBackend(path), TorchBackend(path)
    np.testing.assert_allclose(first.predict(batch), second.predict(batch), atol=1e-5)
    assert first.spec == second.spec


def test_torch_runs_the_real_architecture(tmp_path: Path) -> None:
    """What the training exports, fresh weights, gives the same in ONNX Runtime and in torch."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from micscreen.model.export import export_onnx
    from micscreen.model.unet import build_unet

    torch.manual_seed(0)
    export_onnx(build_unet(), tmp_path / "net.onnx", ABOUT)
    batch = np.random.default_rng(1).normal(0, 1, (1, 3, 96, 80)).astype(np.float32)
    first, second = OnnxBackend(tmp_path / "net.onnx"), TorchBackend(tmp_path / "net.onnx")
    np.testing.assert_allclose(first.predict(batch), second.predict(batch), atol=1e-4)


def test_softmax_stands_large_logits() -> None:
    """Logits of hundreds give certainty, not NaN."""
    logits = np.array([900.0, -900.0, 0.0], np.float32).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(softmax(logits).ravel(), [1, 0, 0], atol=1e-6)


def test_the_fake_finds_dark_and_bright_blobs() -> None:
    """The rule calls dark balls ice, dark halves film, bright spots damage, the rest good."""
    channels = np.zeros((1, 3, 160, 160), np.float32)
    channels[0, 0, 20:40, 20:40] = -3
    channels[0, 0, :, 100:] = -1.25
    channels[0, 0, 120:140, 20:40] = 3
    classes = FakeBackend().predict(channels)[0].argmax(axis=0)
    assert CLASS_NAMES[classes[30, 30]] == "ice_contamination"
    assert CLASS_NAMES[classes[80, 140]] == "support_film"
    assert CLASS_NAMES[classes[130, 30]] == "damaged"
    assert CLASS_NAMES[classes[80, 50]] == "good"


@pytest.mark.parametrize(
    ("about", "words"),
    [
        (None, "does not say what it expects"),
        ("{not json", "garbled"),
        ('"text"', "garbled"),
        ({**ABOUT, "margin": "wide"}, "garbled"),
        ({k: v for k, v in ABOUT.items() if k != "box_px"}, "box_px"),
        ({**ABOUT, "classes": ["good", "bad"]}, "its classes are good, bad"),
        ({**ABOUT, "normalisation": "other-v9"}, "other-v9"),
        ({**ABOUT, "contrast": "bright"}, "bright"),
        ({**ABOUT, "multiple": 0}, "multiple 0"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_words(
    tmp_path: Path, about: dict[str, Any] | str | None, words: str
) -> None:
    """Missing, garbled or foreign metadata is a ModelError with the file, the reason and a hint."""
    path = tiny_onnx(tmp_path / "net.onnx", about)
    with pytest.raises(ModelError, match=words) as caught:
        open_backend(path, device="cpu")
    assert caught.value.where == str(path) and caught.value.hint


def test_files_that_are_no_network_are_refused(tmp_path: Path) -> None:
    """Text, an empty file and a missing one are ModelErrors that say what is known instead."""
    (tmp_path / "text.onnx").write_text("hello")
    (tmp_path / "empty.onnx").write_bytes(b"")
    for name in ("text.onnx", "empty.onnx"):
        with pytest.raises(ModelError):
            open_backend(tmp_path / name, device="cpu")
    with pytest.raises(ModelError, match="Known names: default"):
        open_backend(tmp_path / "missing.onnx")


@pytest.mark.parametrize("device", ["gpu", "cpu:0", "cuda:x", "auto:1"])
def test_unknown_devices_are_refused(device: str, tiny: Path) -> None:
    """A device that cannot exist is a DeviceError that lists what can."""
    with pytest.raises(DeviceError, match="cuda"):
        open_backend(tiny, device=device)


def test_cuda_is_there_or_is_refused_with_the_command(tiny: Path) -> None:
    """Asking for a CUDA device that is not there never falls back to the CPU; auto does, and says
    so.
    """
    with pytest.raises(DeviceError, match=r"micscreen\[cuda\]"):
        open_backend(tiny, device="cuda:63")
    assert open_backend(tiny, device="auto").device.startswith(("cpu (", "cuda:0 ("))


def test_packaged_weights_are_the_registered_ones() -> None:
    """Every file in models.json is there with its sha256, and every ONNX file is in models.json."""
    files = {path.name for path in DATA.glob("*.onnx")}
    if not files:
        pytest.skip("no weights in this checkout")
    index = json.loads((DATA / "models.json").read_text())
    entries = [*index["models"].values()]
    entries += [entry["int8"] for entry in entries if "int8" in entry]
    assert {entry["file"] for entry in entries} == files
    assert all(sha256_of(DATA / entry["file"]) == entry["sha256"] for entry in entries)
    for name in ("default", *index["models"]):
        assert open_backend(name, device="cpu").spec.sha256 == sha256_of(model_path(name))


def test_the_cpu_runs_packaged_weights_in_int8() -> None:
    """On the CPU the default weights are the int8 twin, known by the name and sha256 of the float32
    file, and answer nearly the same; the path of the file runs float32.
    """
    plain, twin = open_backend(model_path(), device="cpu"), open_backend(device="cpu")
    assert "int8" in open_backend(device="auto").device or "cuda" in open_backend().device
    assert "int8" in twin.device
    assert twin.spec == plain.spec
    channels = np.random.default_rng(0).standard_normal((1, 3, 160, 160)).astype(np.float32)
    exact = OnnxBackend(model_path()).predict(channels)
    close = twin.predict(channels)
    assert 1e-6 < np.abs(close - exact).mean() < 0.02


def test_registering_makes_weights_the_default_and_damage_is_noticed(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`register` writes name and sha256; a byte more in the file and it is refused."""
    monkeypatch.setattr(weights, "DATA", tmp_path)
    (tmp_path / "tiny-7.onnx").write_bytes(tiny.read_bytes())
    weights.register(tmp_path / "tiny-7.onnx")
    assert model_path() == model_path("tiny-7") == tmp_path / "tiny-7.onnx"
    index = json.loads((tmp_path / "models.json").read_text())
    digest = hashlib.sha256(tiny.read_bytes()).hexdigest()
    assert index["models"]["tiny-7"]["sha256"] == digest
    with (tmp_path / "tiny-7.onnx").open("ab") as handle:
        handle.write(b"x")
    with pytest.raises(ModelError, match="damaged"):
        model_path("default")


def test_an_int8_twin_goes_with_its_weights_and_its_damage_is_noticed(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`register` finds the twin beside the weights; a byte more in it and the CPU refuses it."""
    monkeypatch.setattr(weights, "DATA", tmp_path)
    for name in ("tiny-7.onnx", "tiny-7-int8.onnx"):
        (tmp_path / name).write_bytes(tiny.read_bytes())
    weights.register(tmp_path / "tiny-7.onnx")
    assert weights.int8_twin(tmp_path / "tiny-7.onnx") == tmp_path / "tiny-7-int8.onnx"
    assert weights.int8_twin(tiny) is None
    with (tmp_path / "tiny-7-int8.onnx").open("ab") as handle:
        handle.write(b"x")
    with pytest.raises(ModelError, match="damaged"):
        open_backend(device="cpu")
