"""A small class-conditional DiT, and the diffusers folder in which it is saved."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from diffusers import DDPMScheduler, DiTTransformer2DModel

from app.domain.errors import InvalidSpec
from worker.training.durable import sync_all, write_text

INDEX = "model_index.json"


@dataclass(frozen=True)
class Architecture:
    """The size of a DiT on pixels.

    The width is `heads` * `head_dim`, and there are (image_size / patch_size)^2 tokens. Raises
    InvalidSpec if the patch does not divide the image.
    """

    image_size: int
    channels: int
    classes: int
    heads: int = 3
    head_dim: int = 32
    blocks: int = 6
    patch_size: int = 2

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size:
            raise InvalidSpec.of("patch_size", f"{self.image_size} pixels are not a multiple of {self.patch_size}")

    @property
    def width(self) -> int:
        """How many numbers the hidden state of a token has."""
        return self.heads * self.head_dim

    @property
    def token_numbers(self) -> int:
        """How many numbers of the image a token holds."""
        return self.patch_size**2 * self.channels

    @property
    def inexpressible(self) -> str | None:
        """Why the model can draw nothing but noise; None if it can draw more.

        Tokens may have at most half as many numbers as the model is wide. The last layer must
        express the noise, whose numbers are independent, and beside it the content of the tokens
        themselves. A model of width 128 with tokens of 192 numbers drew only noise.
        """
        if 2 * self.token_numbers <= self.width:
            return None
        p, numbers = self.patch_size, self.token_numbers
        reason = (
            f"tokens of {p} x {p} x {self.channels} = {numbers} numbers in a model {self.width} wide ({self.heads} heads of "
            f"{self.head_dim}) cannot express the prediction: at most half the width, {self.width // 2} numbers, can be drawn"
        )
        smaller = largest_patch(self.image_size, self.channels, self.width)
        remedies = [f"--patch-size {smaller}"] if smaller else []
        return f"{reason}; choose {' or '.join([*remedies, f'--heads {-(-2 * numbers // self.head_dim)}'])}"


def largest_patch(image_size: int, channels: int, width: int) -> int | None:
    """The largest patch that divides the image and has at most half of `width` numbers.

    None if even a patch of 1 pixel has more.
    """
    fitting = (p for p in range(image_size, 0, -1) if image_size % p == 0 and 2 * p * p * channels <= width)
    return next(fitting, None)


def build(architecture: Architecture, seed: int) -> DiTTransformer2DModel:
    """A freshly initialised model. The global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = DiTTransformer2DModel(
            num_attention_heads=architecture.heads,
            attention_head_dim=architecture.head_dim,
            in_channels=architecture.channels,
            num_layers=architecture.blocks,
            sample_size=architecture.image_size,
            patch_size=architecture.patch_size,
            num_embeds_ada_norm=architecture.classes,
            norm_type="ada_norm_zero",
        )
        _zero_initialise(model)
    return model


def _zero_initialise(model: DiTTransformer2DModel) -> None:
    """Initialise as adaLN-Zero does: every block starts as the identity and the model as zero.

    Peebles and Xie, section 3.2.
    """
    closing = [block.norm1.linear for block in model.transformer_blocks] + [model.proj_out_1, model.proj_out_2]
    for layer in closing:
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)


@cache
def noise_schedule() -> DDPMScheduler:
    """The squared-cosine schedule of 1,000 timesteps on pixels in [-1, 1].

    Nichol and Dhariwal, arXiv 2102.09672, eq. 17.
    """
    return DDPMScheduler(
        num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2", prediction_type="epsilon", clip_sample=True
    )


def save(folder: Path, model: DiTTransformer2DModel, classes: Sequence[str]) -> None:
    """Write `model` as a DiTPipeline folder without a VAE.

    `DiTPipeline.from_pretrained(folder, vae=None)` opens it. The file model_index.json makes the
    folder a backbone. It is written last, in one step, when all other files are on the disk.
    """
    model.save_pretrained(folder / "transformer", safe_serialization=True)
    noise_schedule().save_pretrained(folder / "scheduler")
    sync_all(folder)
    index = {
        "_class_name": "DiTPipeline",
        "id2label": {str(label): name for label, name in enumerate(classes)},
        "scheduler": ["diffusers", "DDPMScheduler"],
        "transformer": ["diffusers", "DiTTransformer2DModel"],
        "vae": [None, None],
    }
    write_text(folder / INDEX, json.dumps(index, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
