"""Hidden states of a model's blocks, by forward hooks: no adapter runs a model's blocks itself."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor

Read = Callable[[Any], Tensor]  # the hidden state in what a block returns


class _Reached(Exception):
    """The last tapped block has run."""


@contextmanager
def recording_up_to(blocks: Sequence[torch.nn.Module], read: Read) -> Iterator[list[Tensor]]:
    """Hidden states after `blocks` of the one forward pass made inside; autograd records nothing past the last of them.

    Grad mode is off from there to the end of the context, so what leads around the tap, a UNet's skip connections, is not
    recorded either. Outside it is as it was.
    """
    with torch.set_grad_enabled(torch.is_grad_enabled() and len(blocks) > 0), _hooked(blocks, read, _stop_recording) as seen:
        yield seen


@contextmanager
def running_up_to(blocks: Sequence[torch.nn.Module], read: Read) -> Iterator[list[Tensor]]:
    """Hidden states after `blocks` of the one forward pass made inside, which is left at the last of them."""
    with suppress(_Reached), _hooked(blocks, read, _leave) as seen:
        yield seen


@contextmanager
def _hooked(blocks: Sequence[torch.nn.Module], read: Read, at_last: Callable[[], None]) -> Iterator[list[Tensor]]:
    seen: list[Tensor] = []

    def keep(_module: torch.nn.Module, _inputs: object, output: Any) -> None:
        seen.append(read(output))
        if len(seen) == len(blocks):
            at_last()

    hooks = [block.register_forward_hook(keep) for block in blocks]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _stop_recording() -> None:
    torch.set_grad_enabled(False)


def _leave() -> None:
    raise _Reached
