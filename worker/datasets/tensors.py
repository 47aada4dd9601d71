"""Convert pixels to the networks' tensors and back."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def to_tensor(images: UInt8[np.ndarray, "n h w c"]) -> Float[Tensor, "n c h w"]:
    """Pixels 0..255 as float32 in [-1, 1], channels first."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1


def to_pixels(images: Float[Tensor, "n c h w"]) -> UInt8[np.ndarray, "n h w c"]:
    """Values in [-1, 1], clamped and rounded to 0..255, channels last."""
    scaled = ((images.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round()
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
