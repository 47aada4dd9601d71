"""The model card of a trained backbone."""

from pathlib import Path

from worker.datasets.base import Dataset
from worker.training.config import TrainingConfig
from worker.training.durable import write_text
from worker.training.train import Trained

CARD = """\
---
license: apache-2.0
library_name: diffusers
tags: [dapple, dataset-distillation, class-conditional, dit]
---
# {name}

A class-conditional DiT on pixels ({parameters:,} parameters, {image_size} x {image_size}, {channels} channel(s),
{blocks} blocks), written by `dapple train` as a diffusers `DiTPipeline` folder without a VAE.

| | |
|---|---|
| data | `{uri}`, digest `{digest}` |
| split | training split only: {train:,} images of {classes} classes; {test:,} held-out images never seen |
| command | `{command}` |
| seed | {seed} |
| CPU threads | {threads} |
| loss | {loss:.4f} (noise prediction, mean over the last tenth of the steps; [curve](training/loss.csv)) |
| duration | {minutes:.0f} minutes (this run) |

Noise schedule: squared cosine, 1,000 timesteps, noise prediction. Weights: exponential moving average, decay {ema_decay}.
Null label for classifier-free guidance: {classes}, trained on {label_dropout:.0%} of the images.

What it draws, from the same noise throughout the training, beside real images of the same classes
(20 DDIM steps, classifier-free guidance 2):

![samples](training/samples.png)

Made for dataset distillation at small scale and for tests; as an image generator it is a toy.
"""


def write_card(
    folder: Path, name: str, dataset: Dataset, config: TrainingConfig, trained: Trained, *, command: str, seconds: float
) -> None:
    """Write README.md beside the weights: data, split, command, seed, loss, duration in minutes."""
    shape = trained.model.config
    text = CARD.format(
        name=name,
        parameters=sum(p.numel() for p in trained.model.parameters()),
        image_size=shape.sample_size,
        channels=shape.in_channels,
        blocks=shape.num_layers,
        uri=dataset.uri,
        digest=dataset.digest,
        train=len(dataset.train),
        test=len(dataset.test),
        classes=len(dataset.classes),
        command=command,
        seed=config.seed,
        threads=config.threads,
        loss=trained.loss,
        minutes=seconds / 60,
        ema_decay=config.ema_decay,
        label_dropout=config.label_dropout,
    )
    write_text(folder / "README.md", text)
