"""What to do where numbers leave the range of a model's dtype."""

import torch

from app.domain.errors import BackboneRejected

ADVICE = {
    torch.float16: "its values leave the range of float16; set DAPPLE_DTYPE to bfloat16 or float32",
    torch.bfloat16: "its weights may be damaged; DAPPLE_DTYPE=float32 shows whether the dtype is at fault",
}


def not_finite(name: str, dtype: torch.dtype, where: str) -> BackboneRejected:
    """The error of a model that gave infinities or NaN; `where` says at what. It would do so again."""
    advice = ADVICE.get(dtype, "its weights may be damaged")
    return BackboneRejected(f"backbone {name!r}: it is not finite in {str(dtype).removeprefix('torch.')} {where}: {advice}")
