"""Compute the features of the real images of one class, in batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from app.domain.spec.guidance import Features
from app.domain.spec.reference import Reference, ReferenceSelection
from worker.backbones.base import Backbone, Hidden, Timestep, timestep_zero
from worker.backbones.precision import not_finite
from worker.datasets.base import Indices, Split
from worker.datasets.tensors import to_tensor
from worker.progress import Heartbeat
from worker.references.base import ClassImages, ReferencePlan
from worker.references.feature_map import FeatureMap, distance_error
from worker.references.selection import candidates, choose, choose_at_random, drawn, noise
from worker.references.thumbnails import thumbnails

PROBES = 3  # timesteps at which the probe images are measured
PROBE_IMAGES = 1024  # of a larger class, this many are drawn; twice the references if that is more
REFERENCE_NOISE = "reference-noise"
COMPARED = 32  # reference images between which the error of the projection is measured


@torch.no_grad()
def encoded(
    backbone: Backbone, split: Split, positions: Indices, *, batch: int, heartbeat: Heartbeat
) -> Float[Tensor, "n c h w"]:
    """Latents of the images at `positions`.

    They stay on the CPU, because those of a class may not fit on the device.
    """
    latents = []
    for start in range(0, len(positions), batch):
        pixels = split.images(positions[start : start + batch])
        latents.append(backbone.encode(to_tensor(pixels).to(backbone.device)).cpu())
        heartbeat()
    return torch.cat(latents)


@dataclass(frozen=True, eq=False)
class RealFeatures:
    """The features of the reference images and the probe images of a class, one matrix per
    timestep.

    Everything is computed on demand, one matrix at a time. `heartbeat` is called after each batch.
    Raises BackboneRejected if a feature is not finite.
    """

    plan: ReferencePlan
    backbone: Backbone
    class_images: ClassImages
    batch: int
    heartbeat: Heartbeat

    def references(self) -> Iterator[Float[Tensor, "m d"]]:
        """phi(x_t^i, t, c) at each timestep, x_t^i a reference image noised to t (DAP, eq. 8); then
        at 0 without noise.
        """
        for t in self.plan.timesteps:
            yield self._features(self._reference_latents, t, self._noise(self._reference_latents, t))
        yield self._features(self._reference_latents, self._zero)

    def probes(self) -> Iterator[Float[Tensor, "p d"]]:
        """The same for the probe images at `probe_timesteps`, with a noise of their own."""
        for t in self.probe_timesteps:
            yield self._features(self._probe_latents, t, self._noise(self._probe_latents, t, use="probe-noise"))

    def thumbnails(self) -> Float[Tensor, "m k"]:
        """Thumbnails of the reference images."""
        return thumbnails(self._reference_latents)

    @property
    def reference_count(self) -> int:
        return references_of(self.plan.reference, len(self.class_images.split))

    @property
    def probe_count(self) -> int:
        return probed_of(self.plan.reference, len(self.class_images.split)) if self.plan.timesteps else 0

    @property
    def probe_timesteps(self) -> Sequence[Timestep]:
        """PROBES of the timesteps; none unless the job asks for probes and the references are only
        a part of the class.
        """
        return spread(self.plan.timesteps, PROBES) if self.probe_count else ()

    def widths(self) -> tuple[int, ...]:
        """The number of columns of each tap."""
        return self._map.widths(next(self._hidden(self._reference_latents[:1], self._zero)))

    def projection_error(self) -> tuple[float, float] | None:
        """Mean and largest relative error of the distance of two images at one tap; None where
        features are not projected.

        It is measured between the first COMPARED reference images, clean and at PROBES of the
        timesteps.
        """
        if self._map.kind is not Features.PROJECTED:
            return None
        compared = self._reference_latents[:COMPARED]
        errors = self._errors(compared, self._zero)
        for t in spread(self.plan.timesteps, PROBES):
            errors += self._errors(compared, t, self._noise(self._reference_latents, t)[:COMPARED])
        means, largest = zip(*errors, strict=True)
        return sum(means) / len(means), max(largest)

    def _errors(self, latents: Tensor, t: Timestep, eps: Tensor | None = None) -> list[tuple[float, float]]:
        return [self._error(block, latents, t, eps) for block in self.plan.tap.block_numbers]

    def _error(self, block: int, latents: Tensor, t: Timestep, eps: Tensor | None) -> tuple[float, float]:
        """One tap at a time: whole hidden states are large, and those of all taps may not fit on
        the device.
        """
        batches = [state for (state,) in self._hidden(latents, t, eps, [block])]
        hidden = torch.cat(batches).to(self.backbone.latent_dtype)
        return distance_error(self._map((hidden,)), hidden.flatten(1))

    @property
    def _map(self) -> FeatureMap:
        return self.plan.tap.feature_map

    @property
    def _zero(self) -> Timestep:
        return timestep_zero(self.backbone)

    @property
    def _reference_latents(self) -> Float[Tensor, "m c h w"]:
        return self._latents[0]

    @property
    def _probe_latents(self) -> Float[Tensor, "p c h w"]:
        return self._latents[1]

    @cached_property
    def _latents(self) -> tuple[Tensor, Tensor]:
        """Latents of the reference images and of the probe images.

        Each image is read and encoded once.
        """
        n, name, reference = len(self.class_images.split), self.class_images.class_name, self.plan.reference
        probed = drawn(n, self.probe_count, "probes", name) if self.probe_count else np.arange(0)
        considered = candidates(n, name)
        chosen: np.ndarray | None = None
        if reference.selection is ReferenceSelection.RANDOM or len(considered) <= reference.count:
            chosen = considered = considered[choose_at_random(len(considered), reference.count, class_name=name)]
        needed = np.union1d(considered, probed)
        latents = encoded(self.backbone, self.class_images.split, needed, batch=self.batch, heartbeat=self.heartbeat)
        if chosen is None:
            considered_latents = latents[np.searchsorted(needed, considered)]
            chosen = considered[choose(considered_latents, reference.count, reference.selection, class_name=name)]
        return latents[np.searchsorted(needed, chosen)], latents[np.searchsorted(needed, probed)]

    def _noise(self, latents: Tensor, t: Timestep, *, use: str = REFERENCE_NOISE) -> Tensor:
        return noise(latents.shape, self.class_images.class_name, t.item(), use=use).to(latents)

    def _features(self, latents: Tensor, t: Timestep, eps: Tensor | None = None) -> Float[Tensor, "n d"]:
        rows = [self._map(hidden).to("cpu", self.backbone.latent_dtype) for hidden in self._hidden(latents, t, eps)]
        features = torch.cat(rows)
        if not features.isfinite().all():
            blocks = ", ".join(self.backbone.info.block_names[number - 1] for number in self.plan.tap.block_numbers)
            where = f"for {self.class_images.class_name!r} after block {blocks} at timestep {t.item()}"
            raise not_finite(self.backbone.info.name, self.backbone.dtype, where)
        return features

    @torch.no_grad()
    def _hidden(
        self, latents: Tensor, t: Timestep, eps: Tensor | None = None, block_numbers: Sequence[int] = ()
    ) -> Iterator[Hidden]:
        """The tapped hidden states of the latents, batch after batch; noised to t if `eps` is
        given.
        """
        for start in range(0, len(latents), self.batch):
            x = latents[start : start + self.batch].to(self.backbone.device)
            if eps is not None:
                x = self.backbone.add_noise(x, eps[start : start + self.batch].to(x), t)
            conditions = self.class_images.conditions.repeat(len(x))
            yield self.backbone.hidden(x, t, conditions, block_numbers or self.plan.tap.block_numbers)
            self.heartbeat()


def references_of(reference: Reference, images: int) -> int:
    """How many of the images of a class stand for it."""
    return min(images, reference.count)


def probed_of(reference: Reference, images: int) -> int:
    """How many images of a class measure the error of its references; 0 if not asked for, or if the
    references are all.
    """
    asked = reference.probes and images > reference.count
    return min(images, max(PROBE_IMAGES, 2 * reference.count)) if asked else 0


def spread(timesteps: Sequence[Timestep], count: int) -> Sequence[Timestep]:
    """`count` of the timesteps, each from the middle of one of `count` equal parts; all of them if
    there are no more.
    """
    n = len(timesteps)
    return [timesteps[i] for i in sorted({int((part + 0.5) * n / count) for part in range(count)})] if n else []
