"""MicrographCleaner's weights: converted without Keras, compared with Keras itself."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from micscreen.cleaning import ONE_KIND, CleanSettings, clean
from micscreen.cli import cli
from micscreen.errors import ModelError, UsageError
from micscreen.legacy import keras_file
from micscreen.legacy.keras_import import import_keras
from micscreen.micrograph import Micrograph
from micscreen.model.backend import FakeBackend, OnnxBackend
from micscreen.preprocess import IQR_NORMALISATION, normalise_iqr

TOLERANCE = 1e-4


@pytest.fixture(scope="session")
def keras() -> Any:
    """Keras itself, on torch."""
    os.environ["KERAS_BACKEND"] = "torch"
    return pytest.importorskip("keras")


def old_unet(keras: Any, width: int = 4, deep: int = 3, plain: bool = False) -> Any:
    """Build a network of MicrographCleaner's shape with random weights and statistics."""
    keras.utils.set_random_seed(7)
    layers = keras.layers
    given = x = layers.Input((256, 256, 1))
    skips = []
    for level in range(deep):
        for _ in range(2):
            x = layers.Conv2D(width << level, 3, padding="same")(x)
            x = x if plain else layers.BatchNormalization()(x)
            x = layers.LeakyReLU(negative_slope=0.1 + 0.1 * level)(x)
        skips.append(x)
        x = layers.Dropout(0.1)(layers.MaxPooling2D(2)(x))
    x = layers.Conv2D(width << deep, 3, padding="same", activation="relu")(x)
    for level in reversed(range(deep)):
        if level % 2:
            x = layers.UpSampling2D(2)(x)
        else:
            x = layers.Conv2DTranspose(width << level, 2, strides=2, padding="same")(x)
        x = layers.Concatenate()([skips[level], x])
        x = layers.Conv2D(width << level, 3, padding="same")(x)
        x = layers.LeakyReLU(negative_slope=0.2)(x)
    model = keras.Model(given, layers.Conv2D(1, 1, activation="sigmoid", name="mask")(x))
    rng = np.random.default_rng(0)
    for layer in model.layers:  # as after training: nothing at its starting value
        if isinstance(layer, layers.BatchNormalization):
            gamma, *rest = layer.get_weights()
            values = [rng.uniform(0.5, 1.5, gamma.shape) for _ in (gamma, *rest)]
            layer.set_weights(values)
    return model


def answers(model: Any, onnx: Path, sides: tuple[int, int] = (256, 256)) -> tuple[Any, Any]:
    """Return the maps (n, h, w) of Keras and of the converted file for the same input."""
    given = np.random.default_rng(1).uniform(0, 1, (2, 1, *sides)).astype(np.float32)
    expected = np.asarray(model.predict(given.transpose(0, 2, 3, 1), verbose=0))[..., 0]
    return expected, OnnxBackend(onnx, threads=2).predict(given)


@pytest.fixture(scope="session")
def published(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Path]]:
    """A model, saved in every way in which it may come."""
    folder = tmp_path_factory.mktemp("keras")
    model = old_unet(keras)
    files = {name: folder / f"model.{name}" for name in ("h5", "keras", "tgz")}
    model.save(files["h5"])
    model.save(files["keras"])
    with tarfile.open(files["tgz"], "w:gz") as archive:
        archive.add(files["h5"], "deepMicrographCleaner/defaultModel.h5")
    files["download"] = folder / "defaultModel.h5"  # what the old `--download` leaves: a tar
    files["download"].write_bytes(gzip.decompress(files["tgz"].read_bytes()))
    return model, files


@pytest.mark.parametrize("kind", ["h5", "keras", "tgz", "download"])
def test_the_converted_network_answers_as_keras_does(
    published: tuple[Any, dict[str, Path]], kind: str, tmp_path: Path
) -> None:
    """From .h5, .keras, the .tgz and the old tool's own download: the same maps to 1e-4."""
    model, files = published
    before = files[kind].read_bytes()
    import_keras(files[kind], tmp_path / "old.onnx")
    expected, found = answers(model, tmp_path / "old.onnx")
    assert expected.std() > 0.01
    assert np.abs(found[:, 1] - expected).max() < TOLERANCE
    assert np.abs(1 - found[:, 0] - expected).max() < TOLERANCE
    assert not found[:, 2:].any()
    assert files[kind].read_bytes() == before


def test_other_layers_of_such_networks_answer_as_keras_does(keras: Any, tmp_path: Path) -> None:
    """Strides, dilation, odd kernels, sums, averages, bilinear growth: the same maps to 1e-4."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    given = layers.Input((256, 256, 1))
    x = layers.Conv2D(6, 5, strides=2, padding="same", activation="leaky_relu")(given)
    y = layers.Conv2D(6, 3, padding="same", dilation_rate=2, activation="elu")(x)
    x = layers.Multiply()([layers.Add()([x, y]), layers.Activation("tanh")(y)])
    x = layers.AveragePooling2D(2)(layers.ReLU(negative_slope=0.1)(x))
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    x = layers.Conv2D(4, 3)(layers.ZeroPadding2D(1)(x))
    x = layers.Conv2DTranspose(4, 4, strides=2, padding="same", use_bias=False)(x)
    model = keras.Model(given, layers.Activation("sigmoid")(layers.Conv2D(1, 1)(x)))
    model.save(tmp_path / "m.keras")
    about = import_keras(tmp_path / "m.keras", tmp_path / "m.onnx")
    expected, found = answers(model, tmp_path / "m.onnx")
    assert about["multiple"] == 4
    assert np.abs(found[:, 1] - expected).max() < TOLERANCE


def keras2_h5(path: Path) -> None:
    """Write what Keras 2 wrote: lists as inbound nodes, bytes as names, `alpha` as a slope."""
    h5py = pytest.importorskip("h5py")
    conv = {"filters": 2, "kernel_size": [3, 3], "strides": [1, 1], "padding": "same"}
    layers = [
        ("InputLayer", "in", {"batch_input_shape": [None, 256, 256, 1]}, []),
        ("Conv2D", "a", {**conv, "activation": "linear"}, ["in"]),
        ("LeakyReLU", "act", {"alpha": 0.25}, ["a"]),
        ("Concatenate", "join", {"axis": -1}, ["a", "act"]),
        ("Conv2D", "b", {**conv, "activation": "sigmoid"}, ["join"]),
    ]
    config = {
        "layers": [
            {"class_name": kind, "name": name, "config": {"name": name, **settings},
             "inbound_nodes": [[[s, 0, 0, {}] for s in sources]] if sources else []}
            for kind, name, settings, sources in layers
        ],
        "input_layers": [["in", 0, 0]], "output_layers": [["b", 0, 0]],
    }  # fmt: skip
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Model", "config": config}).encode()
        file.attrs["keras_version"] = b"2.2.4"
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = [name.encode() for _, name, _, _ in layers]
        for _, name, _, _ in layers:
            group = root.create_group(name)
            shapes = {"a": [(3, 3, 1, 2), (2,)], "b": [(3, 3, 4, 1), (1,)]}.get(name, [])
            names = [f"{name}/w{i}:0" for i in range(len(shapes))]
            group.attrs["weight_names"] = [n.encode() for n in names]
            for weight, shape in zip(names, shapes, strict=True):
                group[weight] = np.full(shape, 0.1, np.float32)


def test_a_file_of_keras_2_is_read(tmp_path: Path) -> None:
    """The older way of writing the same things is understood, down to the slope."""
    keras2_h5(tmp_path / "old.h5")
    about = import_keras(tmp_path / "old.h5", tmp_path / "old.onnx")
    assert about["version"] == "keras 2.2.4"
    maps = OnnxBackend(tmp_path / "old.onnx").predict(np.full((1, 1, 32, 32), -4, np.float32))
    inner = 9 * 0.1 * -4 + 0.1
    expected = 1 / (1 + np.exp(-(9 * 0.1 * 2 * (inner + 0.25 * inner) + 0.1)))
    assert maps[0, 1, 16, 16] == pytest.approx(expected, abs=1e-6)


def test_the_imported_network_runs_in_the_engine(
    published: tuple[Any, dict[str, Path]], tmp_path: Path
) -> None:
    """`clean` feeds it as its file says, picks get scores, and the note on its classes stands."""
    from micscreen.picks import Picks

    model, files = published
    import_keras(files["h5"], tmp_path / "old.onnx")
    backend = OnnxBackend(tmp_path / "old.onnx")
    assert (backend.spec.box_px, backend.spec.normalisation) == (16, IQR_NORMALISATION)
    image = np.random.default_rng(0).normal(50, 9, (256, 256)).astype(np.float32)
    picks = Picks(np.array([100.0, 200.0]), np.array([40.0, 140.0]))
    cleaned = clean(Micrograph(image), picks, backend, CleanSettings(box_size=32))
    assert cleaned.maps.shape == (6, 128, 128)
    assert ONE_KIND in cleaned.notes
    assert cleaned.picks is not None and cleaned.picks.goodness is not None
    small = image.reshape(128, 2, 128, 2).mean(axis=(1, 3))
    channels = normalise_iqr(small)
    padded = np.pad(channels[0], 64, mode="reflect")
    expected = model.predict(padded[None, ..., None], verbose=0)[0, 64:-64, 64:-64, 0]
    assert np.abs(cleaned.contamination - expected).max() < 1e-3


def test_the_input_is_micrographcleaners() -> None:
    """The recipe: sigmoid of the distance from the median in 10-90 percentile ranges."""
    image = np.arange(101, dtype=np.float32).reshape(1, 101)
    found = normalise_iqr(image)
    assert found[0, 0, 50] == pytest.approx(0.5)
    assert found[0, 0, 90] == pytest.approx(1 / (1 + np.exp(-0.5)))


def test_the_command_imports_and_screens(
    published: tuple[Any, dict[str, Path]], small_set: Any, tmp_path: Path
) -> None:
    """`micscreen model import`, then `micscreen screen --model`: two lines bring them."""
    onnx = tmp_path / "mc.onnx"
    asked = ["model", "import", str(published[1]["tgz"]), "-o", str(onnx)]
    done = CliRunner().invoke(cli, asked, standalone_mode=False)
    assert done.exit_code == 0, done.output
    assert "defaultModel.h5" in done.output
    again = CliRunner().invoke(cli, asked, standalone_mode=False)
    assert "--overwrite" in str(again.exception)
    screened = CliRunner().invoke(
        cli,
        ["screen", str(small_set.micrographs), "-c", str(small_set.picks), "-o",
         str(tmp_path / "job"), "-b", "64", "--model", str(onnx), "-q", "--device", "cpu"],
        standalone_mode=False,
    )  # fmt: skip
    assert screened.return_value == 0, screened.output
    assert len(list((tmp_path / "job" / "picks_auto_080").iterdir())) == 5


def test_windows_are_the_old_scheme(published: tuple[Any, dict[str, Path]], tmp_path: Path) -> None:
    """Windows at half steps and eight rotations: compared with the scheme written out by SciPy."""
    ndimage = pytest.importorskip("scipy.ndimage")
    import_keras(published[1]["h5"], tmp_path / "old.onnx")
    backend = OnnxBackend(tmp_path / "old.onnx", threads=2)
    image = np.random.default_rng(5).normal(0, 1, (560, 520)).astype(np.float32)
    image = np.asarray(ndimage.gaussian_filter(image, 3), np.float32)
    image[200:400, 100:300] += 1
    settings = CleanSettings(box_size=32, windows=True)
    found = clean(Micrograph(image), None, backend, settings).contamination

    blurred = ndimage.gaussian_filter(image, 0.5, mode="mirror")
    small = blurred.reshape(280, 2, 260, 2).mean(axis=(1, 3))  # linear sampling by two
    picture = normalise_iqr(small.astype(np.float32))[0]
    turned = []
    for degrees in (0, 30, 45, 90, 150, 180, 200, 270):
        how = {"reshape": False, "order": 1, "mode": "mirror"}
        img = ndimage.rotate(picture, degrees, **how)
        padded = np.pad(img, ((0, 104), (0, 124)), constant_values=img.min())
        total, count = np.zeros((384, 384)), np.zeros((384, 384))
        for y in (0, 128):
            for x in (0, 128):
                here = (slice(y, y + 256), slice(x, x + 256))
                total[here] += backend.predict(padded[here][None, None].astype(np.float32))[0, 1]
                count[here] += 1
        mask = (total / count)[:280, :260]
        turned.append(ndimage.rotate(mask, -degrees, **how))
    expected = np.mean(turned, axis=0)
    assert found.shape == expected.shape
    assert expected.std() > 0.003
    assert np.abs(found - expected).max() < 2e-4


def test_windows_are_for_the_old_weights_only() -> None:
    """With other weights the word is refused, with what to do."""
    image = np.random.default_rng(0).normal(0, 1, (512, 512)).astype(np.float32)
    with pytest.raises(UsageError, match="model import"):
        clean(Micrograph(image), None, FakeBackend(), CleanSettings(32, windows=True))


def zipped(**members: bytes) -> bytes:
    """Return a zip archive."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return data.getvalue()


def tarred(name: str, content: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return a tar archive of one member."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.size, info.linkname = kind, len(content), "/etc/passwd"
        archive.addfile(info, io.BytesIO(content))
    return data.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no Keras model"),
        (b"pickled?" * 100, "no Keras model"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 64, "cannot be read"),
        (b"PK\x03\x04" + b"\0" * 64, "cannot be read"),
        (b"\x1f\x8b" + b"\0" * 64, "cannot be read"),
        (zipped(config__json=b"{"), "cannot be read"),
        (zipped(other=b""), "cannot be read"),
        (tarred("weights.pkl", b"x"), "not: none"),
        (tarred("model.h5", b"x"), "model.h5: no Keras model"),
        (tarred("model.h5", b"", tarfile.SYMTYPE), "not: none"),
        (gzip.compress(b"\0" * (1 << 21)), "unpacks to more"),
    ],
)
def test_a_file_that_is_no_model_is_refused(
    content: bytes, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damage, links and bombs end in one clear error, and no output."""
    monkeypatch.setattr(keras_file, "MAX_BYTES", 1 << 20)
    monkeypatch.setattr(keras_file._limited, "__defaults__", (1 << 20,))
    (tmp_path / "m.h5").write_bytes(content)
    with pytest.raises(ModelError, match=words):
        import_keras(tmp_path / "m.h5", tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_an_array_in_another_file_is_not_followed(tmp_path: Path) -> None:
    """External links and external storage of HDF5 read nothing outside the model's file."""
    h5py = pytest.importorskip("h5py")
    (tmp_path / "secret").write_bytes(np.ones(2, np.float32).tobytes())
    for way in ("link", "storage"):
        keras2_h5(tmp_path / "old.h5")
        with h5py.File(tmp_path / "old.h5", "a") as file:
            group = file["model_weights/a"]
            del group["a/w1:0"]
            if way == "link":
                group["a/w1:0"] = h5py.ExternalLink(str(tmp_path / "old.h5"), "/x")
            else:
                group["a"].create_dataset(
                    "w1:0", (2,), "<f4", external=[(str(tmp_path / "secret"), 0, 8)]
                )
        with pytest.raises(ModelError, match="another file"):
            import_keras(tmp_path / "old.h5", tmp_path / "m.onnx")


def test_damage_anywhere_ends_in_an_error_or_a_model(tmp_path: Path) -> None:
    """Cut or with bytes changed anywhere, a file is refused in words, never by a crash."""
    keras2_h5(tmp_path / "m.h5")
    whole = (tmp_path / "m.h5").read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for i in range(120):
        data = bytearray(whole)
        if i % 2:
            del data[int(rng.integers(len(data))) :]
        for place in rng.integers(0, max(len(data), 1), 8 * (1 - i % 2)):
            data[place] = rng.integers(256)
        (tmp_path / "m.h5").write_bytes(data)
        try:
            import_keras(tmp_path / "m.h5", tmp_path / "m.onnx")
        except ModelError:
            refused += 1
    assert refused > 60


def test_zeros_without_end_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays that take no space in the file are counted at their size, one by one and together."""
    h5py = pytest.importorskip("h5py")
    monkeypatch.setattr(keras_file, "MAX_BYTES", 1 << 20)
    for shape, words in (((600, 1000), "no array of weights"), ((200, 1000), "MiB of weights")):
        keras2_h5(tmp_path / "m.h5")
        with h5py.File(tmp_path / "m.h5", "a") as file:
            for layer, weight in (("a", "a/w0:0"), ("b", "b/w0:0")):
                group = file[f"model_weights/{layer}"]
                del group[weight]
                group.create_dataset(weight, shape, "<f4", chunks=(1, 1000))
        with pytest.raises(ModelError, match=words):
            import_keras(tmp_path / "m.h5", tmp_path / "m.onnx")


def changed(name: str, change: Callable[[dict[str, Any]], None], path: Path) -> None:
    """Write the file of Keras 2 with one layer's record changed."""
    import h5py

    keras2_h5(path)
    with h5py.File(path, "a") as file:
        model = json.loads(file.attrs["model_config"])
        layer = next(x for x in model["config"]["layers"] if x["name"] == name)
        change(layer)
        file.attrs["model_config"] = json.dumps(model)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("act", lambda x: x.update(class_name="Lambda"), "kind Lambda"),
        ("in", lambda x: x["config"].update(batch_input_shape=[None, 64, 64, 3]), "its input"),
        ("b", lambda x: x["config"].update(activation="linear"), "sigmoid"),
        ("b", lambda x: x["config"].update(activation="exec"), "activation exec"),
        ("a", lambda x: x.update(inbound_nodes=[[["b", 0, 0, {}]]]), "circle"),
        ("a", lambda x: x["config"].update(padding="valid"), "answer has the shape|cannot run"),
        ("a", lambda x: x["config"].pop("name") and x.pop("name"), "garbled|missing"),
    ],
)
def test_a_model_of_another_kind_is_refused(
    name: str, change: Callable[[dict[str, Any]], None], words: str, tmp_path: Path
) -> None:
    """What is not MicrographCleaner's shape, Lambda layers first of all, is named and refused."""
    changed(name, change, tmp_path / "m.h5")
    with pytest.raises(ModelError, match=words):
        import_keras(tmp_path / "m.h5", tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()
