"""What sampling needs of a class's real images, computed once and shared by jobs through a cache on disk."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import structlog
import torch
from jaxtyping import Float
from torch import Tensor

from app.domain.spec import DistillationSpec, Features
from worker.backbones.base import Backbone, Timestep
from worker.disk_cache import DiskCache
from worker.guidance.modes import modes
from worker.guidance.reference import candidates
from worker.sampling.blocks import Blocks, Exact, gather, load, save
from worker.sampling.real_features import ClassImages, RealFeatures, Tick, encoded

FORMAT = 2  # raised when the numbers or the files change their meaning: older entries are then no longer found
LIBRARIES = ("torch", "diffusers", "transformers", "scikit-learn", "pillow")
ABOUT, FEATURES, PROBED, THUMBNAILS, MODES = "about.json", "features", "probes", "thumbnails.npy", "modes.npy"
SCAN_DIGITS = 16

Found = TypeVar("Found")

log = structlog.get_logger()


@dataclass(frozen=True, eq=False)
class ReferenceFeatures:
    """Features of the m reference images of a class at each timestep, and of up to PROBE_IMAGES of all at a few of them.

    `thumbnails` are the reference images' own. `widths`: how many columns each tap has. `about` can be written as JSON:
    `images` of the class, `references`, `probed`, `widths`, `bytes`, `projection_error_mean` and `projection_error_max`
    (relative, of distances; None without a projection).
    """

    widths: tuple[int, ...]
    about: Mapping[str, Any]
    device: torch.device
    dtype: torch.dtype
    timesteps: tuple[int | float, ...]
    probe_timesteps: tuple[int | float, ...]
    features: Blocks
    probes: Blocks
    thumbnails: Float[Tensor, "m k"]

    def at(self, t: Timestep) -> Float[Tensor, "m d"]:
        """phi(x_t^i, t, c) of the reference images (DAP, eq. 8). Raises ValueError for a timestep that was not asked for."""
        if t.item() not in self.timesteps:
            raise ValueError(f"there are no reference features at timestep {t.item()}")
        return self.features.block(self.timesteps.index(t.item()), self.device, self.dtype)

    @property
    def clean(self) -> Float[Tensor, "m d"]:
        """The reference images' own features, at timestep 0 and without noise."""
        return self.features.block(len(self.timesteps), self.device, self.dtype)

    def probe_at(self, t: Timestep) -> Float[Tensor, "p d"] | None:
        """Features of the whole class, or a sample of it, at t; None at most timesteps, and where the references are all."""
        if t.item() not in self.probe_timesteps:
            return None
        return self.probes.block(self.probe_timesteps.index(t.item()), self.device, self.dtype)


def reference_features(
    spec: DistillationSpec,
    backbone: Backbone,
    of: ClassImages,
    timesteps: Sequence[Timestep],
    *,
    taps: Sequence[int],
    cache: DiskCache | None,
    batch: int,
    tick: Tick,
) -> ReferenceFeatures:
    """Features of the class's reference images, from the cache if they are there, else computed `batch` images at a time.

    They are those of float16, as `halved` says, whether made, found, or kept in memory because the disk refused them; in full
    precision without a cache. `tick` is called at least once a batch, and may raise to stop.
    Raises BackboneRejected where features are not finite, DatasetRejected where an image can no longer be read.
    """
    real = RealFeatures(spec, backbone, of, tuple(timesteps), tuple(taps), batch, tick)
    if cache is None:
        return _result(real, _about(real), Exact(list(real.references())), Exact(list(real.probes())), real.thumbnails())
    return _cached(
        cache,
        features_key(spec, backbone, of, timesteps, taps, batch),
        make=lambda folder: _write(real, folder),
        opened=lambda folder: _open(real, folder),
        without=lambda: _result(
            real, _about(real), gather(real.references()), gather(real.probes()), _halved(real.thumbnails())
        ),
        tick=tick,
    )


def class_modes(
    spec: DistillationSpec, backbone: Backbone, of: ClassImages, *, cache: DiskCache | None, batch: int, tick: Tick
) -> Float[Tensor, "ipc c h w"]:
    """One mode per synthetic image of the class: `modes` of the latents of its `candidates`, through the same cache."""

    def computed() -> np.ndarray:
        latents = encoded(backbone, of.split, candidates(len(of.split), of.class_name), batch=batch, tick=tick)
        return modes(latents, spec.ipc, class_name=of.class_name).numpy()

    if cache is None:
        found = computed()
    else:
        found = _cached(
            cache,
            modes_key(spec, backbone, of, batch),
            make=lambda folder: np.save(folder / MODES, computed()),
            opened=lambda folder: np.load(folder / MODES, allow_pickle=False),
            without=computed,
            tick=tick,
        )
    return torch.from_numpy(found).to(backbone.device, backbone.latent_dtype)


def features_key(
    spec: DistillationSpec, backbone: Backbone, of: ClassImages, timesteps: Sequence[Timestep], taps: Sequence[int], batch: int
) -> str:
    """SHA-256 of all that the features depend on: not IPC, kernel, objective, scale, or the job's seed.

    Before it, digits that all classes of a dataset share: a job reads these one after another, as a scan (see DiskCache).
    """
    guidance, reference = spec.guidance, spec.reference
    of_all = _shared_identity(backbone, batch) | {
        "kind": "features",
        "dataset": of.dataset,
        "taps": list(taps),
        "features": guidance.features,
        "projection": guidance.projection if guidance.features is Features.PROJECTED else None,
        "reference": [reference.count, reference.selection, reference.probes],
        "timesteps": [t.item() for t in timesteps],
    }
    of_class = of_all | _class_identity(of) | {"condition": of.condition}
    return f"{_digest(of_all)[:SCAN_DIGITS]}-{_digest(of_class)}"


def modes_key(spec: DistillationSpec, backbone: Backbone, of: ClassImages, batch: int) -> str:
    """SHA-256 of all that the modes depend on."""
    identity = _shared_identity(backbone, batch) | _class_identity(of)
    return _digest(identity | {"kind": "modes", "count": spec.ipc})


def _class_identity(of: ClassImages) -> dict[str, Any]:
    """Which images of which class; their names say which of them are for training."""
    return {"class": of.class_name, "images": of.split.names, "digest": of.digest}


def _shared_identity(backbone: Backbone, batch: int) -> dict[str, Any]:
    """What latents follow from, beside the images."""
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
    tick: Tick,
) -> Found:
    """The entry as `opened`; what `without` gives where the disk refuses it."""
    try:
        return cache.read(key, make, opened, tick)
    except OSError as error:
        log.warning("references.not_cached", key=key, reason=str(error))
    return without()


def _write(real: RealFeatures, folder: Path) -> None:
    about = _about(real)
    about["exponents"] = save(folder, FEATURES, real.references(), len(real.timesteps) + 1)
    if real.probe_timesteps:
        about["probe_exponents"] = save(folder, PROBED, real.probes(), len(real.probe_timesteps))
    np.save(folder / THUMBNAILS, real.thumbnails().half().numpy(), allow_pickle=False)
    (folder / ABOUT).write_text(json.dumps(about))


def _open(real: RealFeatures, folder: Path) -> ReferenceFeatures:
    about = json.loads((folder / ABOUT).read_text())
    exponents, probe_exponents = about.pop("exponents"), about.pop("probe_exponents", ())
    width = sum(about["widths"])
    features = load(folder, FEATURES, exponents, about["references"], width)
    probes = load(folder, PROBED, probe_exponents, about["probed"], width) if probe_exponents else gather(())
    return _result(real, about, features, probes, _thumbnails(folder, about["references"]))


def _halved(small: Float[Tensor, "m k"]) -> Float[Tensor, "m k"]:
    """What a file of float16 gives back."""
    return small.half().float()


def _thumbnails(folder: Path, rows: int) -> Float[Tensor, "m k"]:
    """Raises OSError, EOFError or ValueError if the file is not whole."""
    stored = np.load(folder / THUMBNAILS, allow_pickle=False)
    if stored.dtype != np.float16 or len(stored) != rows:
        raise ValueError(f"{THUMBNAILS} holds {stored.dtype} {stored.shape}")
    return torch.from_numpy(stored).float()


def _about(real: RealFeatures) -> dict[str, Any]:
    mean, largest = real.projection_error() or (None, None)
    return {
        "images": len(real.of.split),
        "references": real.reference_count,
        "probed": real.probe_count,
        "widths": list(real.widths()),
        "projection_error_mean": mean,
        "projection_error_max": largest,
    }


def _result(
    real: RealFeatures, about: Mapping[str, Any], features: Blocks, probes: Blocks, small: Float[Tensor, "m k"]
) -> ReferenceFeatures:
    return ReferenceFeatures(
        widths=tuple(about["widths"]),
        about=dict(about) | {"bytes": features.size_bytes + probes.size_bytes + small.numel() * np.dtype(np.float16).itemsize},
        device=real.backbone.device,
        dtype=real.backbone.latent_dtype,
        timesteps=tuple(t.item() for t in real.timesteps),
        probe_timesteps=tuple(t.item() for t in real.probe_timesteps),
        features=features,
        probes=probes,
        thumbnails=small,
    )
