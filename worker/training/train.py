"""Trains a small class-conditional DiT on the training split of a dataset."""

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DiTTransformer2DModel
from jaxtyping import Float, Int
from torch import Tensor

from app.domain.errors import PermanentError
from worker.seeds import generator
from worker.training import checkpoint
from worker.training.checkpoint import CHECKPOINT
from worker.training.config import TrainingConfig
from worker.training.durable import reported_failures
from worker.training.loss_curve import LossCurve
from worker.training.model import Architecture, build, noise_schedule

CPU = torch.device("cpu")


class TrainingStopped(Exception):
    """The run stopped after `step` steps, with all of them in the checkpoint."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped after step {step}")
        self.step = step


@dataclass(frozen=True)
class Trained:
    """The averaged weights, the mean loss over the last tenth of the steps, and the whole curve."""

    model: DiTTransformer2DModel
    loss: float
    curve: LossCurve


@dataclass(frozen=True)
class Observer:
    """Callbacks beside the training. None of them changes the weights.

    `on_step(step, loss)` is called after each step, `on_samples(averaged, curve)` every few
    minutes. The run stops after a step at which `stop_requested()` is true. `clock()` returns
    seconds.
    """

    on_step: Callable[[int, float], None] = lambda _step, _loss: None
    on_samples: Callable[[DiTTransformer2DModel, LossCurve], None] = lambda _model, _curve: None
    stop_requested: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = time.monotonic


class _State:
    """Everything that a checkpoint holds.

    That is the weights, their moving average, the optimizer, the number of finished steps, and the
    losses.
    """

    def __init__(self, architecture: Architecture, config: TrainingConfig, data: str, device: torch.device) -> None:
        self.fingerprint = checkpoint.fingerprint(architecture, config) | {"data": data}
        self.device = device
        self.step = 0
        self.curve = LossCurve(config.steps)
        self.model = build(architecture, config.seed).eval().to(device)
        self.averaged = build(architecture, config.seed).eval().to(device).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=config.learning_rate, weight_decay=0.01)

    def save(self, path: Path) -> None:
        parts: dict[str, Any] = {name: getattr(self, name).state_dict() for name in ("model", "averaged", "optimizer")}
        content = {"step": self.step, "fingerprint": self.fingerprint, "losses": self.curve.state(), **parts}
        with reported_failures(path.parent):
            checkpoint.write(path, content)

    def restore(self, path: Path) -> None:
        saved = checkpoint.read(path, self.device)
        checkpoint.check_same(path, saved["fingerprint"], self.fingerprint)
        self.step = saved["step"]
        self.curve.restore(saved["losses"])
        for name in ("model", "averaged", "optimizer"):
            getattr(self, name).load_state_dict(saved[name])


def train(
    images: Float[Tensor, "n c h w"],
    labels: Int[Tensor, " n"],
    architecture: Architecture,
    config: TrainingConfig,
    *,
    folder: Path,
    observer: Observer | None = None,
    device: torch.device = CPU,
) -> Trained:
    """The averaged model after `config.steps` steps on `images` in [-1, 1].

    The run continues from `folder`/checkpoint.pt if there is one. Every step draws from its own
    generator, so an interrupted run ends with the same weights as an undisturbed run.

    Raises PermanentError if the checkpoint belongs to a run with other settings or images, or if
    the loss is no longer finite. Raises TrainingStopped, after saving, if the observer requests a
    stop.
    """
    observer = observer or Observer()
    state = _State(architecture, config, _digest(images, labels), device)
    path = folder / CHECKPOINT
    if path.exists():
        state.restore(path)
    saved_at = sampled_at = observer.clock()
    while state.step < config.steps:
        loss = _step(state, images, labels, architecture, config)
        _require_finite(loss, state.step, path)
        state.curve.add(state.step, loss)
        observer.on_step(state.step, loss)
        stopping, now = observer.stop_requested(), observer.clock()
        samples_due = now - sampled_at >= config.samples_seconds
        if stopping or samples_due or _save_due(state.step, now - saved_at, config):
            state.save(path)
            saved_at = observer.clock()
        if stopping:
            raise TrainingStopped(state.step)
        if samples_due:
            observer.on_samples(state.averaged, state.curve)
            sampled_at = observer.clock()
    return Trained(state.averaged, state.curve.last_tenth(), state.curve)


def _save_due(step: int, seconds: float, config: TrainingConfig) -> bool:
    return step % config.checkpoint_every == 0 or step == config.steps or seconds >= config.checkpoint_seconds


def _require_finite(loss: float, step: int, path: Path) -> None:
    if not math.isfinite(loss):
        text = f"the loss is {loss} at step {step}: the training diverged; remove {path.parent} and choose a smaller"
        raise PermanentError(f"{text} --learning-rate")


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

    Timesteps are spread evenly over the batch from one random offset, which lowers the variance of
    the loss (Kingma et al., arXiv 2107.00630, appendix I.1).
    """
    schedule = noise_schedule()
    n, last = len(x0), schedule.config.num_train_timesteps
    t = ((torch.rand((), generator=g) + torch.arange(n) / n) % 1 * last).long().to(x0.device)
    eps = torch.randn(x0.shape, generator=g).to(x0.device)
    x_t = schedule.add_noise(x0, eps, t)
    prediction = model(x_t, timestep=t, class_labels=class_labels).sample
    return (prediction - eps).square().mean()


def learning_rate_factor(step: int, config: TrainingConfig) -> float:
    """The factor of the learning rate: linear warm-up, then a half cosine to zero."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * done))


@torch.no_grad()
def _average(state: _State, decay: float) -> None:
    """Update the exponential moving average of the weights.

    Its decay grows with the step, so that the start is soon forgotten.
    """
    decay = min(decay, (1 + state.step) / (10 + state.step))
    for mean, current in zip(state.averaged.parameters(), state.model.parameters(), strict=True):
        mean.lerp_(current, 1 - decay)
