"""From MicrographCleaner's Keras model to an ONNX file that says how it wants to be fed.

The file that comes out is like any other weights here: ``--model FILE.onnx`` runs it. The old
network knows one kind of bad; in the six channels of this package it stands as `support_film`, and
a note with every micrograph says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from micscreen.errors import ModelError
from micscreen.legacy.keras_file import KerasFile, read_keras
from micscreen.legacy.keras_graph import Graph
from micscreen.model.weights import METADATA_KEY, sha256_of
from micscreen.picks import CLASS_NAMES
from micscreen.preprocess import IQR_NORMALISATION

BOX_PX: Final = 16
WINDOW: Final = 256
MARGIN: Final = 64

CHECK_SHAPES: Final = ((1, 1, 256, 256), (1, 1, 320, 448))
"""Inputs (n, 1, h, w) on which what was converted must run before it is written."""


def import_keras(source: Path, onnx: Path) -> dict[str, Any]:
    """Convert a Keras model to ONNX, with its preprocessing recorded in the file.

    Parameters
    ----------
    source
        .h5, .keras, or a tar archive, packed or not, that holds one of them; never changed.
    onnx
        File to write; input ``channels`` (n, 1, h, w) in [0, 1], output ``probabilities``
        (n, 6, h, w): 1 - map, map, and nothing in the other four.

    Returns
    -------
    What the file says about itself.

    Raises
    ------
    ModelError
        When the file is no Keras model, or not of MicrographCleaner's kind.
    """
    model = read_keras(source)
    try:
        graph, output = _build(model, str(source))
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise ModelError(f"the model's description is garbled ({error!r})", where=source) from error
    about = {
        "name": onnx.stem,
        "version": f"keras {model.version}".strip(),
        "classes": list(CLASS_NAMES),
        "box_px": BOX_PX,
        "normalisation": IQR_NORMALISATION,
        "margin": MARGIN,
        "multiple": graph.shrinks,
        "contrast": "any",
        "window": WINDOW,
        "source": {"file": source.name, "inside": model.inside, "sha256": sha256_of(source)},
    }
    _write(graph, output, about, onnx)
    return about


def _build(model: KerasFile, where: str) -> tuple[Graph, str]:
    """Return the graph and the name of its single map."""
    graph = Graph(where)
    if model.config.get("class_name") not in ("Functional", "Model", "Sequential"):
        raise graph.refuse(f"it is a {model.config.get('class_name')}")
    config = model.config["config"]
    config = {"layers": config} if isinstance(config, list) else config
    known: dict[str, str] = {}
    last = ""
    for kind, layer, sources in _layers(config, model.config["class_name"] == "Sequential", graph):
        if kind == "InputLayer":
            _check_input(layer, graph)
            if known:
                raise graph.refuse("it has more than one input")
            known[layer["name"]] = last = "channels"
            continue
        if not known:  # Sequential models of old Keras: the shape stands with the first layer
            _check_input(layer, graph)
            last = "channels"
        inputs = [known[name] for name in sources] if sources else [last]
        last = graph.layer(kind, layer, inputs, model.weights.get(layer["name"], []))
        known[layer["name"]] = last
    ends = config.get("output_layers")
    names = [ends[0]] if ends and isinstance(ends[0], str) else [e[0] for e in ends or []]
    if len(names) > 1:
        raise graph.refuse(f"it has {len(names)} outputs")
    return graph, known[names[0]] if names else last


def _layers(
    config: Mapping[str, Any], chain: bool, graph: Graph
) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
    """Return kind, settings and the names of the layers before it, of each layer, in order."""
    waiting = []
    for layer in config["layers"]:
        calls = layer.get("inbound_nodes") or []
        if len(calls) > 1:
            raise graph.refuse(f"layer {layer['name']} is used twice")
        settings = {"name": layer.get("name"), **layer["config"]}
        waiting.append((layer["class_name"], settings, _sources(calls[0]) if calls else []))
    if chain:
        yield from waiting
        return
    done: set[str] = set()
    while waiting:
        ready = [entry for entry in waiting if done.issuperset(entry[2])]
        if not ready:
            raise graph.refuse("its layers feed each other in a circle")
        yield from ready
        done |= {settings["name"] for _, settings, _ in ready}
        waiting = [entry for entry in waiting if entry[1]["name"] not in done]


def _sources(call: Any) -> list[str]:
    """Return the names of the layers whose outputs go in, as Keras 2 or Keras 3 writes them."""
    if isinstance(call, dict):
        found: list[str] = []
        stack = list(call.get("args", []))
        while stack:
            entry = stack.pop(0)
            if isinstance(entry, list):
                stack = [*entry, *stack]
            elif isinstance(entry, dict) and entry.get("class_name") == "__keras_tensor__":
                found.append(str(entry["config"]["keras_history"][0]))
        return found
    return [str(entry[0]) for entry in call]


def _check_input(layer: Mapping[str, Any], graph: Graph) -> None:
    """Raise ModelError unless the model takes grey windows."""
    shape = layer.get("batch_shape") or layer.get("batch_input_shape") or []
    if list(shape[1:]) not in ([WINDOW, WINDOW, 1], [None, None, 1]):
        raise graph.refuse(f"its input has the shape {tuple(shape[1:])}")


def _write(graph: Graph, output: str, about: Mapping[str, Any], path: Path) -> None:
    """Write the graph as ONNX, after it has run once in ONNX Runtime."""
    import onnx

    if not graph.nodes or graph.nodes[-1].op_type != "Sigmoid":
        raise graph.refuse("it does not end in a sigmoid")
    one = graph.constant(np.ones((), np.float32))
    graph.add("Identity", [output], name="map")
    none = graph.add("Sub", ["map", "map"])
    good = graph.add("Sub", [one, "map"])
    rest = [none] * (len(CLASS_NAMES) - 2)
    graph.add("Concat", [good, "map", *rest], name="probabilities", axis=1)
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", k, "h", "w"])
        for name, k in (("channels", 1), ("probabilities", len(CLASS_NAMES)))
    ]
    made = onnx.helper.make_model(
        onnx.helper.make_graph(graph.nodes, "keras", ends[:1], ends[1:], graph.constants),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
        ir_version=8,
    )
    entry = made.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(dict(about))
    data = made.SerializeToString()
    _check_run(data, graph)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    aside.write_bytes(data)
    aside.replace(path)


def _check_run(data: bytes, graph: Graph) -> None:
    """Raise ModelError unless the network answers one map of its input's size."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        for shape in CHECK_SHAPES:
            sides = [-(-side // graph.shrinks) * graph.shrinks for side in shape[2:]]
            given = np.full((1, 1, *sides), 0.5, np.float32)
            answer = session.run(None, {"channels": given})[0]
            if answer.shape != (1, len(CLASS_NAMES), *sides):
                raise graph.refuse(f"its answer has the shape {answer.shape}")
            if not (answer.min() >= 0 and answer.max() <= 1):
                raise graph.refuse("its answer is no probability")
    except ModelError:
        raise
    except Exception as error:  # ONNX Runtime's errors have no base class of their own.
        raise graph.refuse(f"ONNX Runtime cannot run it ({error})") from error
