"""From the labels in files to names of classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.errors import DatasetRejected
from app.domain.text import storable

MOST_LETTERS = 255


@dataclass(frozen=True)
class ClassNames:
    """The names of numbered labels; without names, a label's number is its name."""

    names: tuple[str, ...] | None = None

    @classmethod
    def agreed(cls, by_file: Mapping[str, Sequence[str]]) -> "ClassNames":
        """The names on which all files agree. Raises DatasetRejected if two files differ, or if two
        labels have one name.
        """
        found: tuple[str, ...] | None = None
        first = ""
        for path, names in by_file.items():
            if found is not None and tuple(names) != found:
                raise DatasetRejected(f"{first} and {path} have different class names")
            found, first = tuple(names), first or path
        if found is not None and len(set(found)) != len(found):
            twice = next(name for name in found if found.count(name) > 1)
            raise DatasetRejected(f"{first} has two labels of the name {twice!r}")
        return cls(found)

    def of(self, number: int) -> str | None:
        """The class with this number; None for a negative number, which means no label."""
        if number < 0:
            return None
        if self.names is None:
            return str(number)
        if number >= len(self.names):
            raise DatasetRejected(f"a label is {number}, but there are only {len(self.names)} class names")
        return self.names[number]


def class_text(label: Any, names: ClassNames) -> str | None:
    """The class of a label; None if there is none. Raises DatasetRejected for a name that is too
    long or has control characters.
    """
    if label is None or label == "":
        return None
    if isinstance(label, bytes):
        label = label.decode("utf-8", "backslashreplace")
    if not isinstance(label, str):
        return names.of(int(label))
    if len(label) > MOST_LETTERS:
        raise DatasetRejected(
            f"a label has {len(label):,} characters ({label[:40]!r}…); a class name has at most {MOST_LETTERS}"
        )
    return storable(label)
