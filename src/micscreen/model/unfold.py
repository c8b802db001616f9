"""The trainable network again, from a checkpoint or an ONNX file that the training exported."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from micscreen.errors import MissingDependencyError, ModelError
from micscreen.model.unet import UNetConfig, build_unet

GROWN: Final = 2.5
"""How much larger than fresh ones weights become in a training, about."""


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


def grown(net: Any, config: UNetConfig) -> Any:
    """Return a network of a shape that may have more blocks than `net` has, with its weights.

    What is new adds little at first: a tenth of its normalised answer.

    Raises
    ------
    ModelError
        When the shapes differ in more than blocks.
    """
    import torch

    larger = build_unet(config)
    try:
        new, lost = larger.load_state_dict(net.state_dict(), strict=False)
    except RuntimeError as error:
        raise ModelError(f"{net.config} cannot grow into {config}") from error
    if lost:
        raise ModelError(f"{net.config} cannot grow into {config}", hint=f"no place for {lost}")
    layers = dict(larger.named_modules())
    with torch.no_grad():
        for name in {key.rsplit(".", 1)[0] for key in new}:
            if isinstance(layers[name], torch.nn.BatchNorm2d):
                layers[name].weight.fill_(0.1)
    return larger


def renormalise(net: Any, batches: Iterable[Any]) -> None:
    """Give folded normalisation layers the statistics of some batches; answers stay the same.

    A network that comes from ONNX has layers that normalise nothing (see `network_from_onnx`);
    afterwards it can be trained with normalisation again. Weights before a normalisation get the
    size that they have in a training, `GROWN` times that of fresh ones: some of the folded ones are
    far smaller, and the steps of an optimiser would be large beside them.

    Parameters
    ----------
    net
        In evaluation mode afterwards.
    batches
        Tensors (n, 3, h, w).
    """
    import torch

    pairs = [(conv, norm) for conv, norm in _in_order(net) if norm is not None]
    seen: dict[Any, list[Any]] = {conv: [] for conv, _ in pairs}

    def keep(conv: Any, given: Any, answer: Any) -> None:
        flat = answer.detach().transpose(0, 1).flatten(1)  # (channels, n h w)
        seen[conv].append(torch.stack([flat.mean(1), flat.square().mean(1)]))

    hooks = [conv.register_forward_hook(keep) for conv, _ in pairs]
    with torch.no_grad():
        for batch in batches:
            net.eval()(batch)
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        for conv, norm in pairs:
            mean, square = torch.stack(seen[conv]).mean(0)
            variance = (square - mean.square()).clamp(min=1e-6)
            gain = norm.weight / (norm.running_var + norm.eps).sqrt()
            shift = norm.bias - norm.running_mean * gain
            size = conv.weight.flatten(1).square().mean(1).sqrt()  # (channels,)
            fresh = (3 * conv.weight[0].numel()) ** -0.5
            factor = (GROWN * fresh / size.clamp(min=1e-6)).clamp(max=1000.0)
            conv.weight *= factor[:, None, None, None]
            mean, variance, gain = mean * factor, variance * factor.square(), gain / factor
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
            norm.weight.copy_(gain * (variance + norm.eps).sqrt())
            norm.bias.copy_(shift + mean * gain)


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
