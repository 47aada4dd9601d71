"""Folder names for classes that every file system and every loader accepts."""

import re
import unicodedata
from collections.abc import Sequence

MAX_LENGTH = 80
MAX_BYTES = 200  # of UTF-8: file systems take 255, and an image's name adds its number to this
RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in "0123456789¹²³")})


def folder_names(classes: Sequence[str]) -> tuple[str, ...]:
    """One distinct folder name per class, as close to its name as is safe; distinct also where case
    does not count.

    Letters and digits of any script, `-`, `.`, `_` and spaces stay; a leading dot or underscore
    goes, because loaders skip such folders; a name that Windows reserves, with or without an
    extension, gets `_`; a second class of one name `_2`.
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
