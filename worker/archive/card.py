"""The dataset card, README.md of the archive."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from app.domain.spec.guidance import Distance, Objective
from app.domain.spec.job_spec import DistillationSpec
from worker.archive.contents import ArchiveContents
from worker.archive.drawn_as import section
from worker.archive.markdown import code, plain

KERNEL_GUIDANCE = """\
At each denoising step, guidance moves the samples along the negative gradient of a kernel distance. The distance compares
the model's features of the samples with its features of real training images (after Diffusion As Priors, arXiv 2510.17421)."""
GUIDANCE = {
    Objective.INDUCED_DISTANCE: KERNEL_GUIDANCE,
    Objective.MMD: KERNEL_GUIDANCE,
    Objective.ENERGY: """\
At each denoising step, guidance moves the samples along the negative gradient of the energy distance. The distance compares
the model's features of the samples with its features of real training images (after Diffusion As Priors, arXiv 2510.17421).""",
    Objective.MODE: """\
At each denoising step, guidance moves each sample towards a mode of its class. A mode is a k-means centre of the latents of
real training images (after MGD3, arXiv 2505.18963).""",
    Objective.NONE: "Only the class conditioned them; there was no guidance by real images.",
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

`train/metadata.parquet` has one row per image. `rank` orders the images of a class: the images of rank below k form a smaller
set of k images per class. A job with k images per class makes a better set of that size. `manifest.json` has the spec of the
job, the versions of the software, and the SHA-256 of every file.
"""

LIMITS = """\
## Limits

- The images are synthetic. Their purpose is to train classifiers of these classes. They do not show the people or things of
  the original dataset.
- A generative model can reproduce its training images, and guidance moves samples towards real images. Treat this set as no
  less sensitive than the original dataset. Its licence and terms may also apply to this set.
- The accuracies hold for this set, one network, one training recipe and one test split. The intervals cover the training
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
for training classifiers in place of the original dataset.

![preview](preview.png)

| | |
|---|---|
| Source | {code(spec.dataset_uri)} |
| Backbone | {code(spec.backbone)} |
| Sampling | {_sampling(contents)} |
| Guidance | {_guidance(spec)} |
| Rank and distance | {_kernel(spec)} |
| Seed | {spec.seed} |

Dapple sampled the images from a diffusion model. {GUIDANCE[_objective(spec)]}
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
    """The objective that guided the images; `none` also if the scale is 0."""
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
        return "## Evaluation\n\nThis job has no evaluation.\n"
    return f"""\
## Evaluation

Accuracy on held-out real images in percent, after the last training iteration, protocol `{summary["protocol"]}`, as mean ±
standard deviation over training seeds. Neither the sampling nor any training used the held-out images.

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
