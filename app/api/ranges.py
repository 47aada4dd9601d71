"""Decide which ranges are served and refuse impossible ones as problems; sending the part is the file response's work."""

import re

from starlette.exceptions import HTTPException

SINGLE = re.compile(r"(\d{0,19})-(\d{0,19})")


def is_served(value: str, size_bytes: int) -> bool:
    """Whether a Range header is answered with a part of the content.

    A range in another unit must be ignored and several at once may be (RFC 9110, section 14.2): then the whole is sent.
    Raises HTTPException 416 if it asks only for what lies behind the end, 400 if it is malformed.
    """
    unit, equals, ranges = value.replace(" ", "").partition("=")
    if equals and (unit.lower() != "bytes" or "," in ranges):
        return False
    match = SINGLE.fullmatch(ranges)
    if match is None or match.group(1) == match.group(2) == "":
        raise HTTPException(400, "Range must look like bytes=0-99, bytes=100-, or bytes=-100")
    first, last = match.groups()
    beyond = int(first) >= size_bytes if first else int(last) == 0
    if beyond or (first and last and int(last) < int(first)):
        raise HTTPException(416, f"the content has {size_bytes} bytes", {"Content-Range": f"bytes */{size_bytes}"})
    return True
