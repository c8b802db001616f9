"""A Keras segmentation network as ONNX nodes, layer by layer.

Keras keeps images as (n, h, w, c), ONNX as (n, c, h, w); the graph is built in ONNX's order from
the start, so that nothing is transposed while it runs. The rules for ``same`` padding and
transposed convolutions are those of Keras's and ONNX's own documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from micscreen.errors import MissingDependencyError, ModelError

Arrays = Sequence[NDArray[np.float32]]

NOTHING: Final = frozenset(
    {"Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "ActivityRegularization"}
)
"""Layers that do something in training only."""


class Graph:
    """ONNX nodes and constants under construction.

    Parameters
    ----------
    where
        The model's file, for errors.
    """

    def __init__(self, where: str) -> None:
        try:
            import onnx
        except ImportError as error:
            raise MissingDependencyError(
                "converting Keras models needs onnx", hint="pip install 'micscreen[keras]'"
            ) from error
        self._onnx = onnx
        self.where = where
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.shrinks = 1
        """Largest factor by which the picture is shrunk: sides must be multiples of it."""

    def constant(self, values: NDArray[Any]) -> str:
        """Add a constant and return its name."""
        name = f"c{len(self.constants)}"
        self.constants.append(
            self._onnx.numpy_helper.from_array(np.ascontiguousarray(values), name)
        )
        return name

    def add(self, kind: str, inputs: Sequence[str], name: str = "", **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        output = name or f"t{len(self.nodes)}"
        self.nodes.append(self._onnx.helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def layer(
        self, kind: str, config: dict[str, Any], inputs: Sequence[str], arrays: Arrays
    ) -> str:
        """Add one Keras layer and return the name of its output.

        Parameters
        ----------
        kind
            Keras's name of the layer's class.
        config, arrays
            Its settings and weights, as Keras stores them.
        inputs
            Names of what goes in.

        Raises
        ------
        ModelError
            When it is a layer, or a setting of it, that such networks do not have.
        """
        if kind in NOTHING:
            return inputs[0]
        if config.get("data_format", "channels_last") != "channels_last":
            raise self.refuse(f"layer {config.get('name')} keeps channels first")
        if kind not in LAYERS:
            raise self.refuse(f"it has a layer of the kind {kind}")
        return LAYERS[kind](self, config, inputs, arrays)

    def activation(self, name: str, given: Any) -> str:
        """Add an activation function; `given` is Keras's name of it, or its record."""
        slope = 0.2  # of Keras's function; the layer of the same name says its own
        if isinstance(given, dict):
            slope = _slope(given.get("config") or {}, slope)
            given = given.get("class_name", "")
        kind = str(given or "linear").lower().replace("_", "")
        if kind == "linear":
            return name
        if kind == "leakyrelu":
            return self.add("LeakyRelu", [name], alpha=slope)
        if kind not in ("relu", "sigmoid", "tanh", "elu"):
            raise self.refuse(f"it has the activation {given}")
        return self.add(kind.capitalize(), [name])

    def refuse(self, why: str) -> ModelError:
        """Return the error for a model that is not of the expected shape."""
        return ModelError(
            f"this is no model of MicrographCleaner's kind: {why}",
            where=self.where,
            hint="One input of 256 x 256 x 1 in [0, 1], one sigmoid map; see docs/old-weights.md.",
        )


def _slope(config: dict[str, Any], default: float) -> float:
    value = config.get("negative_slope", config.get("alpha", default))
    return float(
        value.get("config", {}).get("value", default) if isinstance(value, dict) else value
    )


def _pair(value: Any) -> tuple[int, int]:
    first, second = (value, value) if isinstance(value, int) else value
    if not (0 < int(first) <= 64 and 0 < int(second) <= 64):
        raise ValueError(f"a size of {value}")
    return int(first), int(second)


def _same(graph: Graph, config: dict[str, Any], strided: bool) -> dict[str, Any]:
    """Return how the edges are filled up: Keras's `same` fills the far end first."""
    if config.get("padding", "valid") == "valid":
        return {}
    if config["padding"] != "same":
        raise graph.refuse(f"layer {config.get('name')} pads by {config['padding']}")
    return {"auto_pad": "SAME_UPPER"}


def _convolution(
    graph: Graph, config: dict[str, Any], inputs: Sequence[str], arrays: Arrays
) -> str:
    kernel = arrays[0].transpose(3, 2, 0, 1)  # (kh, kw, in, out) -> (out, in, kh, kw)
    strides, dilations = _pair(config.get("strides", 1)), _pair(config.get("dilation_rate", 1))
    graph.shrinks *= max(strides)
    constants = [graph.constant(kernel), *map(graph.constant, arrays[1:2])]
    where: dict[str, Any] = {}
    if config.get("padding", "valid") == "same" and strides == (1, 1):
        totals = [d * (k - 1) for d, k in zip(dilations, kernel.shape[2:], strict=True)]
        where["pads"] = [t // 2 for t in totals] + [t - t // 2 for t in totals]
    else:
        where = _same(graph, config, strided=True)
    answer = graph.add(
        "Conv", [inputs[0], *constants], strides=strides, dilations=dilations,
        group=int(config.get("groups", 1)), **where,
    )  # fmt: skip
    return graph.activation(answer, config.get("activation"))


def _transposed(graph: Graph, config: dict[str, Any], inputs: Sequence[str], arrays: Arrays) -> str:
    kernel = arrays[0].transpose(3, 2, 0, 1)  # (kh, kw, out, in) -> (in, out, kh, kw)
    strides = _pair(config.get("strides", 1))
    if _pair(config.get("dilation_rate", 1)) != (1, 1) or config.get("padding") != "same":
        raise graph.refuse(f"layer {config.get('name')} is dilated or not padded to `same`")
    extra = [k - s for k, s in zip(kernel.shape[2:], strides, strict=True)]
    over = [max(e, 0) for e in extra]
    answer = graph.add(
        "ConvTranspose",
        [inputs[0], graph.constant(kernel), *map(graph.constant, arrays[1:2])],
        strides=strides,
        pads=[o // 2 for o in over] + [o - o // 2 for o in over],
        output_padding=[max(-e, 0) for e in extra],
    )
    return graph.activation(answer, config.get("activation"))


def _normalisation(
    graph: Graph, config: dict[str, Any], inputs: Sequence[str], arrays: Arrays
) -> str:
    axis = config.get("axis", -1)
    if (axis[0] if isinstance(axis, list) else axis) not in (-1, 3):
        raise graph.refuse(f"layer {config.get('name')} normalises along axis {axis}")
    rest = list(arrays)
    count = len(rest[-1])
    scale = rest.pop(0) if config.get("scale", True) else np.ones(count, np.float32)
    shift = rest.pop(0) if config.get("center", True) else np.zeros(count, np.float32)
    mean, variance = rest
    constants = [graph.constant(values) for values in (scale, shift, mean, variance)]
    return graph.add(
        "BatchNormalization", [inputs[0], *constants], epsilon=float(config.get("epsilon", 1e-3))
    )


def _pooling(kind: str) -> Callable[..., str]:
    def pool(graph: Graph, config: dict[str, Any], inputs: Sequence[str], arrays: Arrays) -> str:
        size = _pair(config["pool_size"])
        strides = _pair(config.get("strides") or size)
        graph.shrinks *= max(strides)
        where = _same(graph, config, strided=True)
        return graph.add(kind, inputs, kernel_shape=size, strides=strides, **where)

    return pool


def _enlarge(graph: Graph, config: dict[str, Any], inputs: Sequence[str], arrays: Arrays) -> str:
    scales = graph.constant(np.array([1, 1, *_pair(config["size"])], np.float32))
    kind = config.get("interpolation", "nearest")
    if kind not in ("nearest", "bilinear"):
        raise graph.refuse(f"layer {config.get('name')} enlarges by {kind}")
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
    how |= {"nearest_mode": "floor"}
    if kind == "bilinear":
        how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    return graph.add("Resize", [inputs[0], "", scales], **how)


def _leaky(graph: Graph, config: dict[str, Any], inputs: Sequence[str], arrays: Arrays) -> str:
    return graph.add("LeakyRelu", inputs, alpha=_slope(config, 0.3))


def _activation(graph: Graph, config: dict[str, Any], inputs: Sequence[str], arrays: Arrays) -> str:
    return graph.activation(inputs[0], config.get("activation"))


def _relu(graph: Graph, config: dict[str, Any], inputs: Sequence[str], arrays: Arrays) -> str:
    if config.get("max_value") is not None or config.get("threshold"):
        raise graph.refuse(f"layer {config.get('name')} is no plain ReLU")
    return graph.add("LeakyRelu", inputs, alpha=_slope(config, 0.0))


def _zeros(graph: Graph, config: dict[str, Any], inputs: Sequence[str], arrays: Arrays) -> str:
    (top, bottom), (left, right) = config["padding"]
    pads = graph.constant(np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))
    return graph.add("Pad", [inputs[0], pads])


def _merging(kind: str, **attributes: Any) -> Callable[..., str]:
    def merge(graph: Graph, config: dict[str, Any], inputs: Sequence[str], arrays: Arrays) -> str:
        if kind == "Concat" and config.get("axis", -1) not in (-1, 3):
            raise graph.refuse(f"layer {config.get('name')} does not join channels")
        answer = inputs[0]
        if kind == "Concat" or len(inputs) < 3:
            return graph.add(kind, inputs, **attributes)
        for other in inputs[1:]:
            answer = graph.add(kind, [answer, other], **attributes)
        return answer

    return merge


LAYERS: Final[dict[str, Callable[..., str]]] = {
    "Conv2D": _convolution,
    "Conv2DTranspose": _transposed,
    "BatchNormalization": _normalisation,
    "MaxPooling2D": _pooling("MaxPool"),
    "AveragePooling2D": _pooling("AveragePool"),
    "UpSampling2D": _enlarge,
    "LeakyReLU": _leaky,
    "ReLU": _relu,
    "Activation": _activation,
    "ZeroPadding2D": _zeros,
    "Concatenate": _merging("Concat", axis=1),
    "Add": _merging("Add"),
    "Multiply": _merging("Mul"),
}
