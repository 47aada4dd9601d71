"""Classifier-free guidance (Ho and Salimans, arXiv 2207.12598)."""

from typing import Any

import torch
from torch import Tensor


def guided_prediction(both: Tensor, *, cfg_scale: float, channels: int) -> Tensor:
    """null + cfg_scale (given - null) (eq. 6) of a batch [2n, c2, h, w] whose first half is the
    conditional one.

    A learned variance, the channels after the first `channels`, is that of the conditional half, as
    in the original DiT.
    """
    given, null = both.chunk(2)
    mean = torch.lerp(null[:, :channels], given[:, :channels], cfg_scale)
    return mean if given.shape[1] == channels else torch.cat([mean, given[:, channels:]], 1)


def both_halves(given: Any, null: Any) -> Any:
    """The outputs of a block for both halves as one batch.

    An output is a tensor, or a tuple of outputs.
    """
    if isinstance(given, tuple):
        return tuple(map(both_halves, given, null))
    return None if given is None else torch.cat([given, null])
