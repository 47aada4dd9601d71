"""Suggestions of known names in place of an unknown one."""

from collections.abc import Collection
from difflib import get_close_matches

MOST_NAMED = 10


def nearest(name: str, known: Collection[str]) -> str:
    """A phrase with the known names of the most similar spelling, else the first names."""
    alike = get_close_matches(name, known, n=3)
    if alike:
        return f"nearest: {', '.join(alike)}"
    return f"known: {', '.join(sorted(known)[:MOST_NAMED])}" if known else "none is known"
