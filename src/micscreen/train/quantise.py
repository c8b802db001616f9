"""An int8 twin of weights, for the CPU: a third of the time, a quarter of the size.

Static quantisation of weights per channel and of activations (Jacob et al. 2018), in the QDQ form
of ONNX Runtime. Weights keep 7 bits, because CPUs without VNNI add products of 8 bits in 16.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import MissingDependencyError
from micscreen.preprocess import normalise
from micscreen.samples import MARGIN
from micscreen.simulate import Recipe, simulate_scene

SCENES: Final = 64
"""Simulated scenes from which the ranges of the activations are read."""

IN_FLOAT: Final = ("/head/Conv", "/spread/DepthToSpace")
"""Nodes that stay float32: 256 steps are few for logits, and they cost little."""


def calibration_pictures(scenes: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """Simulate what the network sees in use: (1, 3, h, w), with margins."""
    for number in range(scenes):
        image = simulate_scene(seed * 1_000_000 + number, Recipe()).image
        margin = ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN))
        yield np.pad(normalise(image), margin, mode="reflect")[None]


def quantise(onnx: Path, int8: Path, scenes: int = SCENES, seed: int = 90) -> None:
    """Write the int8 twin of an exported network, whole or not at all.

    Parameters
    ----------
    onnx, int8
        Float32 file, which stays as it is; file to write, with the same metadata, input and output.
    scenes, seed
        Simulated pictures for the ranges of activations; no real ones.

    Raises
    ------
    MissingDependencyError
        When onnx is not installed.
    """
    try:
        import onnx as onnx_format
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise MissingDependencyError(
            f"quantising needs {error.name}", hint="pip install 'micscreen[train]'"
        ) from error
    pictures = calibration_pictures(scenes, seed)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, Any] | None:
            picture = next(pictures, None)
            return None if picture is None else {"channels": picture}

    logging.getLogger().setLevel(logging.ERROR)  # it advises what is done two lines below
    with tempfile.TemporaryDirectory(dir=int8.parent) as scratch:
        ready, aside = Path(scratch) / "ready.onnx", Path(scratch) / "int8.onnx"
        quant_pre_process(str(onnx), str(ready), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(ready),
            str(aside),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            nodes_to_exclude=list(IN_FLOAT),
        )
        model, plain = onnx_format.load(str(aside)), onnx_format.load(str(onnx))
        del model.metadata_props[:]
        model.metadata_props.extend(plain.metadata_props)
        onnx_format.save(model, str(aside))
        aside.replace(int8)
