"""The settings of a training run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingConfig:
    """The settings of a training run.

    `label_dropout` is the share of images that train the null label of classifier-free guidance. A
    checkpoint is written every `checkpoint_every` steps or `checkpoint_seconds`, whichever comes
    first. Samples and the loss curve are written every `samples_seconds`. `threads` is the number
    of CPU threads; another number may change the last bits of the weights.
    """

    steps: int = 10_000
    batch_size: int = 96
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    ema_decay: float = 0.9995
    label_dropout: float = 0.1
    seed: int = 0
    threads: int = 1
    checkpoint_every: int = 500
    checkpoint_seconds: float = 120.0
    samples_seconds: float = 180.0
