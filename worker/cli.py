"""Commands that need the mathematics; they join `dapple` through the entry-point group `dapple.commands`."""

import shlex
import sys
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from app.domain.dataset_uri import parse
from app.settings import Settings
from worker.datasets.base import Dataset
from worker.datasets.load import load
from worker.datasets.tensors import to_tensor
from worker.training.card import write_card
from worker.training.model import Architecture, save
from worker.training.train import CHECKPOINT, Trained, TrainingConfig
from worker.training.train import train as train_model

MAX_IMAGE_SIZE = 64


def train(
    uri: Annotated[str, typer.Argument(help="Dataset to train on: sklearn://digits or file:///a/folder.")],
    name: Annotated[str, typer.Option(help="Name of the new backbone; jobs then say `backbone: NAME`.")],
    image_size: Annotated[int, typer.Option(help="Width and height in pixels.", min=4, max=MAX_IMAGE_SIZE)] = 8,
    channels: Annotated[int, typer.Option(help="1 for grey, 3 for colour.", min=1, max=3)] = 1,
    patch_size: Annotated[int, typer.Option(help="Pixels per token side.", min=1)] = 2,
    heads: Annotated[int, typer.Option(help="Attention heads of width 32.", min=1)] = 3,
    blocks: Annotated[int, typer.Option(help="Transformer blocks.", min=1)] = 6,
    steps: Annotated[int, typer.Option(min=1)] = TrainingConfig.steps,
    batch_size: Annotated[int, typer.Option(min=1)] = TrainingConfig.batch_size,
    learning_rate: Annotated[float, typer.Option(min=0)] = TrainingConfig.learning_rate,
    seed: Annotated[int, typer.Option(min=0)] = TrainingConfig.seed,
    threads: Annotated[int, typer.Option(help="CPU threads.", min=1)] = 2,
    data_dir: Annotated[Path | None, typer.Option(help="Where the service keeps everything.")] = None,
) -> None:
    """Train a small class-conditional diffusion backbone on your own images (up to 64 pixels).

    The test split, or the quarter of the images that stands in for it, is never seen. Interrupt it at any time: the same
    command goes on where it stopped.
    """
    torch.set_num_threads(threads)
    settings = Settings() if data_dir is None else Settings(data_dir=data_dir)
    dataset = load(
        parse(uri),
        roots=(Path("/"),),
        image_size=image_size,
        channels=channels,
        holdout_fraction=0.25,
    )
    architecture = Architecture(image_size, channels, len(dataset.classes), heads, blocks=blocks, patch_size=patch_size)
    config = TrainingConfig(steps=steps, batch_size=batch_size, learning_rate=learning_rate, seed=seed)
    folder = settings.data_dir / "backbones" / name
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    trained = _with_progress_bar(dataset, architecture, config, folder)
    save(folder, trained.model, dataset.classes)
    command = shlex.join(["dapple", *sys.argv[1:]])
    write_card(folder, name, dataset, config, trained, command=command, seconds=time.monotonic() - started)
    (folder / CHECKPOINT).unlink()
    Console().print(f"[green]Trained[/green] {name} in {folder}; jobs may now say --backbone {name}")


def _with_progress_bar(dataset: Dataset, architecture: Architecture, config: TrainingConfig, folder: Path) -> Trained:
    images = to_tensor(dataset.train.images(range(len(dataset.train))))
    labels = torch.from_numpy(dataset.train.labels)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("training", total=config.steps)

        def on_step(step: int, loss: float) -> None:
            progress.update(bar, completed=step, description=f"training, loss {loss:.3f}")

        return train_model(images, labels, architecture, config, folder=folder, on_step=on_step)
