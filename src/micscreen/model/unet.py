"""The network: a small U-Net that reads three channels and answers six logits per pixel.

After Ronneberger et al. 2015 (U-Net), with dilated convolutions at the bottleneck (Yu & Koltun
2016), replicate padding against false areas along borders, and sub-pixel outputs (Shi et al.
2016) in place of layers at full resolution, which would cost most of the time.

torch is imported when the network is built, not when this module is.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from micscreen.errors import MissingDependencyError, ModelError

if TYPE_CHECKING:
    import torch

CLASSES: Final = (
    "good",
    "support_film",
    "ice_contamination",
    "crystalline_ice",
    "aggregate",
    "damaged",
)
"""Order of the logits."""


@dataclass(frozen=True)
class UNetConfig:
    """Everything that fixes the network's shape.

    Attributes
    ----------
    channels
        Input channels.
    classes
        Output channels.
    widths
        Feature channels at 1/2, 1/4, 1/8 and 1/16 of the input's resolution.
    blocks
        Residual blocks at 1/8 on the way down.
    dilations
        Of the residual blocks at the bottleneck.
    """

    channels: int = 3
    classes: int = len(CLASSES)
    widths: tuple[int, int, int, int] = (24, 48, 80, 144)
    blocks: int = 2
    dilations: tuple[int, ...] = (1, 2, 4, 8)

    def __post_init__(self) -> None:
        if len(self.widths) != 4 or min(self.widths) < 1 or self.channels < 1 or self.classes < 2:
            raise ModelError(f"impossible shape of network: {self}")

    @property
    def multiple(self) -> int:
        """Input height and width must be multiples of this."""
        return 16

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for checkpoints."""
        return asdict(self)


def _conv(inner: int, outer: int, stride: int = 1, dilation: int = 1) -> torch.nn.Module:
    """Convolution 3 x 3 with replicated borders, normalisation, rectifier."""
    from torch import nn

    around = {"padding": dilation, "dilation": dilation, "padding_mode": "replicate"}
    layers = nn.Conv2d(inner, outer, 3, stride, bias=False, **around), nn.BatchNorm2d(outer)
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


def _merge(inner: int, outer: int) -> torch.nn.Module:
    """Convolution 1 x 1 and normalisation, before something is added."""
    from torch import nn

    return nn.Sequential(nn.Conv2d(inner, outer, 1, bias=False), nn.BatchNorm2d(outer))


def build_unet(config: UNetConfig | None = None) -> torch.nn.Module:
    """Build the network with fresh weights from torch's current random state.

    Parameters
    ----------
    config
        Its shape; the default is the one that ships.

    Returns
    -------
    A module from float32 (n, 3, h, w) to logits (n, 6, h, w); h and w multiples of 16.
    """
    shape = config or UNetConfig()
    try:
        from torch import nn
    except ImportError as error:
        raise MissingDependencyError(
            "the network needs torch", hint="pip install 'micscreen[train]'"
        ) from error

    class UNet(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.config = shape
            half, quarter, eighth, deep = shape.widths
            self.stem = _conv(shape.channels, half, 2)
            self.down4 = nn.Sequential(_conv(half, quarter, 2), _conv(quarter, quarter))
            self.down8 = _conv(quarter, eighth, 2)
            self.middle = nn.ModuleList(_conv(eighth, eighth) for _ in range(shape.blocks))
            self.down16 = _conv(eighth, deep, 2)
            self.deep = nn.ModuleList(_conv(deep, deep, 1, d) for d in shape.dilations)
            self.up8 = _merge(deep, eighth)
            self.up4 = _merge(eighth, quarter)
            self.mix4 = _conv(quarter, quarter)
            self.up2 = _merge(quarter, half)
            self.mix2 = _conv(half, half)
            self.head = nn.Conv2d(half, 4 * shape.classes, 1)
            self.enlarge = nn.Upsample(scale_factor=2, mode="nearest")
            self.spread = nn.PixelShuffle(2)
            self.relu = nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            half = self.stem(x)  # (n, c2, h/2, w/2)
            quarter = self.down4(half)  # (n, c4, h/4, w/4)
            eighth = self.down8(quarter)  # (n, c8, h/8, w/8)
            for layer in self.middle:
                eighth = eighth + layer(eighth)
            deep = self.down16(eighth)  # (n, c16, h/16, w/16)
            for layer in self.deep:
                deep = deep + layer(deep)
            eighth = self.relu(eighth + self.enlarge(self.up8(deep)))
            quarter = self.mix4(self.relu(quarter + self.enlarge(self.up4(eighth))))
            half = self.mix2(self.relu(half + self.enlarge(self.up2(quarter))))
            return self.spread(self.head(half))  # (n, classes, h, w)

    return UNet()
