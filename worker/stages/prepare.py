"""Read the dataset, check it against the spec and the backbone, and plan the rest of the job."""

import difflib
from collections.abc import Mapping

from app.domain.dataset_uri import parse
from app.domain.errors import DatasetRejected, InvalidSpec
from app.domain.plan import later_tasks
from app.domain.spec import Arm, DistillationSpec
from worker.backbones.base import Backbone
from worker.datasets.base import Dataset, require_images
from worker.datasets.cache import Source
from worker.datasets.load import select
from worker.evaluation.protocols import PROTOCOLS
from worker.stages.base import Bench, Done, Work

MAX_EVALUATED_SIZE = 64  # pixels: the protocols at hand are for small images


def prepare(work: Work, bench: Bench) -> Done:
    """Raises InvalidSpec naming the field, DatasetRejected naming the file or class."""
    backbone = work.backbone(bench)
    _check_spec(work.spec, backbone)
    dataset = select(bench.datasets.read(source(work, bench), work.tick), work.spec.classes)
    require_images(dataset, least_images(work.spec))
    _check_test_split(work.spec, dataset)
    output = {
        "classes": list(dataset.classes),
        "labels": [class_label(name, backbone.labels) for name in dataset.classes],
        "dataset_digest": dataset.digest,
        "train_images": len(dataset.train),
        "test_images": len(dataset.test),
        "bad_files": list(dataset.bad_files),
        "backbone_revision": backbone.revision,
    }
    return Done(output, then=later_tasks(work.spec, dataset.classes))


def source(work: Work, bench: Bench) -> Source:
    """What the job reads, at the size its backbone works on."""
    backbone = work.backbone(bench)
    return Source(
        parse(work.spec.dataset_uri),
        roots=bench.settings.dataset_roots,
        image_size=backbone.image_size,
        channels=backbone.channels,
        holdout_fraction=work.spec.holdout_fraction,
    )


def dataset_of(work: Work, bench: Bench) -> Dataset:
    """The classes of the job's dataset, unchanged since `prepare`. Raises DatasetRejected if it changed."""
    planned = work.lease.task.progress.total
    digest = work.prepared["dataset_digest"]
    whole = bench.datasets.same(source(work, bench), digest, lambda _done, _total: work.tick(0, planned))
    return select(whole, work.prepared["classes"])


def least_images(spec: DistillationSpec) -> int:
    """Training images a class needs: two for a distance, IPC where real images are a baseline."""
    arms = spec.evaluation.arms if spec.evaluation else ()
    return max(2, spec.ipc) if {Arm.RANDOM_REAL, Arm.KMEANS_REAL} & set(arms) else 2


def class_label(name: str, labels: Mapping[str, int]) -> int:
    """The backbone's label of a class. Raises InvalidSpec naming `classes` and the nearest names."""
    if name not in labels:
        nearest = difflib.get_close_matches(name, labels, n=3) or list(labels)[:10]
        raise InvalidSpec.of("classes", f"the backbone does not know class {name!r}; nearest: {', '.join(nearest)}")
    return labels[name]


def _check_test_split(spec: DistillationSpec, dataset: Dataset) -> None:
    if spec.evaluation is not None and not len(dataset.test):
        raise DatasetRejected("the test split has no image of these classes to evaluate on; leave out `evaluation`")


def _check_spec(spec: DistillationSpec, backbone: Backbone) -> None:
    backbone.scheduler(spec.sampling.scheduler, spec.sampling.steps)  # raises if it cannot take so many steps
    if spec.guidance.tap is not None and spec.guidance.tap > backbone.blocks:
        raise InvalidSpec.of("guidance.tap", f"{spec.backbone} has {backbone.blocks} blocks")
    if spec.evaluation is not None:
        protocol = PROTOCOLS[spec.evaluation.protocol]
        least = 2**protocol.depth  # every block halves the image
        if not least <= backbone.image_size <= MAX_EVALUATED_SIZE:
            told = f"{protocol.name} takes images of {least} to {MAX_EVALUATED_SIZE} pixels; those of {spec.backbone} have"
            raise InvalidSpec.of("evaluation.protocol", f"{told} {backbone.image_size}")
