"""One generator per random choice, and never the global generator.

The name of a choice determines its numbers; the order of calls does not.
"""

import hashlib

import torch


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed from the names of a choice, the same on every machine and in every process."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*parts: int | str) -> torch.Generator:
    """A CPU generator for one choice.

    Noise is drawn on the CPU so that it does not depend on the device.
    """
    return torch.Generator().manual_seed(seed_of(*parts))
