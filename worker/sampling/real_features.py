"""Features of the real images of one class, computed in batches."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from app.domain.conditions import Condition
from app.domain.spec import DistillationSpec, Features, Reference, ReferenceSelection
from worker.backbones.base import Backbone, Conditions, Hidden, Timestep
from worker.backbones.precision import not_finite
from worker.datasets.base import Indices, Split
from worker.datasets.tensors import to_tensor
from worker.guidance.features import FeatureMap, distance_error
from worker.guidance.reference import candidates, choose, choose_at_random, drawn, noise
from worker.sampling.denoise import timestep_zero
from worker.sampling.thumbnails import thumbnails

PROBES = 3  # timesteps at which the whole class is looked at
PROBE_IMAGES = 1024  # of a larger class as many, drawn by seed; twice the references, if that is more
REFERENCE_NOISE = "reference-noise"
COMPARED = 32  # reference images between which the projection's error is measured

Tick = Callable[[], None]


@dataclass(frozen=True, eq=False)
class ClassImages:
    """The training images of one class, what the backbone is told to draw for it (one row), and the digest of the images.

    `dataset` is the URI that they were read from: all classes of a dataset have it in common, whichever of them a job reads.
    """

    class_name: str
    condition: Condition
    conditions: Conditions
    split: Split
    digest: str
    dataset: str


@torch.no_grad()
def encoded(backbone: Backbone, split: Split, positions: Indices, *, batch: int, tick: Tick) -> Float[Tensor, "n c h w"]:
    """Latents of the images at `positions`, kept on the CPU: those of a class need not fit on the device at once."""
    latents = []
    for start in range(0, len(positions), batch):
        pixels = split.images(positions[start : start + batch])
        latents.append(backbone.encode(to_tensor(pixels).to(backbone.device)).cpu())
        tick()
    return torch.cat(latents)


@dataclass(frozen=True, eq=False)
class RealFeatures:
    """The features of a class's reference images and probes, one block per timestep.

    Nothing is computed before it is asked for, and no more than one block is held at a time. `tick` is called after each
    batch. Raises BackboneRejected where a feature is not finite.
    """

    spec: DistillationSpec
    backbone: Backbone
    of: ClassImages
    timesteps: Sequence[Timestep]
    taps: Sequence[int]
    batch: int
    tick: Tick

    def references(self) -> Iterator[Float[Tensor, "m d"]]:
        """phi(x_t^i, t, c) at each timestep, x_t^i a reference image noised to t (DAP, eq. 8), then at 0 without noise."""
        for t in self.timesteps:
            yield self._features(self._references, t, self._noise(self._references, t))
        yield self._features(self._references, self._zero)

    def probes(self) -> Iterator[Float[Tensor, "p d"]]:
        """The same of the probe images at `probe_timesteps`, with noise of their own."""
        for t in self.probe_timesteps:
            yield self._features(self._probed, t, self._noise(self._probed, t, use="probe-noise"))

    def thumbnails(self) -> Float[Tensor, "m k"]:
        """Those of the reference images."""
        return thumbnails(self._references)

    @property
    def reference_count(self) -> int:
        return references_of(self.spec.reference, len(self.of.split))

    @property
    def probe_count(self) -> int:
        return probed_of(self.spec.reference, len(self.of.split)) if self.timesteps else 0

    @property
    def probe_timesteps(self) -> Sequence[Timestep]:
        """PROBES of the timesteps; none unless asked for, and where the reference images are the whole class."""
        return spread(self.timesteps, PROBES) if self.probe_count else ()

    def widths(self) -> tuple[int, ...]:
        """How many columns of the features each tap has."""
        return self._map.widths(next(self._hidden(self._references[:1], self._zero)))

    def projection_error(self) -> tuple[float, float] | None:
        """Mean and largest relative error of the distance of two images at one tap; None where features are not projected.

        Measured between the first COMPARED reference images, clean and at PROBES of the timesteps.
        """
        if self.spec.guidance.features is not Features.PROJECTED:
            return None
        some = self._references[:COMPARED]
        errors = self._errors(some, self._zero)
        for t in spread(self.timesteps, PROBES):
            errors += self._errors(some, t, self._noise(self._references, t)[:COMPARED])
        means, largest = zip(*errors, strict=True)
        return sum(means) / len(means), max(largest)

    def _errors(self, latents: Tensor, t: Timestep, eps: Tensor | None = None) -> list[tuple[float, float]]:
        return [self._error(tap, latents, t, eps) for tap in self.taps]

    def _error(self, tap: int, latents: Tensor, t: Timestep, eps: Tensor | None) -> tuple[float, float]:
        """At one tap: hidden states as a whole are large, and those of all taps need not fit on the device."""
        hidden = torch.cat([of_batch for (of_batch,) in self._hidden(latents, t, eps, [tap])]).to(self.backbone.latent_dtype)
        return distance_error(self._map((hidden,)), hidden.flatten(1))

    @property
    def _map(self) -> FeatureMap:
        return FeatureMap(self.spec.guidance.features, self.spec.guidance.projection)

    @property
    def _zero(self) -> Timestep:
        return timestep_zero(self.backbone)

    @property
    def _references(self) -> Float[Tensor, "m c h w"]:
        return self._latents[0]

    @property
    def _probed(self) -> Float[Tensor, "p c h w"]:
        return self._latents[1]

    @cached_property
    def _latents(self) -> tuple[Tensor, Tensor]:
        """Those of the reference images and those of the probe images; each image is read and encoded once."""
        n, name, reference = len(self.of.split), self.of.class_name, self.spec.reference
        probed = drawn(n, self.probe_count, "probes", name) if self.probe_count else np.arange(0)
        considered = candidates(n, name)
        chosen: np.ndarray | None = None
        if reference.selection is ReferenceSelection.RANDOM or len(considered) <= reference.count:
            chosen = considered = considered[choose_at_random(len(considered), reference.count, class_name=name)]
        needed = np.union1d(considered, probed)
        latents = encoded(self.backbone, self.of.split, needed, batch=self.batch, tick=self.tick)
        if chosen is None:
            those = latents[np.searchsorted(needed, considered)]
            chosen = considered[choose(those, reference.count, reference.selection, class_name=name)]
        return latents[np.searchsorted(needed, chosen)], latents[np.searchsorted(needed, probed)]

    def _noise(self, latents: Tensor, t: Timestep, *, use: str = REFERENCE_NOISE) -> Tensor:
        return noise(latents.shape, self.of.class_name, t.item(), use=use).to(latents)

    def _features(self, latents: Tensor, t: Timestep, eps: Tensor | None = None) -> Float[Tensor, "n d"]:
        rows = [self._map(hidden).to("cpu", self.backbone.latent_dtype) for hidden in self._hidden(latents, t, eps)]
        features = torch.cat(rows)
        if not features.isfinite().all():
            where = f"block {', '.join(self.backbone.taps[tap - 1] for tap in self.taps)} at timestep {t.item()}"
            raise not_finite(self.backbone.name, self.backbone.dtype, f"for {self.of.class_name!r} after {where}")
        return features

    @torch.no_grad()
    def _hidden(self, latents: Tensor, t: Timestep, eps: Tensor | None = None, taps: Sequence[int] = ()) -> Iterator[Hidden]:
        """The tapped hidden states of the latents, noised to t if there is noise, batch after batch."""
        for start in range(0, len(latents), self.batch):
            x = latents[start : start + self.batch].to(self.backbone.device)
            if eps is not None:
                x = self.backbone.add_noise(x, eps[start : start + self.batch].to(x), t)
            yield self.backbone.hidden(x, t, self.of.conditions.repeat(len(x)), taps or self.taps)
            self.tick()


def references_of(reference: Reference, images: int) -> int:
    """How many of a class's images stand for it."""
    return min(images, reference.count)


def probed_of(reference: Reference, images: int) -> int:
    """How many of a class's images show what its references are worth; 0 where these are all, or where nobody asked."""
    asked = reference.probes and images > reference.count
    return min(images, max(PROBE_IMAGES, 2 * reference.count)) if asked else 0


def spread(timesteps: Sequence[Timestep], count: int) -> Sequence[Timestep]:
    """`count` of the timesteps, each in the middle of one of as many equal parts; all of them if there are no more."""
    n = len(timesteps)
    return [timesteps[i] for i in sorted({int((part + 0.5) * n / count) for part in range(count)})] if n else []
