"""Text from outside (file names, messages of libraries, requests), made fit to store, to send and to show."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar, cast

T = TypeVar("T")

# Lone surrogates have no UTF-8 form. Python puts them in the place of file name bytes that are not UTF-8 (PEP 383).
_SURROGATES = "\ud800-\udfff"
_CONTROLS = "\0-\x1f\x7f-\x9f"  # both C0 and C1: either may start an escape sequence of a terminal
_INVISIBLE = "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb"  # new lines, and what turns the writing direction

_UNSTORABLE = re.compile(f"[\0{_SURROGATES}]")
_UNPRINTABLE = re.compile(f"[{_CONTROLS}{_INVISIBLE}{_SURROGATES}]")
_UNPRINTABLE_BUT_NEW_LINE = re.compile(f"(?!\n){_UNPRINTABLE.pattern}")


def storable(text: str) -> str:
    """The text with NUL and lone surrogates as escapes: what every database and every encoding of Unicode takes."""
    return _UNSTORABLE.sub(_escape, text)


def printable(text: str) -> str:
    r"""The text on one line without control characters: `caf\xe9` for a name in Latin-1, `\x1b[2J` for an escape sequence."""
    return _UNPRINTABLE.sub(_escape, text)


def printable_lines(text: str) -> str:
    """The same where new lines are kept."""
    return _UNPRINTABLE_BUT_NEW_LINE.sub(_escape, text)


def printable_json(document: str) -> str:
    """A JSON document that a terminal may show, with the same content."""
    return _UNPRINTABLE_BUT_NEW_LINE.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def refuse_unstorable(value: T) -> T:
    """The value. Raises ValueError if a text in it has NUL or a lone surrogate, which no database keeps.

    Looks into mappings, lists and tuples.
    """
    if found := next((found for text in _texts(value) if (found := _UNSTORABLE.search(text))), None):
        raise ValueError(f"must not contain the character {_escape(found)}")
    return value


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Mapping():
            for pair in cast(Mapping[object, object], value).items():
                yield from _texts(pair)
        case list() | tuple():
            for inner in cast(Sequence[object], value):
                yield from _texts(inner)
        case _:
            pass


def _escape(found: re.Match[str]) -> str:
    number = ord(found[0])
    if 0xDC80 <= number <= 0xDCFF:  # a byte of a file name
        number -= 0xDC00
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
