"""Which real images stand for their class."""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from app.domain.spec import ReferenceSelection
from worker.guidance.clusters import nearest_to_centres
from worker.seeds import generator, seed_of


def choose(
    latents: Float[Tensor, "n c h w"], count: int, selection: ReferenceSelection, *, class_name: str
) -> Int64[np.ndarray, " m"]:
    """Ascending positions of `count` latents that stand for all n of a class; all of them if there are no more.

    The choice depends on the class name and the images, not on the job's seed, so jobs can share what follows from it.
    """
    n = len(latents)
    if n <= count:
        return np.arange(n)
    if selection is ReferenceSelection.RANDOM:
        return np.sort(torch.randperm(n, generator=generator("reference", class_name))[:count].numpy())
    return nearest_to_centres(latents.flatten(1).cpu().numpy(), count, seed_of("reference", class_name))


def noise(shape: torch.Size, class_name: str, t: int) -> Float[Tensor, "n c h w"]:
    """The noise that carries a class's reference images to timestep t: drawn once per timestep and kept.

    A deviation from Algorithm 1, which draws afresh at every step; on digits it costs nothing (docs/mathematics.md).
    """
    return torch.randn(shape, generator=generator("reference-noise", class_name, t))
