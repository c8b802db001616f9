"""The trainable network again, from a checkpoint or an ONNX file that the training exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from micscreen.errors import MissingDependencyError, ModelError
from micscreen.model.unet import UNetConfig, build_unet


def network_from_onnx(path: Path) -> Any:
    """Return the network of an ONNX file, in torch and ready to be trained on.

    The export folds each normalisation layer into the convolution before it; here the convolution
    keeps the folded weights and its normalisation layer is set to change nothing but add the
    folded bias. The answers are those of the file as long as the normalisation stays in evaluation
    mode. Bias and sharpness of the export are in the last layer.

    Raises
    ------
    ModelError
        When the file was not exported by `micscreen.model.export` from a `UNetConfig`.
    MissingDependencyError
        When torch or onnx are not installed.
    """
    try:
        import onnx
        import onnx.numpy_helper
        import torch
    except ImportError as error:
        raise MissingDependencyError(
            f"going on from an ONNX file needs {error.name}", hint="pip install 'micscreen[train]'"
        ) from error
    try:
        model = onnx.load(str(path))
        about = json.loads({p.key: p.value for p in model.metadata_props}["micscreen"])
        net = build_unet(UNetConfig(**about["network"]))
    except Exception as error:  # protobuf's errors, which are not ours to import
        raise ModelError(
            f"no training can start from this file ({error!r})",
            where=path,
            hint="Give weights of this package, or what `micscreen train` wrote.",
        ) from error
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    found = [node for node in model.graph.node if node.op_type == "Conv"]
    layers = _in_order(net)
    if len(found) != len(layers):
        raise ModelError(f"{len(found)} convolutions where {len(layers)} were expected", where=path)
    with torch.no_grad():
        for node, (conv, normalise) in zip(found, layers, strict=True):
            conv.weight.copy_(torch.from_numpy(constants[node.input[1]].copy()))
            bias = torch.from_numpy(constants[node.input[2]].copy())
            if normalise is None:
                conv.bias.copy_(bias)
                continue
            normalise.weight.fill_(1.0)
            normalise.bias.copy_(bias)
            normalise.running_mean.zero_()
            normalise.running_var.fill_(1.0 - normalise.eps)
    return net.eval()


def network_from(path: Path) -> Any:
    """Return the network of a checkpoint, with averaged weights, or of an exported ONNX file."""
    import torch

    if path.suffix == ".onnx":
        return network_from_onnx(path)
    saved = torch.load(path, map_location="cpu", weights_only=True)
    net = build_unet(UNetConfig(**saved["config"]))
    net.load_state_dict(saved["average"])
    return net


def _in_order(net: Any) -> list[tuple[Any, Any]]:
    """Return each convolution with the normalisation behind it, in the order of their use."""
    import torch

    layers: list[tuple[Any, Any]] = []
    used: list[Any] = []
    hooks = [
        module.register_forward_hook(lambda module, given, answer: used.append(module))
        for module in net.modules()
        if isinstance(module, torch.nn.Conv2d | torch.nn.BatchNorm2d)
    ]
    with torch.no_grad():
        net.eval()(torch.zeros(1, net.stem[0].in_channels, 64, 64))
    for hook in hooks:
        hook.remove()
    for module in used:
        if isinstance(module, torch.nn.Conv2d):
            layers.append((module, None))
        else:
            layers[-1] = (layers[-1][0], module)
    return layers
