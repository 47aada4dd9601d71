"""The dataset card, README.md of the archive."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from app.domain.spec.guidance import Distance, Objective
from app.domain.spec.job_spec import DistillationSpec
from worker.archive.contents import ArchiveContents
from worker.archive.drawn_as import section
from worker.archive.markdown import code, plain

KERNEL_STEERING = """\
At each denoising step, the gradient of a kernel distance between the
model's features of the images in the making and of real training images steers the sample (after Diffusion As Priors,
arXiv 2510.17421)."""
STEERING = {
    Objective.INDUCED_DISTANCE: KERNEL_STEERING,
    Objective.MMD: KERNEL_STEERING,
    Objective.ENERGY: """\
At each denoising step, the gradient of the energy distance between the
model's features of the images in the making and of real training images steers the sample (after Diffusion As Priors,
arXiv 2510.17421).""",
    Objective.MODE: """\
At each denoising step, the sample is moved towards a mode of its class, a k-means centre of the latents of real training
images (after MGD3, arXiv 2505.18963).""",
    Objective.NONE: "Nothing but the class steered them.",
}

LOADING = """\
## Loading

Unpack the archive into a folder, here `distilled/`. Labels are numbers in the order of the class folders.

```python
from datasets import load_dataset

distilled = load_dataset("./distilled", split="train")  # image, label, class, index, seed, rank, ...
```

```python
from torchvision.datasets import ImageFolder

distilled = ImageFolder("distilled/train")
```

`train/metadata.parquet` has a row per image. `rank` orders the images of a class: those of rank below k are a smaller set of k
images per class, though a weaker one than a set made with k images per class. `manifest.json` has the whole job, the versions
that ran it, and the SHA-256 of every file.
"""

LIMITS = """\
## Limits

- The images are synthetic. They were made to train classifiers of these classes, not to be looked at or to stand for the
  people or things in the original.
- A generative model can repeat its training images, and guidance pulls towards real ones: treat this set as no less
  sensitive than the original, whose licence and terms it may inherit.
- The accuracies hold for this set, one network, one training recipe and one test split; the intervals cover its training
  seeds, not the sets of other jobs.
"""


def card(contents: ArchiveContents, classes: Sequence[str]) -> str:
    """The README, with the YAML header that dataset hubs read; `classes` in the order of their
    labels.
    """
    parts = [_header(contents), _what(contents, classes), *_warnings(contents.warnings), _report(contents.summary)]
    return "\n".join([*parts, *filter(None, [section(classes, contents.drawn_as)]), LOADING, LIMITS])


def table(summary: Mapping[str, Any]) -> str:
    """The evaluation's summary as a Markdown table and its verdict."""
    ahead = {difference["arm"]: difference for difference in summary["differences"]}
    rows = ["| Training set | Images | Accuracy | 95 % interval | Guided is ahead by |", "|---|---:|---:|---:|---:|"]
    rows += [_row(arm, ahead.get(arm["arm"])) for arm in summary["arms"]]
    return "\n".join([*rows, "", summary["verdict"]])


def _warnings(warnings: Sequence[str]) -> list[str]:
    return ["\n".join(["## Warnings", "", *(f"- {plain(warning)}" for warning in warnings), ""])] if warnings else []


def _header(contents: ArchiveContents) -> str:
    count = len(contents.images)
    size = next((f"{low}<n<{high}" for limit, low, high in SIZES if count < limit), "n>1M")
    fields = {
        "pretty_name": f"Distilled, {contents.spec.ipc} images per class",
        "task_categories": ["image-classification"],
        "tags": ["dataset-distillation", "synthetic"],
        "size_categories": ["n<1K" if count < 1000 else size],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "train/**"}]}],
    }
    lines = (f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items())
    return "\n".join(["---", *lines, "---", ""])


SIZES = ((10**4, "1K", "10K"), (10**5, "10K", "100K"), (10**6, "100K", "1M"))


def _what(contents: ArchiveContents, classes: Sequence[str]) -> str:
    spec = contents.spec
    height, width = contents.images.shape[1:3]
    return f"""\
# Distilled dataset

{len(contents.images):,} synthetic images of {len(classes):,} classes, {spec.ipc} per class, {width} x {height} pixels,
made to train classifiers in place of the dataset they were distilled from.

![preview](preview.png)

| | |
|---|---|
| Source | {code(spec.dataset_uri)} |
| Backbone | {code(spec.backbone)} |
| Sampling | {_sampling(contents)} |
| Guidance | {_guidance(spec)} |
| Rank and distance | {_kernel(spec)} |
| Seed | {spec.seed} |

The images were drawn from a diffusion model by Dapple. {STEERING[_objective(spec)]}
"""


def _sampling(contents: ArchiveContents) -> str:
    sampling = contents.spec.sampling
    told = [contents.provenance["scheduler"], f"{sampling.steps} steps"]
    if sampling.cfg_scale > 1:
        told.append(f"classifier-free guidance {sampling.cfg_scale:g}")
    if sampling.prompt:
        told.append(f"prompt {code(sampling.prompt)}")
    if sampling.negative_prompt:
        told.append(f"negative prompt {code(sampling.negative_prompt)}")
    return ", ".join(told)


def _objective(spec: DistillationSpec) -> Objective:
    """What steered the images; `none` also where the scale is 0."""
    return spec.guidance.objective if spec.guidance.scale else Objective.NONE


def _guidance(spec: DistillationSpec) -> str:
    objective, guidance = _objective(spec), spec.guidance
    if objective is Objective.NONE:
        return objective
    squared = "squared " if guidance.distance is Distance.SQUARED else ""
    kernel = f", {_kernel(spec)}" if objective.has_kernel else ""
    return f"{squared}{objective}{kernel}, scale {guidance.scale:g} ({guidance.scale_mode})"


def _kernel(spec: DistillationSpec) -> str:
    if not spec.kernel.has_bandwidth:
        return f"{spec.kernel} kernel"
    if isinstance(spec.kernel_bandwidth, tuple):
        return f"mean of {spec.kernel} kernels, bandwidths {', '.join(map(_bandwidth, spec.kernel_bandwidth))}"
    return f"{spec.kernel} kernel, bandwidth {_bandwidth(spec.kernel_bandwidth)}"


def _bandwidth(bandwidth: float | str | None) -> str:
    if isinstance(bandwidth, str):
        return f"{bandwidth.removesuffix('x')} x median" if bandwidth.endswith("x") else bandwidth
    return f"{bandwidth:g}"


def _report(summary: Mapping[str, Any] | None) -> str:
    if summary is None:
        return "## Evaluation\n\nThis job asked for no evaluation.\n"
    return f"""\
## Evaluation

Accuracy on held-out real images in percent, after the last training iteration, protocol `{summary["protocol"]}`, as mean ±
standard deviation over training seeds. No held-out image was seen by the sampling or by any training.

{table(summary)}
"""


def _row(arm: Mapping[str, Any], ahead: Mapping[str, Any] | None) -> str:
    spread = f" ± {arm['sd']:.1f}" if arm["sd"] is not None else ""
    without = "one seed" if arm["sd"] is None else "no spread"
    lead = f"{ahead['mean']:+.1f} ({_span(ahead['ci95'], without='no interval')})" if ahead else ""
    cells = (arm["label"], f"{arm['images']:,}", f"{arm['mean']:.1f}{spread}", _span(arm["ci95"], without=without), lead)
    return f"| {' | '.join(cells)} |"


def _span(interval: Sequence[float] | None, *, without: str) -> str:
    return f"{interval[0]:.1f} to {interval[1]:.1f}" if interval else without
