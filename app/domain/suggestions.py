"""Known names for one that is unknown."""

from collections.abc import Collection
from difflib import get_close_matches

MOST_NAMED = 10


def nearest(name: str, known: Collection[str]) -> str:
    """The known names that are spelt most like this one, or else the first of all, in words."""
    alike = get_close_matches(name, known, n=3)
    if alike:
        return f"nearest: {', '.join(alike)}"
    return f"known: {', '.join(sorted(known)[:MOST_NAMED])}" if known else "none is known"
