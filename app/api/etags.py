"""Conditional requests with entity tags: answers 304 and 412 (RFC 9110, section 13)."""

from starlette.exceptions import HTTPException


def quoted(tag: str) -> str:
    return f'"{tag}"'


def is_known(if_none_match: str | None, etag: str) -> bool:
    """Whether an If-None-Match header names this quoted tag, by weak comparison."""
    return any(tag.strip().removeprefix("W/") in ("*", etag) for tag in (if_none_match or "").split(","))


def check_match(if_match: str | None, etag: str) -> None:
    """Raises HTTPException 412 if an If-Match header does not name this quoted tag.

    The comparison is exact: a weak tag does not match a strong one.
    """
    if if_match is not None and not any(tag.strip() in ("*", etag) for tag in if_match.split(",")):
        raise HTTPException(412, f"the content has the ETag {etag}")
