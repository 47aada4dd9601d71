"""The error for numbers that leave the range of a model's dtype, and the advice it gives."""

import torch

from app.domain.errors import BackboneRejected

ADVICE = {
    torch.float16: "its values exceed the range of float16; set DAPPLE_DTYPE to bfloat16 or float32",
    torch.bfloat16: "its weights may be damaged; DAPPLE_DTYPE=float32 shows whether the dtype is at fault",
}


def not_finite(name: str, dtype: torch.dtype, where: str) -> BackboneRejected:
    """The error for a model that produced infinities or NaN; `where` says at which point.

    The model would produce them again.
    """
    advice = ADVICE.get(dtype, "its weights may be damaged")
    return BackboneRejected(f"backbone {name!r}: it is not finite in {str(dtype).removeprefix('torch.')} {where}: {advice}")
