"""Train a small class-conditional DiT on the training split of a dataset."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from diffusers import DiTTransformer2DModel
from jaxtyping import Float, Int
from torch import Tensor

from app.domain.errors import PermanentError
from worker.seeds import generator
from worker.training.model import Architecture, build, noise_schedule

CHECKPOINT = "checkpoint.pt"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class TrainingConfig:
    """How to train; `label_dropout` is the share of images that train the null label of classifier-free guidance."""

    steps: int = 10_000
    batch_size: int = 96
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    ema_decay: float = 0.9995
    label_dropout: float = 0.1
    seed: int = 0
    checkpoint_every: int = 500


@dataclass(frozen=True)
class Trained:
    """The averaged weights, and the mean loss over the last tenth of the steps of this run."""

    model: DiTTransformer2DModel
    loss: float


class _State:
    """Everything a checkpoint holds: weights, their moving average, optimizer, number of finished steps."""

    def __init__(self, architecture: Architecture, config: TrainingConfig, data: str, device: torch.device) -> None:
        self.fingerprint = {**asdict(architecture), **asdict(config), "data": data}
        self.device = device
        self.step = 0
        self.model = build(architecture, config.seed).eval().to(device)
        self.averaged = build(architecture, config.seed).eval().to(device).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=config.learning_rate, weight_decay=0.01)

    def save(self, path: Path) -> None:
        parts = {name: getattr(self, name).state_dict() for name in ("model", "averaged", "optimizer")}
        unfinished = path.with_suffix(".part")
        torch.save({"step": self.step, "fingerprint": self.fingerprint, **parts}, unfinished)
        unfinished.replace(path)

    def restore(self, path: Path) -> None:
        saved = torch.load(path, weights_only=True, map_location=self.device)
        if saved["fingerprint"] != self.fingerprint:
            raise PermanentError(f"{path} belongs to a run with other settings or images; remove it or repeat that run")
        self.step = saved["step"]
        for name in ("model", "averaged", "optimizer"):
            getattr(self, name).load_state_dict(saved[name])


def train(
    images: Float[Tensor, "n c h w"],
    labels: Int[Tensor, " n"],
    architecture: Architecture,
    config: TrainingConfig,
    *,
    folder: Path,
    on_step: Callable[[int, float], None],
    device: torch.device = CPU,
) -> Trained:
    """The averaged model after `config.steps` steps on `images` in [-1, 1].

    Goes on from `folder`/checkpoint.pt if there is one. Every step draws from its own generator, so an interrupted
    run ends with the same weights as an undisturbed one.

    Raises PermanentError if the checkpoint belongs to a run with other settings or images.
    """
    state = _State(architecture, config, _digest(images, labels), device)
    checkpoint = folder / CHECKPOINT
    if checkpoint.exists():
        state.restore(checkpoint)
    tail: list[float] = []
    while state.step < config.steps:
        loss = _step(state, images, labels, architecture, config)
        if state.step > 0.9 * config.steps:
            tail.append(loss)
        on_step(state.step, loss)
        if state.step % config.checkpoint_every == 0 or state.step == config.steps:
            state.save(checkpoint)
    return Trained(state.averaged, sum(tail) / len(tail) if tail else math.nan)


def _digest(images: Tensor, labels: Tensor) -> str:
    return hashlib.sha256(images.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()


def _step(state: _State, images: Tensor, labels: Tensor, architecture: Architecture, config: TrainingConfig) -> float:
    g = generator(config.seed, "train", state.step)
    chosen = torch.randint(len(images), (config.batch_size,), generator=g)
    dropped = torch.rand(config.batch_size, generator=g) < config.label_dropout
    given = torch.where(dropped, architecture.classes, labels[chosen])
    loss = epsilon_loss(state.model, images[chosen].to(state.device), given.to(state.device), g)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(state.model.parameters(), 1.0)
    for group in state.optimizer.param_groups:
        group["lr"] = config.learning_rate * learning_rate_factor(state.step, config)
    state.optimizer.step()
    state.optimizer.zero_grad()
    state.step += 1
    _average(state, config.ema_decay)
    return loss.item()


def epsilon_loss(
    model: DiTTransformer2DModel, x0: Float[Tensor, "n c h w"], class_labels: Int[Tensor, " n"], g: torch.Generator
) -> Float[Tensor, ""]:
    """E |eps - eps_theta(x_t, t, c)|^2 (Ho et al., arXiv 2006.11239, eq. 14).

    Timesteps are spread evenly over the batch from one random offset, which lowers the variance of the loss
    (Kingma et al., arXiv 2107.00630, appendix I.1).
    """
    schedule = noise_schedule()
    n, last = len(x0), schedule.config.num_train_timesteps
    t = ((torch.rand((), generator=g) + torch.arange(n) / n) % 1 * last).long().to(x0.device)
    eps = torch.randn(x0.shape, generator=g).to(x0.device)
    x_t = schedule.add_noise(x0, eps, t)
    prediction = model(x_t, timestep=t, class_labels=class_labels).sample
    return (prediction - eps).square().mean()


def learning_rate_factor(step: int, config: TrainingConfig) -> float:
    """Linear warm-up, then a half cosine to zero."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * done))


@torch.no_grad()
def _average(state: _State, decay: float) -> None:
    """Exponential moving average; its decay grows with the step so that the start is soon forgotten."""
    decay = min(decay, (1 + state.step) / (10 + state.step))
    for mean, current in zip(state.averaged.parameters(), state.model.parameters(), strict=True):
        mean.lerp_(current, 1 - decay)
