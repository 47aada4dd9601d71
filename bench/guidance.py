"""What does kernel guidance cost, and what does the cost depend on? Ratios measured side by side, in one run.

The backbone is a DiT of 28 blocks with random weights, tapped at block 8: speed does not depend on their values.
`--model dit-xl-2 --device cuda --dtype bfloat16` takes the shape of DiT-XL/2 at 256 pixels.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress, pairwise
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel
from torch import Tensor

from app.domain.backbone import BackboneInfo, Family
from app.domain.spec.bandwidth import KernelChoice
from app.domain.spec.guidance import Guidance
from app.domain.spec.reference import Reference
from app.domain.spec.sampling import Sampling, Scheduler
from worker.backbones.dit import DiTBackbone
from worker.backbones.registry import device_named
from worker.datasets.base import Dataset, Split
from worker.disk_cache import DiskCache
from worker.guidance.guidance import GuidanceTerm
from worker.guidance.kernel_guidance import KernelGuidance
from worker.references.base import ReferencePlan, TapPoint, Target
from worker.references.feature_map import FeatureMap
from worker.references.targets import Reading, class_images_of, targets_for
from worker.sampling.loop import initial_noise, sample
from worker.seeds import generator

TAP = 8
BLOCKS = 28
CFG_SCALE = 4.0
IPC = 10
TASK = 30  # images; a sample task has about so many: see app/domain/plan.py
SIZES = (64, 1_000, 10_000, 100_000)
REFERENCES = 64
NAIVE_IMAGES = 1_000
NAIVE_BATCH = 100
ROUNDS = 3
GUIDANCE = Guidance(scale=0.1)
REFERENCE = Reference(count=REFERENCES, probes=True)
SCHEDULE = {"num_train_timesteps": 1000, "beta_schedule": "linear", "clip_sample": False}


@dataclass(frozen=True)
class Shape:
    """A DiT and its VAE: side of the latents, attention heads and their width, channels of the VAE's levels."""

    latent_size: int
    heads: int
    head_width: int
    vae_channels: tuple[int, ...]


SHAPES = {"mid": Shape(16, 4, 64, (8,)), "dit-xl-2": Shape(32, 16, 72, (128, 256, 512, 512))}


class EveryOther(GuidanceTerm):
    """Guides every other step, so that each has an unguided one beside it."""

    def active(self, step: int, steps: int) -> bool:
        return step % 2 == 0


class Bench:
    """One backbone, one cache, and what is done with them."""

    def __init__(self, options: argparse.Namespace, cache: Path) -> None:
        self.sampling = Sampling(scheduler=Scheduler.DDIM, steps=options.steps, cfg_scale=CFG_SCALE)
        self.transformer, self.vae, self.backbone = backbone(options)
        self.cache = DiskCache(cache, limit_bytes=1 << 40)
        self.tap = TapPoint((TAP,), FeatureMap(GUIDANCE.features, GUIDANCE.projection))
        self._targets: dict[tuple[int, int], Sequence[Target]] = {}

    def prepare(self, images: int, ipc: int) -> float:
        """Seconds until so many real images are ready to guide."""
        began = time.perf_counter()
        data = dataset(self.backbone.info.image_size, images)
        plan = ReferencePlan(REFERENCE, self.tap, tuple(self.backbone.stepper(self.sampling).timesteps))
        classes = [class_images_of(data, "0", 0, self.backbone)]
        self._targets[images, ipc] = targets_for(plan, self.backbone, classes, ipc=ipc, reading=Reading(self.cache, batch=256))
        self._wait()
        return time.perf_counter() - began

    def steps_of(self, images: int | None, ipc: int, *, first: int = 0) -> list[float]:
        """Seconds of each step of sampling a class; with real images, they guide every other one, from the first."""
        guidance = None
        if images is not None:
            direction = KernelGuidance(GUIDANCE, KernelChoice(), self.tap, self._targets[images, ipc])
            guidance = EveryOther(direction, GUIDANCE)
        conditions = self.backbone.conditions([0] * ipc)
        ends = [time.perf_counter()]

        def report(_done: int, _steps: int) -> None:
            self._wait()
            ends.append(time.perf_counter())

        sample(self.backbone, conditions, generators(ipc, first), self.sampling, guidance=guidance, report=report)
        return [end - start for start, end in pairwise(ends)]

    def step(self, images: int | None, ipc: int, *, first: int = 0) -> float:
        """Seconds of a step, guided or not: the median, as those that also measure what the references are worth are dearer."""
        return statistics.median(self.steps_of(images, ipc, first=first)[::2])

    def ratios(self, images: int, ipc: int) -> tuple[list[float], list[bool]]:
        """Guided step / the unguided one after it, of each two of a run, as the machine's speed drifts; which of them probe."""
        steps = self.steps_of(images, ipc)
        (target,) = self._targets[images, ipc]
        timesteps = self.backbone.stepper(self.sampling).timesteps
        probing = [target.reference.probe_at(t) is not None for t in timesteps[::2]]
        return [guided / unguided for guided, unguided in zip(steps[::2], steps[1::2], strict=True)], probing

    def naive_step(self, ipc: int, *, leave_at_tap: bool = False) -> float:
        """Seconds of one step of Algorithm 1 as it is written: features of all real images, the whole pass on the graph.

        `leave_at_tap` is kinder than that: real images go no further than the tap.
        """
        x = initial_noise(self.backbone, generators(ipc)).requires_grad_()
        real = torch.randn((NAIVE_IMAGES, *self.backbone.latent_shape), generator=generator("naive")).to(x)
        eps = torch.randn(real.shape, generator=generator("naive-noise")).to(real)
        t = self.backbone.stepper(self.sampling).timesteps[0]
        began = time.perf_counter()
        with torch.no_grad():
            noised = self.backbone.add_noise(real, eps, t)
            features = [self._naive_features(part, t, leave_at_tap=leave_at_tap) for part in noised.split(NAIVE_BATCH)]
            self._naive_features(x, t, label=self.backbone.info.label_count)
        distance = torch.cdist(self._naive_features(x, t), torch.cat(features)).mean(1).sum()
        torch.autograd.grad(distance, x)
        self._wait()
        return time.perf_counter() - began

    def _naive_features(self, x: Tensor, t: Tensor, *, label: int = 0, leave_at_tap: bool = False) -> Tensor:
        """The tokens after the tap, by a hook, in a pass of the whole model."""
        if leave_at_tap:
            return self.backbone.hidden(x, t, self.backbone.conditions([label] * len(x)), (TAP,))[0].flatten(1)
        tapped: list[Tensor] = []
        hook = self.transformer.transformer_blocks[TAP - 1].register_forward_hook(lambda _m, _i, out: tapped.append(out))
        labels = torch.full((len(x),), label, device=x.device)
        self.transformer(x.to(self.transformer.dtype), timestep=t.to(x.device).expand(len(x)), class_labels=labels)
        hook.remove()
        return tapped[0].flatten(1).to(x.dtype)

    def by_pipeline(self, count: int) -> float:
        """Seconds of sampling and decoding by diffusers' own pipeline."""
        pipeline = DiTPipeline(self.transformer, self.vae, DDIMScheduler.from_config(SCHEDULE))
        pipeline.set_progress_bar_config(disable=True)
        # The pipeline hands on the transformer's dtype; the VAE stays in float32, as ours does.
        hook = self.vae.post_quant_conv.register_forward_pre_hook(lambda _m, given: (given[0].to(self.vae.dtype),))
        began = time.perf_counter()
        pipeline([0] * count, CFG_SCALE, generators(count), self.sampling.steps, output_type="np")
        self._wait()
        seconds = time.perf_counter() - began
        hook.remove()
        return seconds

    def by_us(self, count: int) -> float:
        """Seconds of the same with guidance off."""
        began = time.perf_counter()
        conditions = self.backbone.conditions([0] * count)
        sampled = sample(self.backbone, conditions, generators(count), self.sampling)
        self.backbone.decode(sampled.latents).float().cpu().numpy()
        self._wait()
        return time.perf_counter() - began

    def _wait(self) -> None:
        if self.backbone.device.type == "cuda":
            torch.cuda.synchronize(self.backbone.device)


def backbone(options: argparse.Namespace) -> tuple[DiTTransformer2DModel, AutoencoderKL, DiTBackbone]:
    shape = SHAPES[options.model]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformer = DiTTransformer2DModel(
            num_attention_heads=shape.heads,
            attention_head_dim=shape.head_width,
            in_channels=4,
            out_channels=8,
            num_layers=BLOCKS,
            sample_size=shape.latent_size,
            patch_size=2,
            num_embeds_ada_norm=1000,
        )
        levels = len(shape.vae_channels)
        vae = AutoencoderKL(
            block_out_channels=shape.vae_channels,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            layers_per_block=2 if levels > 1 else 1,
            latent_channels=4,
            norm_num_groups=32 if levels > 1 else 4,
        )
    device = device_named(options.device)
    transformer.to(device, getattr(torch, options.dtype)).eval()
    info = BackboneInfo(
        name=options.model,
        family=Family.DIT,
        block_names=tuple(f"transformer_blocks.{number}" for number in range(BLOCKS)),
        image_size=shape.latent_size * 2 ** (levels - 1),
        channels=3,
        label_count=1000,
        learned_variance=True,
    )
    one = DiTBackbone(info, revision="random", transformer=transformer, vae=vae.to(device).eval(), scheduler_config=SCHEDULE)
    return transformer, vae, one


def dataset(image_size: int, images: int) -> Dataset:
    """So many random colour images of one class, made when they are read."""

    def read(indices: np.ndarray) -> np.ndarray:
        shape = (image_size, image_size, 3)
        return np.stack([np.random.default_rng(index).integers(0, 256, shape, dtype=np.uint8) for index in indices])

    split = Split(np.zeros(images, dtype=np.int64), tuple(f"{index:07}" for index in range(images)), read)
    return Dataset("random://", ("0",), split, split.subset([]), digest=f"random-{images}")


def generators(count: int, first: int = 0) -> list[torch.Generator]:
    return [generator("bench", first + index) for index in range(count)]


def measure(options: argparse.Namespace, cache: Path) -> dict[str, float]:
    """Every number of the table, by name."""
    bench = Bench(options, cache)
    told: dict[str, float] = {}
    for images in SIZES:
        first, again = bench.prepare(images, TASK), bench.prepare(images, TASK)
        progress(f"prepared {images} real images in {first:.1f} s, again in {again:.2f} s")
        if images == NAIVE_IMAGES:
            told["second_over_first_prepare"] = again / first
    for ipc in (IPC, 50):
        bench.prepare(NAIVE_IMAGES, ipc)
    told |= guided_ratios(bench, options.rounds)
    for ipc in (IPC, 50):
        told |= rounds(
            1,
            {
                "naive": lambda ipc=ipc: bench.naive_step(ipc),
                "naive, real images to the tap": lambda ipc=ipc: bench.naive_step(ipc, leave_at_tap=True),
                "ours": lambda ipc=ipc: bench.step(NAIVE_IMAGES, ipc),
            },
            {
                f"naive_over_ours_n{NAIVE_IMAGES}_ipc{ipc}": ("naive", "ours"),
                f"naive_to_tap_over_ours_n{NAIVE_IMAGES}_ipc{ipc}": ("naive, real images to the tap", "ours"),
            },
        )
    for count, suffix in ((IPC, ""), (TASK, "_task")):
        told |= rounds(
            ROUNDS,
            {"ours": lambda count=count: bench.by_us(count), "diffusers": lambda count=count: bench.by_pipeline(count)},
            {f"unguided_over_diffusers{suffix}": ("ours", "diffusers")},
        )
    told |= rounds(
        ROUNDS,
        {
            "batched": lambda: bench.step(None, IPC),
            "single": lambda: sum(bench.step(None, 1, first=i) for i in range(IPC)),
        },
        {"batched_over_batch1": ("batched", "single")},
    )
    for images in (SIZES[0], SIZES[-1]):
        told[f"peak_mib_n{images}"] = peak_mib(images, cache)
    return told


def guided_ratios(bench: Bench, count: int) -> dict[str, float]:
    """Guided over unguided steps: the medians of all pairs, and of those that also measure what the references are worth."""
    cases = [(images, TASK, "") for images in SIZES] + [(NAIVE_IMAGES, IPC, f"_ipc{IPC}")]
    bench.step(None, TASK)
    found: dict[str, list[float]] = {}
    for _ in range(count):
        for images, ipc, suffix in cases:
            ratios, probing = bench.ratios(images, ipc)
            progress(f"N = {images}, {ipc} images, guided over unguided: " + "  ".join(f"{ratio:.3f}" for ratio in ratios))
            found.setdefault(f"guided_over_unguided_n{images}{suffix}", []).extend(ratios)
            if images > REFERENCES:
                found.setdefault(f"probe_over_unguided_n{images}{suffix}", []).extend(compress(ratios, probing))
    return {name: statistics.median(ratios) for name, ratios in found.items()}


def rounds(count: int, arms: dict[str, Callable[[], float]], ratios: dict[str, tuple[str, str]]) -> dict[str, float]:
    """The medians over rounds of one arm's seconds over another's; in each round every arm runs once."""
    seconds = []
    for _ in range(count):
        seconds.append({name: arm() for name, arm in arms.items()})
        progress("  ".join(f"{name} {value:.3f} s" for name, value in seconds[-1].items()))
    return {name: statistics.median(one[above] / one[below] for one in seconds) for name, (above, below) in ratios.items()}


def peak_mib(images: int, cache: Path) -> float:
    """Peak memory of a process that samples once, its references at hand."""
    command = [sys.executable, "-m", "bench.guidance", *sys.argv[1:], "--peak-of", str(images), "--cache", str(cache)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_peak(options: argparse.Namespace) -> None:
    bench = Bench(options, options.cache)
    bench.prepare(options.peak_of, TASK)
    bench.step(options.peak_of, TASK)
    if bench.backbone.device.type == "cuda":
        print(torch.cuda.max_memory_allocated(bench.backbone.device) / 2**20)
    else:
        print(getrusage(RUSAGE_SELF).ru_maxrss / 2**10)


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    if options.peak_of is not None:
        print_peak(options)
        return
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as cache:
        told = measure(options, Path(cache))
    print(f"{options.model}, {options.device}, {options.dtype}, {options.threads} threads, {time.monotonic() - began:.0f} s")
    for name, value in told.items():
        print(f"{name:36} {value:10.3f}")
    if options.json:
        options.json.write_text(json.dumps(told, indent=2) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-guidance", description=__doc__)
    parser.add_argument("--model", choices=SHAPES, default="mid")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--steps", type=int, default=8, help="of a run; an even number")
    parser.add_argument("--rounds", type=int, default=4, help="of runs with every other step guided")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write {name: number} here")
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
