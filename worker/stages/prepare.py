"""Read the dataset, check it against the spec and the backbone, and plan the rest of the job."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import accumulate, islice

from app.domain.conditions import condition_of
from app.domain.dataset_uri import parse
from app.domain.errors import DatasetRejected, FieldProblem, InvalidSpec
from app.domain.fit import MOST_NAMED, class_problems, missing_classes, model_problems
from app.domain.job import JobWarning, WarningCode
from app.domain.model import schedulers_of
from app.domain.plan import later_tasks
from app.domain.spec import Arm, DistillationSpec
from worker.archive.drawn_as import drawn_as
from worker.backbones.base import Backbone
from worker.datasets.base import Dataset, require_images
from worker.datasets.cache import Source
from worker.datasets.load import select
from worker.datasets.notes import dataset_warnings
from worker.sampling.footprint import class_bytes
from worker.stages.base import WorkerContext, StageResult, TaskContext
from worker.stages.resolution import resolution_warnings


def prepare(work: TaskContext, bench: WorkerContext) -> StageResult:
    """Raises InvalidSpec naming the field, DatasetRejected naming the file or class."""
    backbone = work.backbone(bench)
    _check_spec(work.spec, backbone)
    whole = bench.datasets.read(source(work, bench), work.tick)
    refuse_any(missing_classes(work.spec, (*whole.classes, *whole.unread)))
    dataset = select(whole, work.spec.classes)
    refuse_any(class_problems(work.spec, dataset.classes, backbone))
    _check_longest_prompt(work.spec, dataset, backbone)
    require_images(dataset, least_images(work.spec))
    _check_test_split(work.spec, dataset)
    images = len(whole.train) + len(whole.test)
    needed = class_bytes(work.spec, backbone, dataset)
    output = {
        "classes": list(dataset.classes),
        "dataset_digest": dataset.digest,
        "train_images": len(dataset.train),
        "test_images": len(dataset.test),
        "bad_files": list(dataset.bad_files),
        "backbone_revision": backbone.revision,
        "drawn_as": [asdict(one) for one in drawn_as(dataset.classes, work.spec, backbone)],
        "feature_bytes": sum(needed),
        "scheduler": work.spec.sampling.scheduler or schedulers_of(backbone.flow)[0],
    }
    warnings = [
        *dataset_warnings(dataset, work.spec),
        *resolution_warnings(source(work, bench), backbone, lambda: work.tick(images, images)),
        *cache_warnings(needed, bench.settings.cache_bytes),
    ]
    return StageResult(output, then=later_tasks(work.spec, dataset.classes), warnings=warnings)


def cache_warnings(needed: Sequence[int], cache_bytes: int) -> list[JobWarning]:
    """One if the features of all classes, of these sizes in bytes, do not fit into the cache."""
    if sum(needed) <= cache_bytes:
        return []
    fitting = bisect_right(list(accumulate(needed)), cache_bytes)
    told = (
        f"the features of the real images take {gib(sum(needed))}, and the cache of this worker keeps {gib(cache_bytes)}: "
        f"those of {fitting:,} of {len(needed):,} classes stay, the rest are computed whenever they are needed. Raise "
        "DAPPLE_CACHE_BYTES on the workers, or lower reference.count, guidance.projection or sampling.steps"
    )
    return [JobWarning(WarningCode.CACHE_TOO_SMALL, told)]


def gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.3g} GiB"


def source(work: TaskContext, bench: WorkerContext) -> Source:
    """What the job reads, at the size its backbone works on."""
    backbone = work.backbone(bench)
    return Source(
        parse(work.spec.dataset_uri),
        roots=bench.settings.dataset_roots,
        image_size=backbone.image_size,
        channels=backbone.channels,
        holdout_fraction=work.spec.holdout_fraction,
        classes=work.spec.classes,
        least_kept=1 if work.spec.evaluation else least_images(work.spec),
        max_pixels=bench.settings.max_image_pixels,
    )


def dataset_of(work: TaskContext, bench: WorkerContext) -> Dataset:
    """The classes of the job's dataset, unchanged since `prepare`. Raises DatasetRejected if it changed."""
    planned = work.lease.task.progress.total
    digest = work.prepared["dataset_digest"]
    whole = bench.datasets.same(source(work, bench), digest, lambda _done, _total: work.tick(0, planned))
    return select(whole, work.prepared["classes"])


def least_images(spec: DistillationSpec) -> int:
    """Training images a class needs: two for a distance, IPC where real images are a baseline."""
    arms = spec.evaluation.arms if spec.evaluation else ()
    return max(2, spec.ipc) if {Arm.RANDOM_REAL, Arm.KMEANS_REAL} & set(arms) else 2


def _check_longest_prompt(spec: DistillationSpec, dataset: Dataset, backbone: Backbone) -> None:
    if backbone.prompted:
        prompts = [condition_of(name, spec, backbone) for name in dataset.classes]
        backbone.conditions([max(prompts, key=lambda prompt: len(str(prompt)))], spec.sampling.negative_prompt)


def _check_test_split(spec: DistillationSpec, dataset: Dataset) -> None:
    if spec.evaluation is not None and not len(dataset.test):
        raise DatasetRejected("the test split has no image of these classes to evaluate on; leave out `evaluation`")


def _check_spec(spec: DistillationSpec, backbone: Backbone) -> None:
    refuse_any(model_problems(spec, backbone))
    backbone.scheduler(spec.sampling)  # raises if it cannot take so many steps


def refuse_any(problems: Iterable[FieldProblem]) -> None:
    """Raises InvalidSpec with these problems, the first few of them, if there are any."""
    found = list(islice(problems, MOST_NAMED))
    if found:
        raise InvalidSpec(found)
