"""Reads the hidden states of a model's blocks through forward hooks.

No adapter runs a model's blocks itself.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch

Read = Callable[[Any], Any]  # the part of a block's output to keep, such as its hidden state


class _Reached(Exception):
    """The last tapped block has run."""


@contextmanager
def recording_up_to(blocks: Sequence[torch.nn.Module], read: Read) -> Iterator[list[Any]]:
    """The hidden states after `blocks` of the one forward pass made inside the context.

    Autograd records nothing past the last of these blocks. Grad mode is off from there to the end
    of the context, so the paths around the tap, a UNet's skip connections, are not recorded either.
    Outside the context, grad mode is unchanged.
    """
    with torch.set_grad_enabled(torch.is_grad_enabled() and len(blocks) > 0), _hooked(blocks, read, _stop_recording) as seen:
        yield seen


@contextmanager
def running_up_to(blocks: Sequence[torch.nn.Module], read: Read) -> Iterator[list[Any]]:
    """The hidden states after `blocks` of the one forward pass made inside the context.

    The pass is abandoned at the last of these blocks.
    """
    with suppress(_Reached), _hooked(blocks, read, _leave) as seen:
        yield seen


@contextmanager
def _hooked(blocks: Sequence[torch.nn.Module], read: Read, at_last: Callable[[], None]) -> Iterator[list[Any]]:
    seen: list[Any] = []

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


@contextmanager
def skipping(blocks: Sequence[torch.nn.Module], outputs: Sequence[Any]) -> Iterator[None]:
    """Make each block return its entry of `outputs` without running."""
    own = [vars(block).get("forward") for block in blocks]
    for block, output in zip(blocks, outputs, strict=True):
        block.forward = partial(_give, output)
    try:
        yield
    finally:
        for block, forward in zip(blocks, own, strict=True):
            del block.forward
            if forward is not None:  # a compiled forward
                block.forward = forward


def _give(output: Any, *_arguments: object, **_options: object) -> Any:
    return output


def _stop_recording() -> None:
    torch.set_grad_enabled(False)


def _leave() -> None:
    raise _Reached
