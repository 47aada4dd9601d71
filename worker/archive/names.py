"""Folder names for classes. Every file system and every loader accepts them."""

import re
import unicodedata
from collections.abc import Sequence

MAX_LENGTH = 80
MAX_BYTES = 200  # in UTF-8; file systems allow 255, and image names append a number
RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in "0123456789¹²³")})


def folder_names(classes: Sequence[str]) -> tuple[str, ...]:
    """One folder name per class, close to the class name. All differ, also without regard to case.

    Keeps letters and digits of any script, `-`, `.`, `_` and spaces. Removes leading dots and
    underscores, because loaders skip such folders. Adds `_` to a name that Windows reserves, and
    `_2` to the second class with the same name.
    """
    taken: set[str] = set()
    names = []
    for name in classes:
        free = _free(_safe(name), taken)
        taken.add(free.casefold())
        names.append(free)
    return tuple(names)


def _safe(name: str) -> str:
    kept = re.sub(r"[^\w.\- ]", "_", unicodedata.normalize("NFC", name)).lstrip("._ ")
    kept = kept[:MAX_LENGTH].encode()[:MAX_BYTES].decode(errors="ignore").rstrip(". ")
    if not kept:
        return "class"
    stem, dot, extension = kept.partition(".")
    return f"{stem.rstrip()}_{dot}{extension}" if stem.rstrip().casefold() in RESERVED else kept


def _free(name: str, taken: set[str]) -> str:
    candidate, number = name, 1
    while candidate.casefold() in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate
