"""From a checkpoint to the file that ships."""

from __future__ import annotations

from pathlib import Path

from micscreen.model.export import export_onnx
from micscreen.model.unet import CLASSES, UNetConfig, build_unet
from micscreen.preprocess import NORMALISATION
from micscreen.samples import MARGIN, SCENES_PER_SHARD


def export(
    checkpoint: Path,
    onnx: Path,
    version: str = "1",
    box_px: float = 16.0,
    good_bias: float = 0.0,
    sharpness: float = 1.0,
    name: str = "",
) -> float:
    """Write the averaged weights as ONNX with what the package must know; check the parity.

    Parameters
    ----------
    checkpoint, onnx
        Of `fit`; file to write.
    version
        Of the weights, for their name.
    box_px
        Box at which the network should look in use, px.
    good_bias
        Added to the logit of good for ever: training sees far more bad than micrographs have, so
        that its probabilities of bad are too high (Saerens et al. 2002).
    sharpness
        Factor on all logits afterwards, the inverse of a temperature, for a network that is right
        more often than it says (Guo et al. 2017).
    name
        Of the weights; by default ``micscreen-`` and the version.

    Returns the largest difference between torch and ONNX Runtime, in logits.
    """
    import torch

    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    config = UNetConfig(**saved["config"])
    net = build_unet(config)
    net.load_state_dict(saved["average"])
    with torch.no_grad():
        net.head.bias[:4] += good_bias  # the four sub-pixels of the first class
        net.head.bias *= sharpness
        net.head.weight *= sharpness
    about = {
        "name": name or f"micscreen-{version}",
        "version": version,
        "classes": list(CLASSES),
        "box_px": box_px,
        "normalisation": NORMALISATION,
        "margin": MARGIN,
        "multiple": config.multiple,
        "contrast": "dark",
        "network": config.as_dict(),
        "training": {
            "steps": saved["steps"],
            "samples": saved["steps"] * saved["settings"]["batch"],
            "simulated_scenes": SCENES_PER_SHARD * len(saved["seen"]),
            **{k: v for k, v in saved["settings"].items() if k.endswith("_share")},
            "seed": saved["settings"]["seed"],
            "good_bias": good_bias,
            "sharpness": sharpness,
        },
    }
    return export_onnx(net, onnx, about)
