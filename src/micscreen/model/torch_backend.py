"""The same network through torch, from the same ONNX file: on CUDA, or on the CPU.

The file's graph is walked and each of its few operators answered by torch, so that there is one
set of weights and no second description of the network.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import DeviceError, MissingDependencyError, ModelError
from micscreen.model.weights import ModelSpec, spec_from

TORCH_HINT: Final = "pip install 'micscreen[cuda]'"


class TorchBackend:
    """The network of an ONNX file, run by torch.

    Parameters
    ----------
    path
        ONNX file: one input (n, 3, H, W), one output (n, 6, H, W), named `logits` when the softmax
        is still to be done.
    device
        `cpu`, `cuda` or `cuda:1`.

    Raises
    ------
    DeviceError
        When torch does not see the device.
    ModelError
        When the file is no ONNX file, or its graph has operators that are not known here.
    MissingDependencyError
        When torch or onnx are not installed.
    """

    def __init__(self, path: Path, *, device: str = "cpu") -> None:
        onnx, torch = _modules()
        if device.startswith("cuda"):
            number = int(device.partition(":")[2] or 0)
            if number >= (torch.cuda.device_count() if torch.cuda.is_available() else 0):
                raise DeviceError(f"torch does not see CUDA device {number}", hint=TORCH_HINT)
        try:
            model = onnx.load(str(path))
        except Exception as error:  # protobuf's errors, which are not ours to import
            raise ModelError(f"this is no ONNX file ({error})", where=path) from error
        self.spec: ModelSpec = spec_from({p.key: p.value for p in model.metadata_props}, path)
        self.device = f"{device} (torch)"
        self._device = torch.device(device)
        self._torch = torch
        self._operators = _operators(torch)
        constants, nodes = _fold(model.graph, onnx)
        self._constants = {name: self._tensor(array) for name, array in constants.items()}
        self._nodes = [_read(node, onnx) for node in nodes]
        unknown = sorted({kind for kind, *_ in self._nodes} - set(self._operators))
        if unknown:
            raise ModelError(
                f"torch is not told how to do the operators {', '.join(unknown)}",
                where=path,
                hint="Use ONNX Runtime: --device cpu.",
            )
        self._input = model.graph.input[0].name
        self._output = model.graph.output[0].name

    def _tensor(self, array: NDArray[Any]) -> Any:
        """Bring an array to the device."""
        return self._torch.from_numpy(np.array(array)).to(self._device)

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return probabilities (n, 6, H, W) for channels (n, 3, H, W)."""
        torch = self._torch
        with torch.inference_mode():
            values = dict(self._constants)
            values[self._input] = self._tensor(batch)
            for kind, inputs, outputs, attributes in self._nodes:
                given = [values[name] if name else None for name in inputs]
                values[outputs[0]] = self._operators[kind](given, attributes)
            answer = values[self._output]
            if self._output == "logits":
                answer = torch.softmax(answer, dim=1)
            return np.asarray(answer.float().cpu().numpy(), np.float32)


def _fold(graph: Any, onnx: Any) -> tuple[dict[str, NDArray[Any]], list[Any]]:
    """Return the constants of a graph, computed ones among them, and the nodes that are left."""
    from onnx.reference import ReferenceEvaluator

    constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    nodes = []
    for node in graph.node:
        inputs = [name for name in node.input if name]
        if all(name in constants for name in inputs):
            values = ReferenceEvaluator(node).run(None, {name: constants[name] for name in inputs})
            constants.update(zip(node.output, map(np.asarray, values), strict=True))
        else:
            nodes.append(node)
    return constants, nodes


def _read(node: Any, onnx: Any) -> tuple[str, list[str], list[str], dict[str, Any]]:
    """Return a node as (operator, names of inputs, names of outputs, attributes)."""
    attributes = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        attributes[attribute.name] = value.decode() if isinstance(value, bytes) else value
    return node.op_type, list(node.input), list(node.output), attributes


def _modules() -> tuple[Any, Any]:
    """Import onnx and torch when they are first needed."""
    try:
        import onnx
        import onnx.numpy_helper
        import torch
    except ImportError as error:
        raise MissingDependencyError(
            f"running the network in torch needs {error.name}", hint=TORCH_HINT
        ) from error
    return onnx, torch


Operator = Callable[[list[Any], dict[str, Any]], Any]


def _operators(torch: Any) -> dict[str, Operator]:
    """Return how torch does each operator: (inputs, attributes) -> output."""
    functional = torch.nn.functional

    def conv(x: list[Any], a: dict[str, Any]) -> Any:
        bias = x[2] if len(x) > 2 else None
        pads = a.get("pads", [0, 0, 0, 0])
        image = functional.pad(x[0], (pads[1], pads[3], pads[0], pads[2])) if any(pads) else x[0]
        strides, dilations = a.get("strides", [1, 1]), a.get("dilations", [1, 1])
        return functional.conv2d(
            image, x[1], bias, strides, dilation=dilations, groups=a.get("group", 1)
        )

    def pad(x: list[Any], a: dict[str, Any]) -> Any:
        pads = [int(p) for p in (a["pads"] if "pads" in a else x[1].tolist())]
        four = (pads[3], pads[7], pads[2], pads[6])
        modes = {"edge": "replicate", "reflect": "reflect", "constant": "constant"}
        return functional.pad(x[0], four, mode=modes[a.get("mode", "constant")])

    def resize(x: list[Any], a: dict[str, Any]) -> Any:
        if a.get("mode", "nearest") != "nearest":
            raise ModelError("torch is only told how to resize to the nearest pixel")
        if len(x) > 3 and x[3] is not None:
            return functional.interpolate(x[0], size=[int(s) for s in x[3].tolist()[2:]])
        scales = x[2] if len(x) > 2 else x[1]
        return functional.interpolate(x[0], scale_factor=[float(s) for s in scales.tolist()[2:]])

    def depth_to_space(x: list[Any], a: dict[str, Any]) -> Any:
        if a.get("mode", "DCR") == "CRD":
            return functional.pixel_shuffle(x[0], a["blocksize"])
        n, c, h, w = x[0].shape
        b = a["blocksize"]
        blocks = x[0].reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2)
        return blocks.reshape(n, c // b**2, h * b, w * b)

    def batch_norm(x: list[Any], a: dict[str, Any]) -> Any:
        return functional.batch_norm(x[0], x[3], x[4], x[1], x[2], eps=a.get("epsilon", 1e-5))

    return {
        "Add": lambda x, a: x[0] + x[1],
        "BatchNormalization": batch_norm,
        "Concat": lambda x, a: torch.cat(x, dim=a["axis"]),
        "Conv": conv,
        "DepthToSpace": depth_to_space,
        "Identity": lambda x, a: x[0],
        "Mul": lambda x, a: x[0] * x[1],
        "Pad": pad,
        "Relu": lambda x, a: torch.relu(x[0]),
        "Resize": resize,
        "Sigmoid": lambda x, a: torch.sigmoid(x[0]),
        "Softmax": lambda x, a: torch.softmax(x[0], dim=a.get("axis", -1)),
        "Upsample": resize,
    }
