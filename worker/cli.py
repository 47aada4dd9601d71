"""Commands that need the mathematics; they join `dapple` through the entry-point group `dapple.commands`."""

import shlex
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from app.domain.dataset_uri import parse, uri_of
from app.domain.errors import InvalidSpec
from app.domain.spec import HOLDOUT_FRACTION
from app.settings import settings_from
from worker.backbones.registry import device_named
from worker.datasets.base import Dataset
from worker.datasets.load import load
from worker.datasets.tensors import to_tensor
from worker.training.card import write_card
from worker.training.model import Architecture, save
from worker.training.train import CHECKPOINT, Trained, TrainingConfig
from worker.training.train import train as train_model

MAX_IMAGE_SIZE = 64
ANYWHERE = (Path("/"),)  # the user's own command reads what the user may read


def train(
    dataset: Annotated[str, typer.Argument(help="sklearn://digits, file:///a/folder, or a path.")],
    name: Annotated[str, typer.Option(help="Name of the new backbone; jobs then say it in `backbone`.")],
    image_size: Annotated[int, typer.Option(help="Width and height in pixels.", min=4, max=MAX_IMAGE_SIZE)] = 8,
    channels: Annotated[int, typer.Option(help="1 for grey, 3 for colour.", min=1, max=3)] = 1,
    patch_size: Annotated[int, typer.Option(help="Width and height of a token in pixels.", min=1)] = 2,
    heads: Annotated[int, typer.Option(help="Attention heads, 32 wide each.", min=1)] = 3,
    blocks: Annotated[int, typer.Option(help="Transformer blocks.", min=1)] = 6,
    steps: Annotated[int, typer.Option(min=1)] = TrainingConfig.steps,
    batch_size: Annotated[int, typer.Option(min=1)] = TrainingConfig.batch_size,
    learning_rate: Annotated[float, typer.Option(min=0)] = TrainingConfig.learning_rate,
    seed: Annotated[int, typer.Option(min=0)] = TrainingConfig.seed,
    threads: Annotated[int, typer.Option(help="CPU threads.", min=1)] = 2,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    data_dir: Annotated[Path | None, typer.Option(help="Where the service keeps everything.")] = None,
) -> None:
    """Train a small class-conditional diffusion backbone on your own images (up to 64 pixels).

    The test split, or the quarter of the images that stands in for it, is never seen. Interrupt it at any time: the same
    command goes on where it stopped.
    """
    torch.set_num_threads(threads)
    settings = settings_from() if data_dir is None else settings_from(data_dir=data_dir)
    folder = new_folder(settings.data_dir / "backbones", name)
    if channels == 2:
        raise InvalidSpec.of("channels", "images have 1 channel (grey) or 3 (colour)")
    images = load(
        parse(uri_of(dataset)),
        roots=ANYWHERE,
        image_size=image_size,
        channels=channels,
        holdout_fraction=HOLDOUT_FRACTION,
    )
    architecture = Architecture(image_size, channels, len(images.classes), heads, blocks=blocks, patch_size=patch_size)
    config = TrainingConfig(steps=steps, batch_size=batch_size, learning_rate=learning_rate, seed=seed)
    started = time.monotonic()
    trained = _train(images, architecture, config, folder, device_named(device))
    command = shlex.join(["dapple", *sys.argv[1:]])
    write_card(folder, name, images, config, trained, command=command, seconds=time.monotonic() - started)
    save(folder, trained.model, images.classes)
    (folder / CHECKPOINT).unlink()
    Console().print(f"trained {name} in {folder}; jobs may now say --backbone {name}", soft_wrap=True)


def new_folder(root: Path, name: str) -> Path:
    """The folder of a backbone yet to be trained, made if need be; one with a checkpoint in it is gone on with.

    Raises InvalidSpec if the name leaves `root` or is taken by a finished backbone.
    """
    folder = (root / name).resolve()
    if folder.parent != root.resolve() or name.startswith("."):
        raise InvalidSpec.of("name", f"{name!r} is no plain folder name")
    if (folder / "model_index.json").exists():
        raise InvalidSpec.of("name", f"there is a backbone {name!r} already in {folder}; remove it or choose another name")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _train(dataset: Dataset, architecture: Architecture, config: TrainingConfig, folder: Path, device: torch.device) -> Trained:
    images = to_tensor(dataset.train.images(range(len(dataset.train))))
    labels = torch.from_numpy(dataset.train.labels)
    with _progress_bar(config.steps) as on_step:
        return train_model(images, labels, architecture, config, folder=folder, device=device, on_step=on_step)


@contextmanager
def _progress_bar(steps: int) -> Generator[Callable[[int, float], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("training", total=steps)

        def show(step: int, loss: float) -> None:
            progress.update(bar, completed=step, description=f"training, loss {loss:.3f}")

        yield show
