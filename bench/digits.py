"""Does the distilled set train a better classifier than real images? All arms on one dataset, several seeds, one table.

Every arm is trained with the same protocol and the same training seeds, and tested on the held-out images. To choose a
setting use `--validation`, which holds out a quarter of the *training* split instead and leaves the test images alone.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.domain.dataset_uri import parse
from app.domain.spec.evaluation import HOLDOUT_FRACTION, Arm, Evaluation
from app.domain.spec.job_spec import DistillationSpec
from app.settings import Settings
from worker.backbones.base import Backbone
from worker.backbones.registry import BackboneRegistry, device_named
from worker.datasets.base import Dataset, divide
from worker.datasets.decode import Pixels
from worker.datasets.library import Source
from worker.datasets.split import held_out
from worker.evaluation.arms import TrainingSet, real_sets, score
from worker.evaluation.protocols import PROTOCOLS
from worker.references.targets import Reading, targets_for
from worker.sampling.class_set import sample_class_set
from worker.service.worker_process import library_of
from worker.stages.evaluate import evaluation_of
from worker.stages.job_plans import class_images, class_set_plan, reference_plan
from worker.stages.sample import without_guidance


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    body = {"dataset_uri": options.dataset_uri, "ipc": options.ipc, "backbone": options.backbone}
    evaluation = Evaluation(training_seeds=options.training_seeds, arms=tuple(options.arms))
    spec = DistillationSpec.model_validate(_override(body, options.set) | {"evaluation": evaluation})
    backbone = BackboneRegistry(Settings().backbone_roots, device_named(options.device)).get(spec.backbone)
    dataset = _dataset(spec.dataset_uri, backbone, validation=options.validation)
    started = time.monotonic()
    accuracies: dict[str, list[float]] = {arm: [] for arm in evaluation.arms}
    for seed in range(options.first_seed, options.first_seed + options.generation_seeds):
        for arm in evaluation.arms:
            if arm is Arm.FULL and seed > options.first_seed:
                continue
            accuracies[arm] += _accuracies(spec.model_copy(update={"seed": seed}), backbone, dataset, arm)
            print(
                f"{time.monotonic() - started:6.0f} s  seed {seed}  {arm:12} {accuracies[arm][-options.training_seeds :]}",
                flush=True,
            )
    summary = {arm: _summary(values) for arm, values in accuracies.items()}
    _print_table(summary, where="a quarter of the training split" if options.validation else "the held-out images")
    if options.json:
        options.json.write_text(json.dumps(summary, indent=2) + "\n")


def _accuracies(spec: DistillationSpec, backbone: Backbone, dataset: Dataset, arm: Arm) -> list[float]:
    sets = _training_sets(spec, backbone, dataset, arm)
    return [one.last for one in score(dataset, sets, protocol=PROTOCOLS["small"], seed=spec.seed, device=backbone.device)]


def _training_sets(spec: DistillationSpec, backbone: Backbone, dataset: Dataset, arm: Arm) -> list[TrainingSet]:
    training_seeds = evaluation_of(spec).training_seeds
    if not arm.is_sampled:
        return real_sets(arm, dataset, ipc=spec.ipc, training_seeds=training_seeds, seed=spec.seed)
    asked = spec if arm is Arm.GUIDED else without_guidance(spec)
    classes = class_images(asked, backbone, dataset, dataset.classes)
    targets = targets_for(reference_plan(asked, backbone), backbone, classes, ipc=spec.ipc, reading=Reading())
    sampled = sample_class_set(class_set_plan(asked, backbone), backbone, targets, batch=len(targets) * spec.ipc)
    labels = np.repeat(np.arange(len(dataset.classes)), spec.ipc)
    return [(sampled.columns["images"], labels)] * training_seeds


def _dataset(uri: str, backbone: Backbone, *, validation: bool) -> Dataset:
    settings, form = Settings(), Pixels(backbone.info.image_size, backbone.info.channels)
    with tempfile.TemporaryDirectory() as scratch:
        source = Source(parse(uri), settings.dataset_roots, HOLDOUT_FRACTION)
        dataset = library_of(settings).read(source, form, Path(scratch))
    if not validation:
        return dataset
    chosen = held_out(dataset.train.names, dataset.train.labels, 0.25, salt="bench-validation")
    train, test = divide(dataset.train, chosen)
    return Dataset(dataset.uri, dataset.classes, train, test, dataset.digest)


def _summary(values: list[float]) -> dict[str, float]:
    return {"mean": statistics.fmean(values), "sd": statistics.stdev(values) if len(values) > 1 else 0.0, "n": len(values)}


def _print_table(summary: Mapping[str, Mapping[str, float]], *, where: str) -> None:
    print(f"\naccuracy in percent on {where}, mean ± standard deviation")
    for arm, row in summary.items():
        print(f"{arm:12} {row['mean']:6.2f} ± {row['sd']:.2f}  (n = {row['n']})")


def _override(body: dict[str, Any], pairs: list[str]) -> dict[str, Any]:
    """`guidance.scale=0.8` sets that field; values are JSON, or else plain text."""
    for pair in pairs:
        path, text = pair.split("=", 1)
        *parents, last = path.split(".")
        place = body
        for parent in parents:
            place = place.setdefault(parent, {})
        try:
            place[last] = json.loads(text)
        except json.JSONDecodeError:
            place[last] = text
    return body


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-digits", description=__doc__)
    parser.add_argument("--dataset-uri", default="sklearn://digits")
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--backbone", default="embedded/digits")
    parser.add_argument("--generation-seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--training-seeds", type=int, default=2)
    parser.add_argument("--arms", nargs="+", type=Arm, default=list(Arm))
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="change the spec, e.g. guidance.scale=0.8")
    parser.add_argument("--validation", action="store_true", help="choose settings on a part of the training split")
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write {arm: {mean, sd, n}} here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
