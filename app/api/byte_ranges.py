"""Parse a Range header (RFC 9110, section 14)."""

import re

from starlette.exceptions import HTTPException

SINGLE = re.compile(r"(\d*)-(\d*)", re.ASCII)
MOST_DIGITS = 18  # of a position; Python refuses to parse numbers of thousands of digits


def requested(value: str, size_bytes: int) -> range | None:
    """The requested part of the content; None to send all of it.

    Ignores a range in another unit, and several ranges at once (RFC 9110, section 14.2).
    Raises HTTPException 416 if the range holds no byte of the content, 400 if it is malformed.
    """
    unit, equals, ranges = value.replace(" ", "").partition("=")
    if equals and (unit.lower() != "bytes" or "," in ranges):
        return None
    match = SINGLE.fullmatch(ranges)
    if match is None or match.group(1) == match.group(2) == "":
        raise HTTPException(400, "Range must look like bytes=0-99, bytes=100-, or bytes=-100")
    part = _part(match.group(1), match.group(2), size_bytes)
    if not part:
        raise HTTPException(416, f"the content has {size_bytes} bytes", {"Content-Range": f"bytes */{size_bytes}"})
    return part


def _part(first: str, last: str, size_bytes: int) -> range:
    if not first:
        return range(max(0, size_bytes - _position(last)), size_bytes)
    end = min(size_bytes, _position(last) + 1) if last else size_bytes
    return range(_position(first), end)


def _position(digits: str) -> int:
    """The number; if it has too many digits, one beyond the end of any file."""
    significant = digits.lstrip("0") or "0"
    return int(significant) if len(significant) <= MOST_DIGITS else 10**MOST_DIGITS
