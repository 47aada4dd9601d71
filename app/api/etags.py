"""Entity tags: answer 304 to those who have the content already, and 412 to those who want other content (RFC 9110)."""

from starlette.exceptions import HTTPException


def quoted(tag: str) -> str:
    return f'"{tag}"'


def is_known(if_none_match: str | None, etag: str) -> bool:
    """Whether an If-None-Match header names this quoted tag; weak and strong ones are the same here."""
    return any(tag.strip().removeprefix("W/") in ("*", etag) for tag in (if_none_match or "").split(","))


def check_match(if_match: str | None, etag: str) -> None:
    """Raises HTTPException 412 where an If-Match header names other tags than this quoted one; a weak tag matches none."""
    if if_match is not None and not any(tag.strip() in ("*", etag) for tag in if_match.split(",")):
        raise HTTPException(412, f"the content has the ETag {etag}")
