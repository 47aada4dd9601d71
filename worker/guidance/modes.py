"""The modes of a class: where its images gather in latent space (MGD3, arXiv 2505.18963)."""

import torch
from jaxtyping import Float
from torch import Tensor

from worker.guidance.clusters import clusters
from worker.seeds import seed_of


def modes(latents: Float[Tensor, "n c h w"], count: int, *, class_name: str) -> Float[Tensor, "count c h w"]:
    """The centres of `count` k-means clusters of the n >= 1 latents of a class's `candidates`, one for each image to be made.

    A class of no more than `count` images has each of them as a mode, from the first again when they run out. The modes follow
    from the class name and the images, not from the job's seed.
    """
    n = len(latents)
    if n <= count:
        return latents[torch.arange(count, device=latents.device) % n]
    centres, _ = clusters(latents.flatten(1).cpu().numpy(), count, seed_of("modes", class_name))
    return torch.from_numpy(centres).to(latents).view(count, *latents.shape[1:])
