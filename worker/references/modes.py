"""The modes of a class: the centres of its clusters in latent space (MGD3, arXiv 2505.18963)."""

import torch
from jaxtyping import Float
from torch import Tensor

from worker.kmeans import clusters
from worker.seeds import seed_of


def modes(latents: Float[Tensor, "n c h w"], count: int, *, class_name: str) -> Float[Tensor, "count c h w"]:
    """The centres of `count` k-means clusters of n >= 1 latents of a class: one mode per synthetic
    image.

    If n <= count, every latent is a mode, and they repeat from the first. The modes depend on the
    class name and the images, not on the seed of the job.
    """
    n = len(latents)
    if n <= count:
        return latents[torch.arange(count, device=latents.device) % n]
    centres, _ = clusters(latents.flatten(1).cpu().numpy(), count, seed_of("modes", class_name))
    return torch.from_numpy(centres).to(latents).view(count, *latents.shape[1:])
