"""What training makes small."""

from __future__ import annotations

from typing import Any, Final

IGNORE: Final = 255

BAD_OF_ANY_KIND: Final = 254
"""Label of what is bad without a word about its class; it does not count among the classes."""

CLASS_WEIGHTS: Final = (1.0, 1.0, 2.0, 1.0, 1.5, 1.0)
"""Weight of a pixel in the cross-entropy, by its true class: small objects count more."""


def loss_of(logits: Any, classes: Any) -> Any:
    """BCE of contamination + 0.5 Dice + 0.3 cross-entropy among the bad classes.

    Parameters
    ----------
    logits
        Tensor (n, 6, h, w).
    classes
        Tensor (n, h, w), int64; 254 is bad of any kind, 255 is left out.
    """
    import torch
    from torch.nn import functional

    known = (classes != IGNORE).float()  # (n, h, w)
    bad = ((classes > 0) & (classes != IGNORE)).float()
    odds = torch.logsumexp(logits[:, 1:], dim=1) - logits[:, 0]  # (n, h, w)
    table = torch.ones(256, device=logits.device)
    table[: len(CLASS_WEIGHTS)] = torch.tensor(CLASS_WEIGHTS, device=logits.device)
    weight = table[classes] * known
    entropy = functional.binary_cross_entropy_with_logits(odds, bad, reduction="none")
    cross = (entropy * weight).sum() / weight.sum().clamp(min=1.0)
    chance = torch.sigmoid(odds) * known
    overlap = 2.0 * (chance * bad).sum() + 1.0
    dice = 1.0 - overlap / (chance.sum() + bad.sum() + 1.0)
    among = functional.cross_entropy(
        logits[:, 1:], (classes - 1).clamp(0, logits.shape[1] - 2), reduction="none"
    )
    typed = bad * (classes != BAD_OF_ANY_KIND).float()
    kind = (among * typed).sum() / typed.sum().clamp(min=1.0)
    return cross + 0.5 * dice + 0.3 * kind
