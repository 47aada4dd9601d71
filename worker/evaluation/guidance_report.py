"""Whether guidance had anything to go by: its gradients and the distances of features, over all sample tasks of a job."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from app.domain.job import JobWarning, WarningCode
from app.domain.spec import DistillationSpec
from app.domain.window import is_guided

MOST = 0.5  # of a class's guided steps; above it the class counts as hardly guided
NAMED = 5  # classes in a warning

Outputs = Sequence[Mapping[str, Any]]  # of the guided arm's sample tasks


def median_distances(outputs: Outputs) -> list[dict[str, Any]]:
    """The median distance between the real features at each timestep and block, over all classes; what "0.5x" is half of."""
    ordered = sorted((one for output in outputs for one in output.get("median_distance", ())), key=_place)
    return [_over_tasks(list(same)) for _, same in groupby(ordered, _place)]


def fraction_without_gradient(spec: DistillationSpec, outputs: Outputs) -> list[float | None]:
    """The fraction of images that had no gradient, for each step; None for a step outside the guided part."""
    noted = [one for output in outputs if (one := output.get("without_gradient")) and one["per_step"]]
    images = spec.ipc * sum(len(one["per_class"]) for one in noted)
    guided = iter([sum(counts) / images for counts in zip(*(one["per_step"] for one in noted), strict=True)])
    steps = spec.sampling.steps
    return [next(guided, None) if is_guided(spec.guidance, step, steps) else None for step in range(steps)]


def guidance_vanished(spec: DistillationSpec, outputs: Outputs) -> JobWarning | None:
    """A warning if there are classes of whose guided steps most had no gradient: they are hardly guided."""
    noted = [one for output in outputs if (one := output.get("without_gradient")) and one["per_step"]]
    steps = {name: spec.ipc * len(one["per_step"]) for one in noted for name in one["per_class"]}
    without = {name: count for one in noted for name, count in one["per_class"].items()}
    hardly = [name for name, count in without.items() if count > MOST * steps[name]]
    if not hardly:
        return None
    where = "" if len(hardly) == len(steps) else f" in {len(hardly):,} of {len(steps):,} classes ({_named(hardly)})"
    counts = f"{sum(without[name] for name in hardly):,} of {sum(steps[name] for name in hardly):,}"
    return JobWarning(
        WarningCode.GUIDANCE_VANISHED,
        f"{counts} guided steps{where} had no gradient, counted for each image, so these images are hardly guided. "
        + _advice(spec, median_distances(outputs)),
    )


def _advice(spec: DistillationSpec, distances: Sequence[Mapping[str, Any]]) -> str:
    if not (distances and spec.guidance.objective.has_kernel and spec.kernel.has_bandwidth):
        return "Choose another objective, scale or tap."
    smallest, largest = (choose(one["mean"] for one in distances) for choose in (min, max))
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


def _place(one: Mapping[str, Any]) -> tuple[float, int]:
    return -one["timestep"], one["block"]  # in the order of sampling


def _over_tasks(same: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    classes = sum(one["classes"] for one in same)
    return {
        "timestep": same[0]["timestep"],
        "block": same[0]["block"],
        "classes": classes,
        "mean": sum(one["mean"] * one["classes"] for one in same) / classes,
        "smallest": min(one["smallest"] for one in same),
        "largest": max(one["largest"] for one in same),
    }
