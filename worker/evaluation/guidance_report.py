"""Whether guidance had gradients to follow, and the distances of features, over all sample tasks of
a job.
"""

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter

from app.domain.job import JobWarning, WarningCode
from app.domain.spec.job_spec import DistillationSpec
from worker.guidance.diagnostics import MedianDistanceSummary, WithoutGradient

MOST = 0.5  # of the guided steps of a class; above it the class counts as hardly guided
NAMED = 5  # classes in a warning


def merged_distances(summaries: Sequence[MedianDistanceSummary]) -> list[MedianDistanceSummary]:
    """One summary per timestep and block over all tasks, in the order of sampling."""
    ordered = sorted(summaries, key=attrgetter("place"))
    return [_merged(list(same)) for _, same in groupby(ordered, attrgetter("place"))]


def fraction_without_gradient(spec: DistillationSpec, tasks: Sequence[WithoutGradient]) -> list[float | None]:
    """The fraction of images that had no gradient at each step; None at a step outside the window
    of guidance.
    """
    guided_tasks = [task for task in tasks if task.per_step]
    images = spec.ipc * sum(len(task.per_class) for task in guided_tasks)
    fractions = iter([sum(counts) / images for counts in zip(*(task.per_step for task in guided_tasks), strict=True)])
    steps = spec.sampling.steps
    return [next(fractions, None) if spec.guidance.acts_at(step, steps) else None for step in range(steps)]


def guidance_vanished(
    spec: DistillationSpec, tasks: Sequence[WithoutGradient], distances: Sequence[MedianDistanceSummary]
) -> JobWarning | None:
    """A warning if most guided steps of a class had no gradient, so that the class is hardly
    guided.

    `distances` are the merged median distances, for the advice.
    """
    guided_tasks = [task for task in tasks if task.per_step]
    steps = {name: spec.ipc * len(task.per_step) for task in guided_tasks for name in task.per_class}
    without = {name: count for task in guided_tasks for name, count in task.per_class.items()}
    hardly = [name for name, count in without.items() if count > MOST * steps[name]]
    if not hardly:
        return None
    where = "" if len(hardly) == len(steps) else f" in {len(hardly):,} of {len(steps):,} classes ({_named(hardly)})"
    counts = f"{sum(without[name] for name in hardly):,} of {sum(steps[name] for name in hardly):,}"
    return JobWarning(
        WarningCode.GUIDANCE_VANISHED,
        f"{counts} guided steps{where} had no gradient, counted for each image, so these images are hardly guided. "
        + _advice(spec, distances),
    )


def _advice(spec: DistillationSpec, distances: Sequence[MedianDistanceSummary]) -> str:
    if not (distances and spec.guidance.objective.has_kernel and spec.kernel.has_bandwidth):
        return "Choose another objective, scale or tap."
    smallest, largest = (choose(each.mean for each in distances) for choose in (min, max))
    about = f"{smallest:.3g}" if f"{smallest:.3g}" == f"{largest:.3g}" else f"{smallest:.3g} to {largest:.3g}"
    return (
        f"The median distance between real images is about {about}, by timestep, and kernel_bandwidth is "
        f'{_shown(spec.kernel_bandwidth)}: use kernel_bandwidth "median" or a multiple of it such as "0.5x".'
    )


def _shown(bandwidth: object) -> str:
    if isinstance(bandwidth, tuple):
        return f"[{', '.join(map(_shown, bandwidth))}]"
    return f'"{bandwidth}"' if isinstance(bandwidth, str) else f"{bandwidth:g}"


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")


def _merged(same: Sequence[MedianDistanceSummary]) -> MedianDistanceSummary:
    classes = sum(each.classes for each in same)
    return MedianDistanceSummary(
        timestep=same[0].timestep,
        block=same[0].block,
        classes=classes,
        mean=sum(each.mean * each.classes for each in same) / classes,
        smallest=min(each.smallest for each in same),
        largest=max(each.largest for each in same),
    )
