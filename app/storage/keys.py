"""The rules for keys of an ArtifactStore.

They are the same for every store, so that a key that one store accepts is accepted by every other.
"""

from pathlib import PurePosixPath

UNFINISHED = ".unfinished"  # the sub-folder where a local store keeps unfinished copies


def check_key(key: str) -> None:
    """Raises ValueError unless `key` is a plain relative POSIX path."""
    parts = key.split("/")
    plain = all(part and part not in (".", "..") and not part.startswith(UNFINISHED) for part in parts)
    if not plain or "\\" in key or "\0" in key or PurePosixPath(key).is_absolute():
        raise ValueError(f"not a key: {key!r}")


def check_prefix(prefix: str) -> None:
    """Raises ValueError unless `prefix` is a key with a slash behind it.

    Everything under such a prefix may be removed.
    """
    if not prefix.endswith("/"):
        raise ValueError(f"a prefix ends in a slash: {prefix!r}")
    check_key(prefix.removesuffix("/"))
