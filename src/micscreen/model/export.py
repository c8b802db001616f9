"""From the torch network to the ONNX file that ships, with its metadata and a parity check."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from micscreen.errors import ModelError

TOLERANCE: Final = 1e-4
"""Largest allowed difference in logits between torch and ONNX Runtime."""

SHAPES: Final = ((1, 3, 64, 64), (2, 3, 112, 208), (1, 3, 304, 80))
"""Shapes (n, 3, h, w) at which the two are compared."""


def export_onnx(net: Any, onnx: Path, about: Mapping[str, Any]) -> float:
    """Write a network as ONNX and compare it with torch in ONNX Runtime.

    Parameters
    ----------
    net
        Module of `micscreen.model.unet.build_unet`; put into evaluation mode.
    onnx
        File to write; input ``channels`` (n, 3, h, w), output ``logits`` (n, 6, h, w), with n, h
        and w free.
    about
        Stored as JSON under the metadata key ``micscreen``.

    Returns
    -------
    The largest difference between the two, in logits.

    Raises
    ------
    ModelError
        When they differ by `TOLERANCE` or more; the file is not written then.
    """
    import onnx as onnx_format
    import torch

    net.eval()
    aside = onnx.with_suffix(".part")
    onnx.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its own age: only this exporter frees h and w well
        torch.onnx.export(
            net,
            (torch.zeros(1, 3, 64, 64),),
            str(aside),
            dynamo=False,
            input_names=["channels"],
            output_names=["logits"],
            dynamic_axes={name: {0: "n", 2: "h", 3: "w"} for name in ("channels", "logits")},
            opset_version=17,
        )
    model = onnx_format.load(str(aside))
    entry = model.metadata_props.add()
    entry.key, entry.value = "micscreen", json.dumps(about)
    onnx_format.save(model, str(aside))
    worst = parity(net, aside)
    if not worst < TOLERANCE:
        aside.unlink()
        raise ModelError(f"torch and ONNX Runtime differ by {worst:.2g}", where=onnx)
    aside.replace(onnx)
    return worst


def parity(net: Any, onnx: Path) -> float:
    """Return the largest difference in logits between torch and ONNX Runtime over `SHAPES`."""
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    worst = 0.0
    for shape in SHAPES:
        channels = rng.standard_normal(shape).astype(np.float32)
        with torch.no_grad():
            expected = net(torch.from_numpy(channels)).numpy()
        found = session.run(None, {"channels": channels})[0]
        worst = max(worst, float(np.abs(found - expected).max()))
    return worst
