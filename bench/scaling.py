"""How long would a large job take on 1, 8 and 64 GPUs? A simulation: the real plan, and a queue of given task times.

Nothing is measured here. The seconds of a sampling step, of a class's real images and of the import are arguments;
what comes out is what the plan makes of them: how many tasks, how many hours, and how much the last ones cost that run while
other GPUs are idle.
"""

import argparse
import heapq
import json
import math
import random
from dataclasses import asdict, dataclass
from pathlib import Path

from app.domain.job import TaskKind
from app.domain.plan import later_tasks
from app.domain.spec.job_spec import DistillationSpec


@dataclass(frozen=True)
class Outcome:
    """`idle_share`: of all GPU time until the last sample task ended, what was spent waiting for it."""

    gpus: int
    tasks: int
    hours: float
    gpu_hours: float
    idle_share: float
    samples_per_gpu_hour: float


def main() -> None:
    options = _options()
    spec = DistillationSpec.model_validate(
        {"dataset_uri": "file:///imagenet", "ipc": options.ipc, "sampling": {"steps": options.steps}}
    )
    seconds = task_seconds(spec, options)
    images = options.classes * options.ipc
    outcomes = [simulated(seconds, gpus, images=images, import_seconds=options.import_seconds) for gpus in options.gpus]
    for outcome in outcomes:
        print(json.dumps(asdict(outcome)))
    if options.json:
        assumed = {name: value for name, value in vars(options).items() if name != "json"}
        options.json.write_text(json.dumps({"assumed": assumed, "outcomes": [asdict(o) for o in outcomes]}, indent=2) + "\n")


def task_seconds(spec: DistillationSpec, options: argparse.Namespace) -> list[float]:
    """One for each sample task of the plan; they vary by `spread`, the standard deviation of their logarithm."""
    chance = random.Random(0)  # noqa: S311 - a simulation that is the same at every run
    planned = later_tasks(spec, [f"class-{number}" for number in range(options.classes)])
    return [
        _seconds(len(task.input["classes"]), spec, options) * math.exp(chance.gauss(0, options.spread))
        for task in planned
        if task.kind is TaskKind.SAMPLE
    ]


def _seconds(classes: int, spec: DistillationSpec, options: argparse.Namespace) -> float:
    passes = math.ceil(classes * spec.ipc / options.batch) * spec.sampling.steps
    of_class = options.decode_seconds + options.class_seconds
    return options.overhead_seconds + classes * of_class + passes * options.step_seconds


def simulated(seconds: list[float], gpus: int, *, images: int, import_seconds: float) -> Outcome:
    """Each GPU takes the next task when it is free, as workers do. No GPU is used before the import has ended."""
    free = [0.0] * gpus
    for one in seconds:
        heapq.heappush(free, heapq.heappop(free) + one)
    end, busy = max(free), sum(seconds)
    return Outcome(
        gpus=gpus,
        tasks=len(seconds),
        hours=round((import_seconds + end) / 3600, 2),
        gpu_hours=round(end * gpus / 3600, 1),
        idle_share=round(max(0.0, 1 - busy / (end * gpus)), 3),
        samples_per_gpu_hour=round(images / (end * gpus / 3600), 1),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--ipc", type=int, default=50)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=50, help="images of a pass")
    parser.add_argument("--step-seconds", type=float, default=1.0, help="of one guided step of a full batch")
    parser.add_argument("--class-seconds", type=float, default=20.0, help="features of a class's real images, not yet cached")
    parser.add_argument("--decode-seconds", type=float, default=5.0, help="a class's images, not yet decoded on this machine")
    parser.add_argument("--import-seconds", type=float, default=2200.0, help="the whole dataset, once, by one worker")
    parser.add_argument("--overhead-seconds", type=float, default=2.0, help="claim, storing, decoding")
    parser.add_argument("--spread", type=float, default=0.1)
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
