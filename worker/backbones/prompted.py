"""What models that take words have in common."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from app.domain.conditions import Condition
from worker.backbones.base import Conditions
from worker.backbones.diffusion import DiffusionBackbone


class PromptedBackbone(DiffusionBackbone):
    """A diffusion model whose conditions are what its text encoders make of words."""

    prompted = True

    @abstractmethod
    def _encode(self, prompts: list[str]) -> tuple[Tensor, ...]:
        """What the model takes for each prompt; tensors whose first axis is the prompts'."""

    @torch.no_grad()
    def conditions(self, given: Sequence[Condition], negative: str | None = None) -> Conditions:
        """As in `Backbone`; each different prompt is encoded once. Words that are too many for a text encoder are cut off."""
        nothing = negative or ""
        row_of = {prompt: row for row, prompt in enumerate(dict.fromkeys([*map(str, given), nothing]))}
        encoded = [one.to(self.dtype) for one in self._encode(list(row_of))]
        rows = torch.tensor([row_of[str(one)] for one in given], device=self.device)
        null = torch.full_like(rows, row_of[nothing])
        return Conditions(tuple(one[rows] for one in encoded), tuple(one[null] for one in encoded))
