"""torch.compile, block by block."""

from collections.abc import Iterable

import torch

# Blocks of one class share their code, and therefore one limit on recompilations. The first, middle
# and last block may need different variants, each with and without gradients, and for each batch
# size. Past the limit (8 by default) a block would run as if it were not compiled.
VARIANTS = 64


def compile_blocks(blocks: Iterable[torch.nn.Module]) -> None:
    """Have torch.compile compile the forward method of each block at its first call.

    Compiling the block as a whole would draw its hooks into the compiled code, but the hooks leave
    the pass by an exception.
    """
    for block in blocks:
        block.forward = torch.compile(block.forward, recompile_limit=VARIANTS)  # pyright: ignore[reportCallIssue]
