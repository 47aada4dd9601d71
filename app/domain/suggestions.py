"""What a mistyped name may have meant."""

from collections.abc import Collection
from difflib import get_close_matches

MOST_NAMED = 10


def nearest(name: str, known: Collection[str]) -> str:
    """The known names most like this one, or the first few of them, in words."""
    alike = get_close_matches(name, known, n=3)
    return f"nearest: {', '.join(alike)}" if alike else f"it has {', '.join(sorted(known)[:MOST_NAMED]) or 'none'}"
