"""Hidden states of a model's blocks, by forward hooks: no adapter runs a model's blocks itself."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch

Read = Callable[[Any], Any]  # what to keep of a block's output, such as its hidden state


class _Reached(Exception):
    """The last tapped block has run."""


@contextmanager
def recording_up_to(blocks: Sequence[torch.nn.Module], read: Read) -> Iterator[list[Any]]:
    """Hidden states after `blocks` of the one forward pass made inside; autograd records nothing
    past the last of them.

    Grad mode is off from there to the end of the context, so what leads around the tap, a UNet's
    skip connections, is not recorded either. Outside it is as it was.
    """
    with torch.set_grad_enabled(torch.is_grad_enabled() and len(blocks) > 0), _hooked(blocks, read, _stop_recording) as seen:
        yield seen


@contextmanager
def running_up_to(blocks: Sequence[torch.nn.Module], read: Read) -> Iterator[list[Any]]:
    """Hidden states after `blocks` of the one forward pass made inside, which is left at the last
    of them.
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
    """The blocks do not run: each gives its output of these."""
    own = [vars(block).get("forward") for block in blocks]
    for block, output in zip(blocks, outputs, strict=True):
        block.forward = partial(_give, output)
    try:
        yield
    finally:
        for block, forward in zip(blocks, own, strict=True):
            del block.forward
            if forward is not None:  # a compiled one
                block.forward = forward


def _give(output: Any, *_arguments: object, **_options: object) -> Any:
    return output


def _stop_recording() -> None:
    torch.set_grad_enabled(False)


def _leave() -> None:
    raise _Reached
