"""The package stage: write the guided images, their metadata and the report into one archive, and
publish it.
"""

import platform
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np

from app.distribution import DISTRIBUTION
from app.domain.job import JobWarning
from app.domain.spec.evaluation import Arm
from worker.archive.spool import PngSpool
from worker.archive.write import PREVIEW, ArchiveContents, write
from worker.evaluation.guidance_report import fraction_without_gradient, guidance_vanished, merged_distances
from worker.evaluation.reference_report import merged_estimator_errors, merged_references
from worker.evaluation.report import ArmResult, summarise
from worker.evaluation.set_report import ClassReport, low_coverage, set_metrics
from worker.guidance.diagnostics import MedianDistanceSummary
from worker.stages.context import Publication, StageResult, TaskContext, WorkerContext
from worker.stages.outputs import ComputedOn, PackageOutput, SampleOutput, seconds_of
from worker.stages.stored_samples import Columns, columns_of

PACKAGES = (DISTRIBUTION, "torch", "diffusers", "transformers", "numpy", "scikit-learn", "pillow")


def package(task: TaskContext, worker: WorkerContext) -> StageResult:
    """Write, store and publish.

    The archive holds nothing that differs between two runs of the same spec.

    Samples are read task by task and written image by image, so memory does not grow with their
    number. Each image reports progress, which may raise to stop. Raises SamplesDamaged,
    StorageUnavailable.
    """
    progress = _Progress(task)
    report = report_of(task)
    own = own_warnings(task)
    archive, picture = task.scratch / f"dapple-{task.lease.task.job_id}.zip", task.scratch / PREVIEW
    with (task.scratch / "images").open("w+b") as stream:
        images = PngSpool(stream)
        columns = spooled(columns_of(task, worker, Arm.GUIDED, progress.heartbeat), images, progress.image)
        contents = ArchiveContents(
            spec=task.spec,
            classes=task.prepared.classes,
            images=images,
            labels=columns["label"],
            indices=columns["index"],
            seeds=columns["seed"],
            ranks=columns["rank"],
            distances={"distance": columns["distance"]},
            summary=report,
            provenance=provenance(task),
            drawn_as=task.prepared.drawn_as,
            warnings=[each.message for each in (*task.warnings, *own) if not each.is_about_the_worker],
        )
        write(archive, contents, on_image=progress.image, heartbeat=progress.heartbeat)
    with zipfile.ZipFile(archive) as written:
        written.extract(PREVIEW, task.scratch)
    prefix = task.lease.output_prefix
    published = Publication(
        archive=worker.store.put(prefix + archive.name, archive, "application/zip", progress.heartbeat),
        preview=worker.store.put(prefix + picture.name, picture, "image/png", progress.heartbeat),
        metrics=metrics_of(task, report) | {"warnings": [asdict(each) for each in (*task.warnings, *own)]},
    )
    return StageResult(PackageOutput(archive=published.archive.key), publication=published, warnings=own)


class _Progress:
    """Counts the images, each once when it is encoded and once when it is written."""

    def __init__(self, task: TaskContext) -> None:
        self._task = task
        self._done = 0

    def image(self) -> None:
        self._done += 1
        self.heartbeat()

    def heartbeat(self) -> None:
        """Nothing new to count, but a chance to stop."""
        self._task.report(self._done, self._task.planned)


def spooled(parts: Iterable[Columns], images: PngSpool, on_image: Callable[[], None]) -> dict[str, np.ndarray]:
    """All columns except the images, which go into the spool one after another."""
    columns: dict[str, list[np.ndarray]] = {}
    for part in parts:
        for pixels in part["images"]:
            images.append(pixels)
            on_image()
        for name, values in part.items():
            if name != "images":
                columns.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in columns.items()}


def own_warnings(task: TaskContext) -> list[JobWarning]:
    """The warnings that concern the set as a whole."""
    guided = task.sampled(Arm.GUIDED)
    vanished = guidance_vanished(task.spec, [each.without_gradient for each in guided], _distances(guided))
    low = low_coverage(_class_reports(guided), task.spec.ipc)
    return [each for each in (vanished, low) if each is not None]


def report_of(task: TaskContext) -> dict[str, Any] | None:
    """The table of the evaluation; None if the job asked for none."""
    if task.spec.evaluation is None:
        return None
    results = [ArmResult(each.arm, each.last, each.best, each.images) for each in task.evaluated]
    return summarise(task.spec.evaluation.protocol, results)


def metrics_of(task: TaskContext, report: dict[str, Any] | None) -> dict[str, Any]:
    """All numbers of the job: evaluation, set metrics on thumbnails, guidance strength per step,
    seconds per phase.
    """
    guided, prepared = task.sampled(Arm.GUIDED), task.prepared
    return {
        "evaluation": report,
        "set": set_metrics(_class_reports(guided)),
        "guidance": {
            "ratio_per_step": np.mean([each.guidance_ratio for each in guided], axis=0).tolist(),
            "references": merged_references([references for each in guided for references in each.references]),
            "estimator_error": merged_estimator_errors([error for each in guided for error in each.estimator_errors]),
            "median_distance": [asdict(each) for each in _distances(guided)],
            "without_gradient": fraction_without_gradient(task.spec, [each.without_gradient for each in guided]),
        },
        "dataset": {
            "train_images": prepared.train_images,
            "test_images": prepared.test_images,
            "bad_files": list(prepared.bad_files),
        },
        "timings": {
            kind.phase.value: sum(seconds_of(earlier.output) for earlier in tasks) for kind, tasks in task.earlier.items()
        },
    }


def _class_reports(guided: Sequence[SampleOutput]) -> list[ClassReport]:
    return [report for each in guided for report in each.set_metrics]


def _distances(guided: Sequence[SampleOutput]) -> list[MedianDistanceSummary]:
    return merged_distances([distance for each in guided for distance in each.median_distance])


def provenance(task: TaskContext) -> dict[str, Any]:
    """What the bytes depend on besides the spec: backbone, data, versions, kind of device, and how
    it was used.
    """
    revision = task.prepared.dataset_revision
    return {
        "backbone": {"name": task.spec.backbone, "revision": task.prepared.backbone_revision},
        "dataset_digest": task.prepared.dataset_digest,
        **({"dataset_revision": revision} if revision else {}),
        "scheduler": task.prepared.scheduler,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        **agreed([each.computed for each in task.all_sampled if each.computed is not None]),
    }


def agreed(computed: Sequence[ComputedOn]) -> dict[str, Any]:
    """Each setting on which all workers agree; where they differ, the list of their values in a
    fixed order.
    """
    settings: Sequence[Mapping[str, Any]] = [asdict(each) for each in computed]
    values = {name: sorted({each[name] for each in settings}, key=str) for name in (settings[0] if settings else {})}
    return {name: found[0] if len(found) == 1 else found for name, found in values.items()}
