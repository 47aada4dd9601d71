"""Put the guided images, their metadata and the report into one archive, and publish it with the job's metrics."""

import platform
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np

from app.distribution import DISTRIBUTION
from app.domain.job import JobWarning, TaskKind
from app.domain.spec import Arm
from worker.archive.drawn_as import DrawnAs
from worker.archive.spool import PngSpool
from worker.archive.write import PREVIEW, ArchiveContents, write
from worker.evaluation.guidance_report import fraction_without_gradient, guidance_vanished, median_distances
from worker.evaluation.report import ArmResult, summarise
from worker.evaluation.set_report import low_coverage, set_metrics
from worker.stages.base import WorkerContext, StageResult, Publication, TaskContext, output_of
from worker.stages.samples import Columns, outputs_of, parts_of

PACKAGES = (DISTRIBUTION, "torch", "diffusers", "transformers", "numpy", "scikit-learn", "pillow")


def package(work: TaskContext, bench: WorkerContext) -> StageResult:
    """Write, store and publish. The archive holds nothing that differs between two runs of the same spec.

    Samples are read task by task and written image by image: memory does not grow with their number. Each tells `tick`, which
    may raise to stop. Raises SamplesDamaged, StorageUnavailable.
    """
    progress = _Progress(work)
    report = report_of(work)
    own = own_warnings(work)
    archive, picture = work.scratch / f"dapple-{work.lease.task.job_id}.zip", work.scratch / PREVIEW
    with (work.scratch / "images").open("w+b") as stream:
        images = PngSpool(stream)
        columns = spooled(parts_of(work, bench, Arm.GUIDED, progress.still), images, progress.image)
        contents = ArchiveContents(
            spec=work.spec,
            classes=tuple(work.prepared["classes"]),
            images=images,
            labels=columns["label"],
            indices=columns["index"],
            seeds=columns["seed"],
            ranks=columns["rank"],
            distances={"distance": columns["distance"]},
            summary=report,
            provenance=provenance(work),
            drawn_as=tuple(DrawnAs(**one) for one in work.prepared.get("drawn_as", ())),  # an earlier version's has none
            warnings=[one.message for one in (*work.warnings, *own) if not one.is_about_the_worker],
        )
        write(archive, contents, on_image=progress.image, tick=progress.still)
    with zipfile.ZipFile(archive) as written:
        written.extract(PREVIEW, work.scratch)
    published = Publication(
        archive=bench.store.put(work.lease.output_prefix + archive.name, archive, "application/zip", progress.still),
        preview=bench.store.put(work.lease.output_prefix + picture.name, picture, "image/png", progress.still),
        metrics=metrics_of(work, report) | {"warnings": [asdict(one) for one in (*work.warnings, *own)]},
    )
    return StageResult({"archive": published.archive.key}, publication=published, warnings=own)


class _Progress:
    """Counts the images, each once when it is encoded and once when it is written."""

    def __init__(self, work: TaskContext) -> None:
        self._work = work
        self._done = 0

    def image(self) -> None:
        self._done += 1
        self.still()

    def still(self) -> None:
        """Nothing new to count, but a chance to stop."""
        self._work.tick(self._done, self._work.lease.task.progress.total)


def spooled(parts: Iterable[Columns], images: PngSpool, on_image: Callable[[], None]) -> dict[str, np.ndarray]:
    """All columns but the images, which go into the spool one after another."""
    columns: dict[str, list[np.ndarray]] = {}
    for part in parts:
        for pixels in part["images"]:
            images.append(pixels)
            on_image()
        for name, values in part.items():
            if name != "images":
                columns.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in columns.items()}


def own_warnings(work: TaskContext) -> list[JobWarning]:
    """What can be said of the set as a whole only."""
    vanished = guidance_vanished(work.spec, outputs_of(work, Arm.GUIDED))
    low = low_coverage(class_metrics_of(work), work.spec.ipc)
    return [one for one in (vanished, low) if one is not None]


def class_metrics_of(work: TaskContext) -> list[Mapping[str, Any]]:
    """The set metrics of each class of the guided arm; an earlier version's tasks lack them."""
    return [one for output in outputs_of(work, Arm.GUIDED) for one in output.get("set_metrics", ())]


def report_of(work: TaskContext) -> dict[str, Any] | None:
    """The evaluation's table, or None if the spec asked for none."""
    if work.spec.evaluation is None:
        return None
    outputs = [output_of(task) for task in work.earlier[TaskKind.EVALUATE]]
    results = [ArmResult(Arm(one["arm"]), tuple(one["last"]), tuple(one["best"]), one["images"]) for one in outputs]
    return summarise(work.spec.evaluation.protocol, results)


def metrics_of(work: TaskContext, report: dict[str, Any] | None) -> dict[str, Any]:
    """All numbers of the job: evaluation, set metrics on thumbnails, guidance strength per step, seconds per phase."""
    guided = outputs_of(work, Arm.GUIDED)
    return {
        "evaluation": report,
        "set": set_metrics(class_metrics_of(work)),
        "guidance": {
            "ratio_per_step": np.mean([one["guidance_ratio"] for one in guided], axis=0).tolist(),
            "references": references([about for one in guided for about in one["references"]]),
            "estimator_error": estimator_error([error for one in guided for error in one["estimator_errors"]]),
            "median_distance": median_distances(guided),
            "without_gradient": fraction_without_gradient(work.spec, guided),
        },
        "dataset": {name: work.prepared[name] for name in ("train_images", "test_images", "bad_files")},
        "timings": {
            kind.phase.value: sum(output_of(task)["seconds"] for task in tasks) for kind, tasks in work.earlier.items()
        },
    }


def references(classes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What stood for the real images, all classes together: counts added up, errors of projected distances over them."""
    counts = {name: sum(about[name] for about in classes) for name in ("images", "references", "probed", "bytes")}
    projected = [about for about in classes if about["projection_error_mean"] is not None]
    return {
        **counts,
        "widths": classes[0]["widths"],
        "projection_error_mean": _mean([about["projection_error_mean"] for about in projected]),
        "projection_error_max": max((about["projection_error_max"] for about in projected), default=None),
    }


def estimator_error(errors: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Over the classes, at each timestep with a probe: how far guidance by the reference images is from that by all."""
    timesteps = sorted({error["timestep"] for error in errors}, reverse=True)
    return [_at_timestep(t, [error for error in errors if error["timestep"] == t]) for t in timesteps]


def _at_timestep(t: float, errors: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over the classes that guidance moved at all; None of each if there is none."""
    moved = [error for error in errors if error["relative_error"] is not None]
    worst = max(moved, key=lambda error: error["relative_error"], default={"class_name": None, "relative_error": None})
    return {
        "timestep": t,
        "relative_error": _mean([error["relative_error"] for error in moved]),
        "cosine": _mean([error["cosine"] for error in moved]),
        "worst_class": worst["class_name"],
        "worst_relative_error": worst["relative_error"],
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def provenance(work: TaskContext) -> dict[str, Any]:
    """What the bytes depend on beside the spec: backbone, data, versions, kind of device, and how it was used."""
    return {
        "backbone": {"name": work.spec.backbone, "revision": work.prepared["backbone_revision"]},
        "dataset_digest": work.prepared["dataset_digest"],
        "scheduler": work.prepared["scheduler"],
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        **agreed(
            [output_of(task).get("computed", {}) for task in work.earlier[TaskKind.SAMPLE]]
        ),  # an earlier version's lack it
    }


def agreed(told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all say who know a name; where they differ, a list of what was said, in a fixed order."""
    names = dict.fromkeys(name for one in told for name in one)
    every = {name: sorted({one[name] for one in told if name in one}, key=str) for name in names}
    return {name: values[0] if len(values) == 1 else values for name, values in every.items()}
