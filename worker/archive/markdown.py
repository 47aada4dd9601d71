"""Escape text from outside in a Markdown document."""

import re

from app.domain.text import printable

_MARKS = re.compile(r"[\\`*_{}\[\]<>#|~&!$^=]|(?<=:)//|(?<=www)\.|@")


def plain(text: str) -> str:
    """Plain text for a paragraph or a table cell: emphasis, links, images, HTML and cell borders
    are escaped.
    """
    return _MARKS.sub(lambda found: "".join(f"\\{mark}" for mark in found[0]), printable(text))


def code(text: str) -> str:
    """The text as code, also within a table cell; the fence is longer than any in the text."""
    shown = printable(text).replace("|", "\\|") or " "
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    pad = " " if shown.strip() and (shown.startswith(("`", " ")) or shown.endswith(("`", " "))) else ""
    return f"{fence}{pad}{shown}{pad}{fence}"
