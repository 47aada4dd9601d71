"""Refuse impossible ranges as problems; serving the possible ones is the file response's work."""

import re

from starlette.exceptions import HTTPException

SINGLE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")


def check_range(value: str, size_bytes: int) -> None:
    """Raises HTTPException 416 if a Range header asks only for what lies behind the end, 400 if it is malformed.

    Several ranges at once are left alone.
    """
    if "," in value:
        return
    match = SINGLE.fullmatch(value.replace(" ", ""))
    if match is None or match.group(1) == match.group(2) == "":
        raise HTTPException(400, "Range must look like bytes=0-99, bytes=100-, or bytes=-100")
    first, last = match.groups()
    beyond = int(first) >= size_bytes if first else int(last) == 0
    if beyond or (first and last and int(last) < int(first)):
        raise HTTPException(416, f"the content has {size_bytes} bytes", {"Content-Range": f"bytes */{size_bytes}"})
