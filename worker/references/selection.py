"""Select the real images that stand for their class, and draw the noise that carries them to a
timestep.
"""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from app.domain.spec.reference import ReferenceSelection
from worker.kmeans import nearest_to_centres
from worker.seeds import generator, seed_of

MOST_CANDIDATES = 4096


def drawn(n: int, most: int, *parts: str) -> Int64[np.ndarray, " k"]:
    """Ascending positions of `most` of n images, drawn with a seed from `parts`; all n if there are
    no more.
    """
    if n <= most:
        return np.arange(n)
    return np.sort(torch.randperm(n, generator=generator(*parts))[:most].numpy())


def candidates(n: int, class_name: str) -> Int64[np.ndarray, " k"]:
    """Ascending positions of the images among which the references are chosen: at most
    MOST_CANDIDATES of the n of a class.

    The limit bounds the time and memory of the choice. The draw depends on the class name alone.
    """
    return drawn(n, MOST_CANDIDATES, "candidates", class_name)


def choose(
    latents: Float[Tensor, "n c h w"], count: int, selection: ReferenceSelection, *, class_name: str
) -> Int64[np.ndarray, " m"]:
    """Ascending positions of the `count` latents that stand for the n candidates of a class; all n
    if there are no more.

    The choice depends on the class name and the images, not on the seed of the job, so jobs can
    share the features.
    """
    if selection is ReferenceSelection.RANDOM or len(latents) <= count:
        return choose_at_random(len(latents), count, class_name=class_name)
    return nearest_to_centres(latents.flatten(1).cpu().numpy(), count, seed_of("reference", class_name))


def choose_at_random(n: int, count: int, *, class_name: str) -> Int64[np.ndarray, " m"]:
    """What `choose` returns for n latents where it does not need their values."""
    return drawn(n, count, "reference", class_name)


def noise(shape: torch.Size, class_name: str, t: int | float, *, use: str = "reference-noise") -> Float[Tensor, "n c h w"]:
    """The noise that carries the reference images of a class to timestep t.

    It is drawn once per timestep.

    `t` is `timestep.item()`: 7 and 7.0 are different timesteps. `use` gives other images a noise of
    their own. This deviates from Algorithm 1 of DAP, which draws afresh at every step; on digits it
    makes no difference (docs/mathematics.md).
    """
    return torch.randn(shape, generator=generator(use, class_name, str(t)))
