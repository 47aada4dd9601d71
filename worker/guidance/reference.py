"""Which real images stand for their class."""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from app.domain.spec import ReferenceSelection
from worker.guidance.clusters import nearest_to_centres
from worker.seeds import generator, seed_of

MOST_CANDIDATES = 4096


def drawn(n: int, most: int, *parts: str) -> Int64[np.ndarray, " k"]:
    """Ascending positions of `most` of n images, drawn by a seed from `parts`; all of them if there are no more."""
    if n <= most:
        return np.arange(n)
    return np.sort(torch.randperm(n, generator=generator(*parts))[:most].numpy())


def candidates(n: int, class_name: str) -> Int64[np.ndarray, " k"]:
    """Ascending positions of the images of a class that are looked at to choose from: no more than MOST_CANDIDATES of n.

    What choosing costs, in time and memory, so has a bound. The draw follows from the class name alone.
    """
    return drawn(n, MOST_CANDIDATES, "candidates", class_name)


def choose(
    latents: Float[Tensor, "n c h w"], count: int, selection: ReferenceSelection, *, class_name: str
) -> Int64[np.ndarray, " m"]:
    """Ascending positions of `count` latents that stand for all n of a class (its `candidates`); all if there are no more.

    The choice depends on the class name and the images, not on the job's seed, so jobs can share what follows from it.
    """
    if selection is ReferenceSelection.RANDOM or len(latents) <= count:
        return choose_at_random(len(latents), count, class_name=class_name)
    return nearest_to_centres(latents.flatten(1).cpu().numpy(), count, seed_of("reference", class_name))


def choose_at_random(n: int, count: int, *, class_name: str) -> Int64[np.ndarray, " m"]:
    """What `choose` gives for n latents where it need not look at them: at random, or of no more than `count`."""
    return drawn(n, count, "reference", class_name)


def noise(shape: torch.Size, class_name: str, t: int | float, *, use: str = "reference-noise") -> Float[Tensor, "n c h w"]:
    """The noise that carries a class's reference images to timestep t: drawn once per timestep and kept.

    A timestep counts as `t.item()`: 7 and 7.0 are two of them. `use` names other images that want noise of their own.
    A deviation from Algorithm 1, which draws afresh at every step; on digits it costs nothing (docs/mathematics.md).
    """
    return torch.randn(shape, generator=generator(use, class_name, str(t)))
