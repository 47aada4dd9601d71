"""Escapes for text from outside (file names, requests, messages of libraries).

Escaped text is safe to store, to send and to print.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar, cast

T = TypeVar("T")

# Lone surrogates have no UTF-8 encoding. Python decodes bytes of file names that are not UTF-8
# as lone surrogates (PEP 383).
_SURROGATES = "\ud800-\udfff"
_CONTROLS = "\0-\x1f\x7f-\x9f"  # C0 and C1: a terminal reads both as starts of escape sequences
_INVISIBLE = "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb"  # line breaks, writing direction

_UNSTORABLE = re.compile(f"[\0{_SURROGATES}]")
_UNPRINTABLE = re.compile(f"[{_CONTROLS}{_INVISIBLE}{_SURROGATES}]")
_UNPRINTABLE_BUT_NEW_LINE = re.compile(f"(?!\n){_UNPRINTABLE.pattern}")


def storable(text: str) -> str:
    """The text with NUL and lone surrogates escaped, so that any database and UTF-8 can hold it."""
    return _UNSTORABLE.sub(_escape, text)


def printable(text: str) -> str:
    r"""The text on one line, with control characters escaped.

    A file name in Latin-1 becomes `caf\xe9`; an escape sequence of a terminal becomes `\x1b[2J`.
    """
    return _UNPRINTABLE.sub(_escape, text)


def printable_lines(text: str) -> str:
    """The text with control characters escaped, except new lines."""
    return _UNPRINTABLE_BUT_NEW_LINE.sub(_escape, text)


def printable_json(document: str) -> str:
    """An equal JSON document that is safe to print on a terminal."""
    return _UNPRINTABLE_BUT_NEW_LINE.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def refuse_unstorable(value: T) -> T:
    """Return the value.

    Raises ValueError if a string in it, also within mappings, lists and tuples, contains NUL or a
    lone surrogate: no database stores them.
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
