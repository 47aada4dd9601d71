"""torch.compile, block by block."""

from collections.abc import Iterable

import torch


def compile_blocks(blocks: Iterable[torch.nn.Module]) -> None:
    """Have torch.compile take each block's forward at its first call.

    Not the block as a whole, which would draw the hooks into the compiled code: they leave the pass by an exception. Blocks of
    one kind share what is compiled.
    """
    for block in blocks:
        block.forward = torch.compile(block.forward)
