"""What training makes small."""

from __future__ import annotations

from typing import Any, Final

IGNORE: Final = 255

BAD_OF_ANY_KIND: Final = 254
"""Label of what is bad without a word about its class; it does not count among the classes."""

CLASS_WEIGHTS: Final = (1.0, 1.0, 2.0, 1.0, 1.5, 1.0)
"""Weight of a pixel in the cross-entropy, by its true class: small objects count more."""


def loss_of(logits: Any, classes: Any, kinds: float = 0.3) -> Any:
    """BCE of contamination + 0.5 Dice + `kinds` times cross-entropy among the bad classes.

    Half of the last is a mean over pixels, half a mean over the classes that are there, so that
    rare classes are learnt too.

    Parameters
    ----------
    logits
        Tensor (n, 6, h, w).
    classes
        Tensor (n, h, w), int64; 254 is bad of any kind, 255 is left out.
    kinds
        Weight of telling the bad classes apart.
    """
    import torch
    from torch.nn import functional

    known = (classes != IGNORE).float()  # (n, h, w)
    bad = ((classes > 0) & (classes != IGNORE)).float()
    odds = _odds(logits)
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
    each = functional.one_hot((classes - 1).clamp(0, logits.shape[1] - 2), logits.shape[1] - 1)
    each = each * typed[..., None]  # (n, h, w, 5)
    sizes = each.sum((0, 1, 2))
    by_class = (among[..., None] * each).sum((0, 1, 2)) / sizes.clamp(min=1.0)
    kind = 0.5 * (among * typed).sum() / typed.sum().clamp(min=1.0)
    kind = kind + 0.5 * by_class.sum() / (sizes > 0).sum().clamp(min=1)
    return cross + 0.5 * dice + kinds * kind


def disagreement(logits: Any, expected: Any) -> Any:
    """Cross-entropy between the contamination of two answers to the same pictures.

    Parameters
    ----------
    logits
        Tensor (n, 6, h, w), which learns.
    expected
        Tensor (n, 6, h, w), which is taken as it is.
    """
    import torch
    from torch.nn import functional

    return functional.binary_cross_entropy_with_logits(
        _odds(logits), torch.sigmoid(_odds(expected.detach()))
    )


def _odds(logits: Any) -> Any:
    """Return the logit of contamination, (n, h, w)."""
    import torch

    return torch.logsumexp(logits[:, 1:], dim=1) - logits[:, 0]
