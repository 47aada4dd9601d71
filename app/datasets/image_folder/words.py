"""Lists of names in messages."""

from collections.abc import Sequence
from typing import Protocol

NAMED = 5


class _Named(Protocol):
    name: str


def slashed(folders: "Sequence[_Named]") -> str:
    """The first few folders: "cat/, dog/, …"."""
    return and_more([f"{folder.name}/" for folder in folders])


def and_more(names: Sequence[str]) -> str:
    """The first few names: "cat, dog, …"."""
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
