"""Cache the features of real images on disk, so that jobs and workers of a machine compute them
once.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import structlog
import torch
from jaxtyping import Float
from torch import Tensor

from app.domain.spec.guidance import Features
from worker.backbones.base import Backbone, Timestep
from worker.disk_cache import DiskCache
from worker.progress import Heartbeat
from worker.references.base import ClassImages, ReferencePlan, ReferenceReport
from worker.references.feature_file import ExactFeatures, FeatureSeries, load, quantise, save
from worker.references.features import RealFeatures, encoded
from worker.references.modes import modes
from worker.references.selection import candidates

FORMAT = 2  # raise it when the numbers or the files change their meaning; entries of other formats are not found
LIBRARIES = ("torch", "diffusers", "transformers", "scikit-learn", "pillow")
REPORT, FEATURES, PROBED, THUMBNAILS, MODES = "about.json", "features", "probes", "thumbnails.npy", "modes.npy"
SCAN_DIGITS = 16

Found = TypeVar("Found")

log = structlog.get_logger()


@dataclass(frozen=True, eq=False)
class CachedFeatures:
    """Features of the m reference images of a class at each timestep, and of its probe images at a
    few of them.
    """

    report: ReferenceReport
    device: torch.device
    dtype: torch.dtype
    timesteps: tuple[int | float, ...]
    probe_timesteps: tuple[int | float, ...]
    features: FeatureSeries
    probes: FeatureSeries
    thumbnails: Float[Tensor, "m k"]

    def at(self, t: Timestep) -> Float[Tensor, "m d"]:
        """phi(x_t^i, t, c) of the reference images (DAP, eq. 8).

        Raises ValueError for a timestep that is not in the plan.
        """
        if t.item() not in self.timesteps:
            raise ValueError(f"there are no reference features at timestep {t.item()}")
        return self.features.matrix(self.timesteps.index(t.item()), self.device, self.dtype)

    @property
    def clean(self) -> Float[Tensor, "m d"]:
        """Features of the reference images at timestep 0 without noise."""
        return self.features.matrix(len(self.timesteps), self.device, self.dtype)

    def probe_at(self, t: Timestep) -> Float[Tensor, "p d"] | None:
        """Features of the probe images at t; None at most timesteps, and if there are no probes."""
        if t.item() not in self.probe_timesteps:
            return None
        return self.probes.matrix(self.probe_timesteps.index(t.item()), self.device, self.dtype)


def reference_features(
    plan: ReferencePlan,
    backbone: Backbone,
    class_images: ClassImages,
    *,
    cache: DiskCache | None,
    batch: int,
    heartbeat: Heartbeat,
) -> CachedFeatures:
    """Features of the reference images of the class: from the cache, else computed `batch` images
    at a time.

    They are quantised to float16 (see `quantised`), whether made, found, or kept in memory because
    the disk refused them. Only without a cache are they exact. `heartbeat` is called at least once
    per batch and may raise to stop. Raises BackboneRejected if a feature is not finite,
    DatasetRejected if an image can no longer be read.
    """
    real = RealFeatures(plan, backbone, class_images, batch, heartbeat)
    if cache is None:
        return _result(
            real, _about(real), ExactFeatures(list(real.references())), ExactFeatures(list(real.probes())), real.thumbnails()
        )
    return _cached(
        cache,
        features_key(plan, backbone, class_images, batch),
        make=lambda folder: _write(real, folder),
        opened=lambda folder: _open(real, folder),
        without=lambda: _result(
            real, _about(real), quantise(real.references()), quantise(real.probes()), _as_float16(real.thumbnails())
        ),
        heartbeat=heartbeat,
    )


def class_modes(
    count: int, backbone: Backbone, class_images: ClassImages, *, cache: DiskCache | None, batch: int, heartbeat: Heartbeat
) -> Float[Tensor, "count c h w"]:
    """`count` modes of the latents of the candidates of a class, through the same cache."""

    def computed() -> np.ndarray:
        split, name = class_images.split, class_images.class_name
        latents = encoded(backbone, split, candidates(len(split), name), batch=batch, heartbeat=heartbeat)
        return modes(latents, count, class_name=name).numpy()

    if cache is None:
        found = computed()
    else:
        found = _cached(
            cache,
            modes_key(count, backbone, class_images, batch),
            make=lambda folder: np.save(folder / MODES, computed()),
            opened=lambda folder: np.load(folder / MODES, allow_pickle=False),
            without=computed,
            heartbeat=heartbeat,
        )
    return torch.from_numpy(found).to(backbone.device, backbone.latent_dtype)


def features_key(plan: ReferencePlan, backbone: Backbone, class_images: ClassImages, batch: int) -> str:
    """SHA-256 of everything the features depend on.

    IPC, kernel, objective, scale and seed are not part of it.

    The digits before the dash are the same for all classes of a dataset. A job reads these entries
    one after another, as one scan (see DiskCache).
    """
    feature_map, reference = plan.tap.feature_map, plan.reference
    of_dataset = _shared_identity(backbone, batch) | {
        "kind": "features",
        "dataset": class_images.dataset_uri,
        "taps": list(plan.tap.block_numbers),
        "features": feature_map.kind,
        "projection": feature_map.dimensions if feature_map.kind is Features.PROJECTED else None,
        "reference": [reference.count, reference.selection, reference.probes],
        "timesteps": [t.item() for t in plan.timesteps],
    }
    of_class = of_dataset | _class_identity(class_images) | {"condition": class_images.condition}
    return f"{_digest(of_dataset)[:SCAN_DIGITS]}-{_digest(of_class)}"


def modes_key(count: int, backbone: Backbone, class_images: ClassImages, batch: int) -> str:
    """SHA-256 of everything the modes depend on."""
    identity = _shared_identity(backbone, batch) | _class_identity(class_images)
    return _digest(identity | {"kind": "modes", "count": count})


def _class_identity(class_images: ClassImages) -> dict[str, Any]:
    """The images of the class. Their names say which of them are in the training split."""
    return {"class": class_images.class_name, "images": list(class_images.split.names), "digest": class_images.digest}


def _shared_identity(backbone: Backbone, batch: int) -> dict[str, Any]:
    """What latents depend on, besides the images."""
    return {
        "format": FORMAT,
        "libraries": [version(name) for name in LIBRARIES],
        "revision": backbone.revision,
        "dtypes": [str(backbone.dtype), str(backbone.latent_dtype)],
        "computed": [backbone.device.type, torch.get_num_threads(), backbone.compiled, batch],
    }


def _digest(identity: Mapping[str, Any]) -> str:
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _cached(
    cache: DiskCache,
    key: str,
    *,
    make: Callable[[Path], None],
    opened: Callable[[Path], Found],
    without: Callable[[], Found],
    heartbeat: Heartbeat,
) -> Found:
    """The entry as `opened` returns it; what `without` returns where the disk refuses the entry."""
    try:
        return cache.read(key, make, opened, heartbeat)
    except OSError as error:
        log.warning("references.not_cached", key=key, reason=str(error))
    return without()


def _write(real: RealFeatures, folder: Path) -> None:
    about = _about(real)
    about["exponents"] = save(folder, FEATURES, real.references(), len(real.plan.timesteps) + 1)
    if real.probe_timesteps:
        about["probe_exponents"] = save(folder, PROBED, real.probes(), len(real.probe_timesteps))
    np.save(folder / THUMBNAILS, real.thumbnails().half().numpy(), allow_pickle=False)
    (folder / REPORT).write_text(json.dumps(about))


def _open(real: RealFeatures, folder: Path) -> CachedFeatures:
    about = json.loads((folder / REPORT).read_text())
    exponents, probe_exponents = about.pop("exponents"), about.pop("probe_exponents", ())
    width = sum(about["widths"])
    features = load(folder, FEATURES, exponents, about["references"], width)
    probes = load(folder, PROBED, probe_exponents, about["probed"], width) if probe_exponents else quantise(())
    return _result(real, about, features, probes, _thumbnails(folder, about["references"]))


def _as_float16(thumbnails: Float[Tensor, "m k"]) -> Float[Tensor, "m k"]:
    """The values that a float16 file returns."""
    return thumbnails.half().float()


def _thumbnails(folder: Path, rows: int) -> Float[Tensor, "m k"]:
    """Raises OSError, EOFError or ValueError if the file is incomplete."""
    stored = np.load(folder / THUMBNAILS, allow_pickle=False)
    if stored.dtype != np.float16 or len(stored) != rows:
        raise ValueError(f"{THUMBNAILS} holds {stored.dtype} {stored.shape}")
    return torch.from_numpy(stored).float()


def _about(real: RealFeatures) -> dict[str, Any]:
    """A report without its size, as the cache stores it."""
    mean, largest = real.projection_error() or (None, None)
    return {
        "images": len(real.class_images.split),
        "references": real.reference_count,
        "probed": real.probe_count,
        "widths": list(real.widths()),
        "projection_error_mean": mean,
        "projection_error_max": largest,
    }


def _result(
    real: RealFeatures,
    about: Mapping[str, Any],
    features: FeatureSeries,
    probes: FeatureSeries,
    thumbnails: Float[Tensor, "m k"],
) -> CachedFeatures:
    size_bytes = features.size_bytes + probes.size_bytes + thumbnails.numel() * np.dtype(np.float16).itemsize
    return CachedFeatures(
        report=ReferenceReport(**{**about, "widths": tuple(about["widths"]), "bytes": size_bytes}),
        device=real.backbone.device,
        dtype=real.backbone.latent_dtype,
        timesteps=tuple(t.item() for t in real.plan.timesteps),
        probe_timesteps=tuple(t.item() for t in real.probe_timesteps),
        features=features,
        probes=probes,
        thumbnails=thumbnails,
    )
