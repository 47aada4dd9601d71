"""The contents of an archive."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Integer

from app.domain.spec.job_spec import DistillationSpec
from worker.archive.drawn_as import DrawnAs
from worker.archive.spool import PngSpool


@dataclass(frozen=True, eq=False)
class ArchiveContents:
    """A distilled set of n images and its origin. `labels` are positions in `classes`.

    `indices` number the images of a class from 0. `seeds` (63 bits) are those of the images'
    generators. `ranks` order the images within their class; 0 is first, and a prefix by rank is a
    good smaller set. `distances` are further columns [n] by name. `summary` is the report of the
    evaluation. `provenance` is what the bytes depend on besides the spec, such as the revision of
    the backbone and the digest of the dataset. `warnings` qualify the result. `drawn_as` is the
    condition of each class; it is optional. Two runs of one spec must give equal contents: no
    times, no job id.
    """

    spec: DistillationSpec
    classes: tuple[str, ...]
    images: PngSpool
    labels: Integer[np.ndarray, " n"]
    indices: Integer[np.ndarray, " n"]
    seeds: Integer[np.ndarray, " n"]
    ranks: Integer[np.ndarray, " n"]
    distances: Mapping[str, np.ndarray]
    summary: Mapping[str, Any] | None
    provenance: Mapping[str, Any]
    warnings: Sequence[str] = ()
    drawn_as: tuple[DrawnAs, ...] = ()

    def __post_init__(self) -> None:
        columns = {"labels": self.labels, "indices": self.indices, "seeds": self.seeds, "ranks": self.ranks, **self.distances}
        for name, column in columns.items():
            if len(column) != len(self.images):
                raise ValueError(f"{len(self.images)} images have {len(column)} {name}")
        if any(int(seed) >= 2**63 for seed in self.seeds):
            raise ValueError("a seed of more than 63 bits; the Hugging Face loader cannot read it")
