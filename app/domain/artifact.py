"""An immutable stored output with the hash of its content."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Artifact:
    """The key of a stored output and its facts. `sha256` is the hash of its bytes in hex."""

    key: str
    sha256: str
    media_type: str
    size_bytes: int
