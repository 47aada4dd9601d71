"""Text from outside inside a Markdown document: shown as it is, whatever marks it has."""

import re

from app.domain.text import printable

_MARKS = re.compile(r"[\\`*_{}\[\]<>#|~&!$^=]|(?<=:)//|(?<=www)\.|@")


def plain(text: str) -> str:
    """Text within a paragraph or a table cell: no mark of it is taken for emphasis, a link, an
    image, HTML or a new cell.
    """
    return _MARKS.sub(lambda found: "".join(f"\\{mark}" for mark in found[0]), printable(text))


def code(text: str) -> str:
    """The text as code, also within a table cell; the fence is longer than any in the text."""
    shown = printable(text).replace("|", "\\|") or " "
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    pad = " " if shown.strip() and (shown.startswith(("`", " ")) or shown.endswith(("`", " "))) else ""
    return f"{fence}{pad}{shown}{pad}{fence}"
