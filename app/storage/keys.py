"""What a key of an ArtifactStore may look like: the same for every store, so that what one took another takes."""

from pathlib import PurePosixPath

UNFINISHED = ".unfinished"  # where the folder keeps half-made copies


def check_key(key: str) -> None:
    """Raises ValueError unless `key` is a plain relative POSIX path."""
    parts = key.split("/")
    plain = all(part and part not in (".", "..") and not part.startswith(UNFINISHED) for part in parts)
    if not plain or "\\" in key or "\0" in key or PurePosixPath(key).is_absolute():
        raise ValueError(f"not a key: {key!r}")


def check_prefix(prefix: str) -> None:
    """Raises ValueError unless everything under `prefix` may be removed: a key with a slash behind it."""
    if not prefix.endswith("/"):
        raise ValueError(f"a prefix ends in a slash: {prefix!r}")
    check_key(prefix.removesuffix("/"))
