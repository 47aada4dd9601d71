"""What the adapters of prompted models share."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from app.domain.class_conditioning import Condition
from app.domain.errors import InvalidSpec
from worker.backbones.base import Conditions
from worker.backbones.diffusion import DiffusionBackbone
from worker.backbones.precision import not_finite


class PromptedBackbone(DiffusionBackbone):
    """A diffusion model whose conditions are prompts, encoded by its text encoders."""

    @abstractmethod
    def _encode(self, prompts: list[str]) -> tuple[Tensor, ...]:
        """The encoded prompts: tensors whose first axis is that of the prompts."""

    @abstractmethod
    def _excess(self, prompt: str) -> int:
        """How many tokens of the prompt are too many for every text encoder."""

    @torch.no_grad()
    def conditions(self, given: Sequence[Condition], negative: str | None = None) -> Conditions:
        """As in `Backbone`.

        Each distinct prompt is encoded once. Raises InvalidSpec for a prompt that would be cut off.
        """
        null_prompt = negative or ""
        fields = [*(("prompt", str(prompt)) for prompt in dict.fromkeys(given)), ("negative_prompt", null_prompt)]
        for field, prompt in fields:
            if excess := self._excess(prompt):
                fault = f"{prompt[:60]!r}… is {excess} tokens too long for {self.info.name}, which would lose its end"
                raise InvalidSpec.of(f"sampling.{field}", fault)
        row_of = {prompt: row for row, prompt in enumerate(dict.fromkeys([*map(str, given), null_prompt]))}
        encoded = [each.to(self.dtype) for each in self._encode(list(row_of))]
        if not all(each.isfinite().all() for each in encoded):
            raise not_finite(self.info.name, self.dtype, "in what its text encoders make of the prompts")
        rows = torch.tensor([row_of[str(prompt)] for prompt in given], device=self.device)
        null = torch.full_like(rows, row_of[null_prompt])
        return Conditions(tuple(each[rows] for each in encoded), tuple(each[null] for each in encoded))


def excess(tokenizer: Any, prompt: str, most: int) -> int:
    """How many tokens more than `most` the prompt has, including those that begin and end it."""
    return max(0, len(tokenizer(prompt).input_ids) - most)
