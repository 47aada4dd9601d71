"""Reports accuracies as means, intervals, paired differences, and one honest sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from app.domain.spec.evaluation import Arm

CONFIDENCE = 0.95
NO_SPREAD = 1e-9  # percentage points; values that differ by less differ only by rounding
SCOPE = "These intervals speak of this set and this test split, not of sets from other seeds."
BASELINES = (Arm.RANDOM_REAL, Arm.KMEANS_REAL, Arm.UNGUIDED)
LABELS = {
    Arm.RANDOM_REAL: "random real images",
    Arm.KMEANS_REAL: "k-means real images",
    Arm.UNGUIDED: "unguided samples",
    Arm.GUIDED: "guided (this set)",
    Arm.FULL: "full training set",
}


@dataclass(frozen=True)
class ArmResult:
    """Test accuracies of one arm in percent, one per training seed.

    `accuracies` are those after the last iteration, `best` are the best on the way. Every arm lists
    the same seeds in the same order. `images` is the size of the arm's training set.
    """

    arm: Arm
    accuracies: tuple[float, ...]
    best: tuple[float, ...]
    images: int


def summarise(protocol_name: str, results: Sequence[ArmResult]) -> dict[str, Any]:
    """The report as JSON, in percent or percentage points.

    For each arm, it holds the mean, standard deviation and 95 % interval of the last-iteration
    accuracy, and the mean of the best accuracy. It also holds the lead of the guided set over each
    other arm, paired by seed, and a verdict.

    Standard deviations are None for a single seed. Intervals are None for a single seed, and also
    where all values are equal. Intervals cover the training seeds, each with its own draw of the
    real images, for one generated set and one test split.
    """
    ordered = sorted(results, key=lambda result: list(Arm).index(result.arm))
    differences = _differences(ordered)
    return {
        "protocol": protocol_name,
        "unit": "percent",
        "arms": [_arm(result) for result in ordered],
        "differences": differences,
        "verdict": _verdict(differences, max((len(result.accuracies) for result in results), default=0)),
    }


def confidence_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Student's t interval of the mean at CONFIDENCE; None for fewer than two or for equal values.

    Accuracies are counts of a few hundred test images. Two or three equal accuracies are therefore
    chance, and no proof that there is no spread.
    """
    if len(values) < 2 or max(values) - min(values) < NO_SPREAD:
        return None
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * float(np.std(values, ddof=1)) / len(values) ** 0.5
    mean = float(np.mean(values))
    return mean - half, mean + half


def _arm(result: ArmResult) -> dict[str, Any]:
    accuracies = result.accuracies
    interval = confidence_interval(accuracies)
    return {
        "arm": result.arm.value,
        "label": LABELS[result.arm],
        "mean": float(np.mean(accuracies)),
        "sd": float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None,
        "ci95": list(interval) if interval else None,
        "best_mean": float(np.mean(result.best)),
        "n": len(accuracies),
        "images": result.images,
    }


def _differences(results: Sequence[ArmResult]) -> list[dict[str, Any]]:
    guided = next((result for result in results if result.arm is Arm.GUIDED), None)
    if guided is None:
        return []
    return [_difference(guided, other) for other in results if other.arm is not Arm.GUIDED]


def _difference(guided: ArmResult, other: ArmResult) -> dict[str, Any]:
    pairs = np.subtract(guided.accuracies, other.accuracies).tolist()
    interval = confidence_interval(pairs)
    return {"arm": other.arm.value, "mean": float(np.mean(pairs)), "ci95": list(interval) if interval else None}


def _verdict(differences: Sequence[Mapping[str, Any]], seeds: int) -> str:
    by_arm = {difference["arm"]: difference for difference in differences}
    compared = [by_arm[arm.value] for arm in BASELINES if arm.value in by_arm]
    if not compared:
        return "This set was not compared with a baseline."
    clauses = "; it ".join(_clause(difference, seeds) for difference in compared)
    return f"This set {clauses}." + (f" {SCOPE}" if any(difference["ci95"] for difference in compared) else "")


def _clause(difference: Mapping[str, Any], seeds: int) -> str:
    mean, interval, name = difference["mean"], difference["ci95"], LABELS[Arm(difference["arm"])]
    if interval is None:
        why = "one training seed" if seeds == 1 else f"the same in all {seeds} training seeds"
        return f"scores {mean:+.1f} points against {name} ({why}, so chance is not ruled out)"
    span = f"95 % interval {interval[0]:+.1f} to {interval[1]:+.1f}"
    if interval[0] > 0:
        return f"beats {name} by {mean:.1f} points ({span})"
    if interval[1] < 0:
        return f"loses to {name} by {-mean:.1f} points ({span})"
    return f"cannot be told apart from {name} ({mean:+.1f} points, {span})"
