"""An immutable, content-hashed output."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Artifact:
    """Where an output lies and what it is; `sha256` is lower-case hex of its bytes."""

    key: str
    sha256: str
    media_type: str
    size_bytes: int
