"""Entity tags: answer 304 to those who have the content already (RFC 9110)."""


def quoted(tag: str) -> str:
    return f'"{tag}"'


def is_known(if_none_match: str | None, etag: str) -> bool:
    """Whether an If-None-Match header names this quoted tag; weak and strong ones are the same here."""
    return any(tag.strip().removeprefix("W/") in ("*", etag) for tag in (if_none_match or "").split(","))
