"""The network and its export."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from micscreen.errors import ModelError
from micscreen.model import export
from micscreen.model.unet import CLASSES, UNetConfig, build_unet
from micscreen.picks import CLASS_NAMES

torch = pytest.importorskip("torch")
TINY = UNetConfig(widths=(4, 6, 8, 8), blocks=1, dilations=(1, 2))


def test_the_order_of_classes_is_that_of_the_picks() -> None:
    """The network's channels and the names that users see are in one order."""
    assert CLASSES == CLASS_NAMES


@pytest.mark.parametrize("shape", [(64, 64), (80, 112), (16, 208)])
def test_output_has_the_input_resolution(shape: tuple[int, int]) -> None:
    """For any multiples of 16, six logits come back for every pixel."""
    net = build_unet(TINY).eval()
    with torch.no_grad():
        logits = net(torch.zeros(2, 3, *shape))
    assert tuple(logits.shape) == (2, 6, *shape)


def test_the_network_is_small() -> None:
    """The network that ships stays below 1.2 million parameters."""
    assert sum(weight.numel() for weight in build_unet().parameters()) < 1_200_000


def test_a_flat_field_has_no_border() -> None:
    """With replicate padding, a constant input gives the same answer at borders as inside."""
    torch.manual_seed(0)
    net = build_unet(TINY).eval()
    with torch.no_grad():
        logits = net(torch.full((1, 3, 64, 64), 0.7))[0]
    inside = logits[:, 32:34, 32:34]
    for corner in (logits[:, :2, :2], logits[:, -2:, -2:], logits[:, 30:32, :2]):
        torch.testing.assert_close(corner, inside, atol=1e-5, rtol=1e-5)


def test_impossible_shapes_are_refused() -> None:
    """A configuration that cannot be a network raises a ModelError at birth."""
    with pytest.raises(ModelError):
        UNetConfig(widths=(8, 0, 8, 8))
    with pytest.raises(ModelError):
        UNetConfig(classes=1)


def test_export_equals_torch_and_carries_its_metadata(tmp_path: Path) -> None:
    """The ONNX file gives torch's answers at free sizes, and holds what was stored with it."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    torch.manual_seed(1)
    net = build_unet(TINY)
    path = tmp_path / "net.onnx"
    assert export.export_onnx(net, path, {"name": "tiny", "box_px": 16}) < 1e-4
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    stored = json.loads(session.get_modelmeta().custom_metadata_map["micscreen"])
    assert stored == {"name": "tiny", "box_px": 16}
    channels = np.random.default_rng(5).standard_normal((1, 3, 48, 144)).astype(np.float32)
    with torch.no_grad():
        expected = net(torch.from_numpy(channels)).numpy()
    np.testing.assert_allclose(session.run(None, {"channels": channels})[0], expected, atol=1e-4)


def test_export_without_parity_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When torch and ONNX Runtime disagree, a ModelError is raised and no file appears."""
    pytest.importorskip("onnx")
    monkeypatch.setattr(export, "parity", lambda net, onnx: 0.5)
    with pytest.raises(ModelError, match="differ"):
        export.export_onnx(build_unet(TINY), tmp_path / "net.onnx", {})
    assert list(tmp_path.iterdir()) == []
