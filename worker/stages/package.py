"""Put the guided images, their metadata and the report into one archive, and publish it with the job's metrics."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np

from app.distribution import DISTRIBUTION
from app.domain.job import TaskKind
from app.domain.spec import Arm
from worker.archive.write import ArchiveContents, preview, write
from worker.datasets.base import Dataset
from worker.evaluation.guidance_report import fraction_without_gradient, guidance_vanished, median_distances
from worker.evaluation.metrics import set_metrics
from worker.evaluation.report import ArmResult, summarise
from worker.stages.base import Bench, Done, Publication, Work, output_of
from worker.stages.prepare import dataset_of
from worker.stages.sample import read_samples

PACKAGES = (DISTRIBUTION, "torch", "diffusers", "transformers", "numpy", "scikit-learn", "pillow")


def package(work: Work, bench: Bench) -> Done:
    """Write, store and publish. The archive holds nothing that differs between two runs of the same spec."""
    dataset = dataset_of(work, bench)
    samples = read_samples(bench, work.earlier[TaskKind.SAMPLE], Arm.GUIDED)
    report = report_of(work)
    vanished = guidance_vanished(work.spec, guided_outputs(work))
    own = [vanished] if vanished else []
    warnings = (*work.warnings, *own)
    contents = ArchiveContents(
        spec=work.spec,
        classes=dataset.classes,
        images=samples["images"],
        labels=samples["label"],
        indices=samples["index"],
        seeds=samples["seed"],
        ranks=samples["rank"],
        distances={"distance": samples["distance"]},
        summary=report,
        provenance=provenance(work),
        warnings=[one.message for one in warnings if not one.code.is_about_the_worker],
    )
    archive, picture = work.scratch / f"dapple-{work.lease.task.job_id}.zip", work.scratch / "preview.png"
    write(archive, contents)
    preview(contents).save(picture)
    published = Publication(
        archive=bench.store.put(work.lease.output_prefix + archive.name, archive, "application/zip"),
        preview=bench.store.put(work.lease.output_prefix + picture.name, picture, "image/png"),
        metrics=metrics_of(work, dataset, samples, report) | {"warnings": [asdict(one) for one in warnings]},
    )
    return Done({"archive": published.archive.key}, publication=published, warnings=own)


def report_of(work: Work) -> dict[str, Any] | None:
    """The evaluation's table, or None if the spec asked for none."""
    if work.spec.evaluation is None:
        return None
    outputs = [output_of(task) for task in work.earlier[TaskKind.EVALUATE]]
    results = [ArmResult(Arm(one["arm"]), tuple(one["last"]), tuple(one["best"]), one["images"]) for one in outputs]
    return summarise(work.spec.evaluation.protocol, results)


def metrics_of(
    work: Work, dataset: Dataset, samples: Mapping[str, np.ndarray], report: dict[str, Any] | None
) -> dict[str, Any]:
    """All numbers of the job: evaluation, set metrics on pixels, guidance strength per step, seconds per phase."""
    guided = guided_outputs(work)
    return {
        "evaluation": report,
        "set": set_metrics(samples["images"], samples["label"], partial(_real_images, dataset)),
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


def guided_outputs(work: Work) -> list[Mapping[str, Any]]:
    """Those of the sample tasks of the guided arm."""
    return [output for task in work.earlier[TaskKind.SAMPLE] if (output := output_of(task))["arm"] == Arm.GUIDED]


def _real_images(dataset: Dataset, label: int) -> np.ndarray:
    return dataset.train.images(np.flatnonzero(dataset.train.labels == label))


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


def provenance(work: Work) -> dict[str, Any]:
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
