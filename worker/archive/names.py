"""Folder names for classes that every file system and every loader accepts."""

import re
import unicodedata
from collections.abc import Sequence

MAX_LENGTH = 80
RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))})


def folder_names(classes: Sequence[str]) -> tuple[str, ...]:
    """One distinct folder name per class, as close to its name as is safe; distinct also where case does not count.

    Letters and digits of any script, `-`, `.`, `_` and spaces stay; a leading dot or underscore goes, because loaders skip
    such folders; a second class of one name gets `_2`.
    """
    taken: set[str] = set()
    names = []
    for name in classes:
        free = _free(_safe(name), taken)
        taken.add(free.casefold())
        names.append(free)
    return tuple(names)


def _safe(name: str) -> str:
    kept = re.sub(r"[^\w.\- ]", "_", unicodedata.normalize("NFC", name)).lstrip("._ ")[:MAX_LENGTH].rstrip(". ")
    if not kept:
        return "class"
    return f"{kept}_" if kept.split(".")[0].casefold() in RESERVED else kept


def _free(name: str, taken: set[str]) -> str:
    candidate, number = name, 1
    while candidate.casefold() in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate
