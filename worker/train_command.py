"""Commands that need the numerical libraries.

They join `dapple` through the entry-point group `dapple.commands`.
"""

import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from app.domain.dataset_uri import parse, uri_of
from app.domain.spec.evaluation import HOLDOUT_FRACTION
from app.settings import settings_from
from worker.backbones.registry import device_named
from worker.datasets.base import Dataset
from worker.datasets.dataset_warnings import dataset_warnings
from worker.datasets.decode import Pixels
from worker.datasets.library import Source, Survey
from worker.datasets.tensors import to_tensor
from worker.service.scratch_folders import scratch_folder
from worker.service.worker_process import library_of
from worker.training.card import write_card
from worker.training.checkpoint import CHECKPOINT, check_same, fingerprint, recorded
from worker.training.config import TrainingConfig
from worker.training.durable import reported_failures
from worker.training.folder import RECORD, refuse_escaped, training_folder
from worker.training.interrupts import Interrupts, noted_interrupts
from worker.training.model import Architecture, save
from worker.training.progress import shown_progress
from worker.training.record import Record
from worker.training.sizing import LARGEST_SIZE, LEAST_SIZE, Wishes, architecture_for, described, refuse_inexpressible
from worker.training.threads import candidates, fastest, measured, step_seconds
from worker.training.train import Observer, Trained, TrainingStopped
from worker.training.train import train as train_model

ANYWHERE = (Path("/"),)  # a command of the user may read every file that the user may read
MEASURED_STEPS = 200  # a run of fewer steps ends before a measurement pays off

messages = Console(stderr=True, highlight=False, soft_wrap=True)


def train(
    dataset: Annotated[str, typer.Argument(help="A path, or a URI: sklearn://digits, file://, https://, s3:// or hf://.")],
    name: Annotated[str, typer.Option(help="Name of the new backbone. Jobs then give it as `backbone`.")],
    image_size: Annotated[
        int | None,
        typer.Option(
            help=f"Width and height in pixels, up to {LARGEST_SIZE}. Default: the size of the images, at most 32.",
            min=LEAST_SIZE,
            max=LARGEST_SIZE,
        ),
    ] = None,
    channels: Annotated[
        int | None, typer.Option(help="1 for grey, 3 for colour. Default: 3 if the images have colour.", min=1, max=3)
    ] = None,
    patch_size: Annotated[
        int | None, typer.Option(help="Width and height of a token in pixels. Default: a size that the model can draw.", min=1)
    ] = None,
    heads: Annotated[
        int | None, typer.Option(help="Attention heads, 32 wide each. Default: as many as the patch needs.", min=1)
    ] = None,
    blocks: Annotated[int, typer.Option(help="Transformer blocks.", min=1)] = 6,
    steps: Annotated[int, typer.Option(min=1)] = TrainingConfig.steps,
    batch_size: Annotated[int, typer.Option(min=1)] = TrainingConfig.batch_size,
    learning_rate: Annotated[float, typer.Option(min=0)] = TrainingConfig.learning_rate,
    seed: Annotated[int, typer.Option(min=0)] = TrainingConfig.seed,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads. Default: DAPPLE_THREADS, else the fastest in a short trial.", min=1)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    data_dir: Annotated[Path | None, typer.Option(help="The folder where the service keeps all its data.")] = None,
) -> None:
    """Train a small class-conditional diffusion backbone on your own images (up to 64 pixels).

    The training never sees the test split, or the quarter of the images that stands in for it.
    Interrupt the training at any time: the same command continues where it stopped. Meanwhile, the
    folder training/ of the backbone shows samples and the loss.
    """
    settings = settings_from() if data_dir is None else settings_from(data_dir=data_dir)
    where = device_named(device)
    uri = parse(uri_of(dataset))
    config = TrainingConfig(steps=steps, batch_size=batch_size, learning_rate=learning_rate, seed=seed)
    wishes = Wishes(image_size, channels, patch_size, heads, blocks)
    with training_folder(settings.data_dir / "backbones", name) as folder:
        unfinished = recorded(folder / CHECKPOINT)
        source, library = Source(uri, ANYWHERE, HOLDOUT_FRACTION), library_of(settings)
        with shown_progress(messages, "reading images") as update, scratch_folder(settings.scratch_dir) as scratch:
            found = library.survey(source, scratch, lambda done, total: update(done, total, ""))
        architecture = _sized(found, wishes, steps)
        asked = threads or (settings.threads if "threads" in settings.model_fields_set else None)
        config = replace(config, threads=asked or _threads(architecture, config, unfinished, where))
        if unfinished is not None:
            check_same(folder / CHECKPOINT, unfinished, fingerprint(architecture, config))
        torch.set_num_threads(config.threads)
        form = Pixels(architecture.image_size, architecture.channels)
        images = library.same(source, form, found.digest)
        for warning in dataset_warnings(images):
            messages.print(warning.message, markup=False)
        _run(images, architecture, config, folder=folder, device=where)
    messages.print(f"trained {name} in {folder}; jobs may now say --backbone {name}", markup=False)


def _sized(found: Survey, wishes: Wishes, steps: int) -> Architecture:
    """The architecture for these images, which is also printed.

    Raises an error for names and sizes that would fail later.
    """
    refuse_escaped(found.escaped)
    chosen = architecture_for(found, wishes)
    warning = refuse_inexpressible(chosen, steps)
    messages.print(described(found, chosen), markup=False)
    if warning:
        messages.print(f"this is a trial of a few steps, and more would not help: {warning}", markup=False)
    return chosen


def _threads(
    architecture: Architecture, config: TrainingConfig, unfinished: Mapping[str, Any] | None, device: torch.device
) -> int:
    """The thread count of an unfinished run, else the count that a trial finds fastest.

    The count is 1 where the trial would take longer than it saves.
    """
    if unfinished is not None:
        return unfinished.get("threads", 1)
    if device.type != "cpu" or config.steps < MEASURED_STEPS:
        return 1
    seconds = measured(candidates(), step_seconds(architecture, config))
    speeds = ", ".join(f"{1 / each:.1f} steps a second with {count}" for count, each in seconds.items())
    messages.print(f"CPU threads: {fastest(seconds)} (tried: {speeds}; --threads or DAPPLE_THREADS choose)", markup=False)
    return fastest(seconds)


def _run(dataset: Dataset, architecture: Architecture, config: TrainingConfig, *, folder: Path, device: torch.device) -> None:
    """Train and write the backbone.

    Raises typer.Exit after a signal, with all steps in the checkpoint.
    """
    started = time.monotonic()
    with noted_interrupts() as interrupts:
        try:
            trained = _train(dataset, architecture, config, folder=folder, device=device, interrupts=interrupts)
        except TrainingStopped as stopped:
            text = (
                f"{stopped} of {config.steps:,}; all of it is in {folder / CHECKPOINT}, and the same command goes on from there"
            )
            messages.print(f"dapple: {text}", markup=False)
            raise typer.Exit(interrupts.exit_code) from stopped
        seconds = time.monotonic() - started
        with reported_failures(folder):
            write_card(
                folder, folder.name, dataset, config, trained, command=shlex.join(["dapple", *sys.argv[1:]]), seconds=seconds
            )
            save(folder, trained.model, dataset.classes)
            (folder / CHECKPOINT).unlink()


def _train(
    dataset: Dataset,
    architecture: Architecture,
    config: TrainingConfig,
    *,
    folder: Path,
    device: torch.device,
    interrupts: Interrupts,
) -> Trained:
    images = to_tensor(dataset.train.images(range(len(dataset.train))))
    labels = torch.from_numpy(dataset.train.labels)

    def stop_requested() -> bool:
        return interrupts.received is not None

    record = Record(folder / RECORD, images, labels, dataset.classes, seed=config.seed, stop_requested=stop_requested)
    messages.print(f"samples and loss curve: {folder / RECORD}", markup=False)
    with shown_progress(messages, "training") as update:
        observer = Observer(
            on_step=lambda step, loss: update(step, config.steps, f"loss {loss:.3f}"),
            on_samples=record.write,
            stop_requested=stop_requested,
        )
        trained = train_model(images, labels, architecture, config, folder=folder, observer=observer, device=device)
    record.write(trained.model, trained.curve)
    return trained
