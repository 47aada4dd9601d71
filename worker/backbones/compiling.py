"""torch.compile, block by block."""

from collections.abc import Iterable

import torch

# Blocks of one class share their code, and with it one limit: first, middle and last block may
# differ, each with and without gradients, and by size of batch. Past the limit (8 by default) a
# block would run as if it were not compiled.
VARIANTS = 64


def compile_blocks(blocks: Iterable[torch.nn.Module]) -> None:
    """Have torch.compile take each block's forward at its first call.

    Not the block as a whole, which would draw the hooks into the compiled code: they leave the pass
    by an exception.
    """
    for block in blocks:
        block.forward = torch.compile(block.forward, recompile_limit=VARIANTS)  # pyright: ignore[reportCallIssue]
