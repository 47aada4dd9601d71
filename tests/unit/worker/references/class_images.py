"""A backbone that is a formula, and classes of random images: what references are made of, without a network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from app.domain.backbone import BackboneInfo, Family
from app.domain.class_conditioning import Condition
from app.domain.spec.job_spec import DistillationSpec
from app.domain.spec.sampling import Sampling
from worker.backbones.base import Backbone, Conditions, Denoised, Hidden
from worker.backbones.stepper import Stepper
from worker.datasets.base import Split, in_memory
from worker.references.base import ClassImages, ReferencePlan, TapPoint
from worker.references.feature_map import FeatureMap

SIDE, TOKENS, CHANNELS = 4, 16, 3


def known(*, flow: bool = False) -> BackboneInfo:
    family = Family.STABLE_DIFFUSION_3 if flow else Family.DIT
    blocks = ("one", "two", "three")
    return BackboneInfo(name="formula", family=family, block_names=blocks, image_size=SIDE, channels=1, label_count=10)


@dataclass
class Formula(Backbone):
    """phi_l(x, t, c) = scale sin(l x + phase of t, c and channel); latents are the images, and tokens their pixels.

    `encoded` and `passes` are the sizes of the batches it got, `seen` the timesteps and latents of the latter.
    """

    revision: str = "1"
    info: BackboneInfo = field(default_factory=lambda: known())
    latent_dtype: torch.dtype = torch.float32
    dtype: torch.dtype = torch.float32
    scale: float = 1.0
    width: int = CHANNELS
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    latent_shape: tuple[int, int, int] = (1, SIDE, SIDE)
    compiled: bool = False
    encoded: list[int] = field(default_factory=list)
    passes: list[int] = field(default_factory=list)
    seen: list[tuple[float, Tensor]] = field(default_factory=list)

    def encode(self, images: Tensor) -> Tensor:
        self.encoded.append(len(images))
        return images.to(self.latent_dtype)

    def add_noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        part = t.item() / 1000
        return (1 - part) * x0 + part * eps

    def hidden(self, x_t: Tensor, t: Tensor, conditions: Conditions, block_numbers: Sequence[int]) -> Hidden:
        self.passes.append(len(x_t))
        self.seen.append((t.item(), x_t))
        (c,) = conditions.given
        phase = t / 1000 + c[:, None, None] + torch.arange(self.width)
        return tuple(self.scale * torch.sin(tap * x_t.flatten(1)[:, :, None] + phase) for tap in block_numbers)

    def stepper(self, sampling: Sampling) -> Stepper:
        raise NotImplementedError

    def decode(self, latents: Tensor) -> Tensor:
        raise NotImplementedError

    def predicted_x0(self, x_t: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        raise NotImplementedError

    def posterior_std(self, t: Tensor, t_prev: Tensor | None) -> float:
        raise NotImplementedError

    def conditions(self, given: Sequence[Condition], negative: str | None = None) -> Conditions:
        raise NotImplementedError

    def denoise(
        self, x_t: Tensor, t: Tensor, conditions: Conditions, cfg_scale: float, block_numbers: Sequence[int]
    ) -> Denoised:
        raise NotImplementedError


class Unplugged(Formula):
    """Must not be asked to compute."""

    def encode(self, images: Tensor) -> Tensor:
        raise AssertionError("an image was encoded")

    def hidden(self, x_t: Tensor, t: Tensor, conditions: Conditions, block_numbers: Sequence[int]) -> Hidden:
        raise AssertionError("the network was run")


def class_images(
    count: int = 20,
    *,
    class_name: str = "cat",
    condition: Condition = 3,
    digest: str = "d1",
    dataset: str = "file:///set",
    first: int = 0,
    read: Callable[[np.ndarray], np.ndarray] | None = None,
) -> ClassImages:
    """Random images named by their numbers from `first`; `read` in place of their pixels."""
    pixels = np.random.default_rng(1).integers(0, 256, (count, SIDE, SIDE, 1), dtype=np.uint8)
    names = [f"{first + number}.png" for number in range(count)]
    split = in_memory(pixels, np.zeros(count), names)
    if read is not None:
        split = Split(split.labels, split.names, read)
    row = (torch.tensor([float(len(str(condition)))]),)
    return ClassImages(class_name, condition, Conditions(row, row), split, digest, dataset)


def steps(*numbers: float) -> list[Tensor]:
    """Timesteps as a scheduler gives them."""
    return [torch.tensor(number) for number in numbers]


def plan_of(spec: DistillationSpec, timesteps: Sequence[Tensor], taps: Sequence[int]) -> ReferencePlan:
    """The spec's reference images, with features at these blocks and timesteps."""
    tap = TapPoint(tuple(taps), FeatureMap(spec.guidance.features, spec.guidance.projection))
    return ReferencePlan(spec.reference, tap, tuple(timesteps))
