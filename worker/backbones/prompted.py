"""What models that take words have in common."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from app.domain.conditions import Condition
from app.domain.errors import InvalidSpec
from worker.backbones.base import Conditions
from worker.backbones.diffusion import DiffusionBackbone
from worker.backbones.precision import not_finite


class PromptedBackbone(DiffusionBackbone):
    """A diffusion model whose conditions are what its text encoders make of words."""

    prompted = True

    @abstractmethod
    def _encode(self, prompts: list[str]) -> tuple[Tensor, ...]:
        """What the model takes for each prompt; tensors whose first axis is the prompts'."""

    @abstractmethod
    def _excess(self, prompt: str) -> int:
        """How many tokens of the prompt no text encoder has room for."""

    @torch.no_grad()
    def conditions(self, given: Sequence[Condition], negative: str | None = None) -> Conditions:
        """As in `Backbone`; each different prompt is encoded once. Raises InvalidSpec for one that would be cut off."""
        nothing = negative or ""
        for field, prompt in (*(("prompt", str(one)) for one in dict.fromkeys(given)), ("negative_prompt", nothing)):
            if excess := self._excess(prompt):
                told = f"{prompt[:60]!r}… is {excess} tokens too long for {self.name}, which would lose its end"
                raise InvalidSpec.of(f"sampling.{field}", told)
        row_of = {prompt: row for row, prompt in enumerate(dict.fromkeys([*map(str, given), nothing]))}
        encoded = [one.to(self.dtype) for one in self._encode(list(row_of))]
        if not all(one.isfinite().all() for one in encoded):
            raise not_finite(self.name, self.dtype, "in what its text encoders make of the prompts")
        rows = torch.tensor([row_of[str(one)] for one in given], device=self.device)
        null = torch.full_like(rows, row_of[nothing])
        return Conditions(tuple(one[rows] for one in encoded), tuple(one[null] for one in encoded))


def excess(tokenizer: Any, prompt: str, most: int) -> int:
    """How many tokens more than `most` the prompt has, with those that begin and end it."""
    return max(0, len(tokenizer(prompt).input_ids) - most)
