"""Parse dataset URIs and decide which of them this service may read."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from app.domain.errors import InvalidSpec
from app.domain.text import printable

FIELD = "dataset_uri"
BUNDLED = {"digits": tuple("0123456789")}  # name: classes


@dataclass(frozen=True)
class DatasetUri:
    """A parsed URI. `sklearn://digits` has a name; `file:///folder` has an absolute path."""

    scheme: str
    name: str = ""
    path: Path | None = None

    @property
    def text(self) -> str:
        """The URI in its canonical spelling."""
        return self.path.as_uri() if self.path else f"{self.scheme}://{self.name}"


def uri_of(text: str) -> str:
    """The text itself if it is a URI, else the file URI of the absolute or relative path.

    Raises InvalidSpec if the path does not exist.
    """
    if "://" in text:
        return text
    path = Path(text).expanduser().resolve()
    if not path.exists():
        raise InvalidSpec.of(FIELD, f"there is nothing at {path}")
    return path.as_uri()


def canonical(text: str) -> str:
    """The spelling of a dataset URI that jobs store and list. An invalid URI stays unchanged."""
    try:
        return parse(text).text
    except InvalidSpec:
        return text


def parse(text: str) -> DatasetUri:
    """The parts of a dataset URI.

    Raises InvalidSpec that names `dataset_uri` for an unknown scheme or name, a relative path, a
    path on another host, or a control character.
    """
    if printable(text) != text:  # urlsplit would drop some of them
        raise InvalidSpec.of(FIELD, f"a URI has no control characters; write their bytes as %XX: {text}")
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise InvalidSpec.of(FIELD, f"not a URI: {error}") from error
    if parts.query or parts.fragment:
        raise InvalidSpec.of(FIELD, "a dataset URI has no query or fragment; write ? as %3F and # as %23 in a path")
    if parts.scheme == "sklearn":
        return _bundled(parts.netloc + parts.path)
    if parts.scheme == "file":
        return _local(parts.netloc, os.fsdecode(unquote_to_bytes(parts.path)))
    raise InvalidSpec.of(FIELD, f"scheme {parts.scheme!r} is not supported; use sklearn://digits or file:///a/folder")


def _bundled(name: str) -> DatasetUri:
    if name not in BUNDLED:
        raise InvalidSpec.of(FIELD, f"no bundled dataset {name!r}; there is sklearn://{', sklearn://'.join(BUNDLED)}")
    return DatasetUri("sklearn", name=name)


def _local(host: str, path: str) -> DatasetUri:
    if host not in ("", "localhost"):
        raise InvalidSpec.of(FIELD, f"file URIs name a path on this machine (file:///path), not the host {host!r}")
    if not path.startswith("/") or "\0" in path:
        raise InvalidSpec.of(FIELD, "file URIs need an absolute path: file:///path/to/folder")
    return DatasetUri("file", path=Path(path))


def resolve_local(uri: DatasetUri, roots: Sequence[Path]) -> Path:
    """The path of a file URI, with symbolic links resolved, if it lies under one of `roots`.

    Raises InvalidSpec if it lies elsewhere. Does not check that the path exists.
    """
    if uri.path is None:
        raise ValueError(f"{uri.scheme}:// has no path")
    try:
        path = uri.path.resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError: symbolic links in a circle
        raise InvalidSpec.of(FIELD, f"{uri.path} cannot be followed: {error}") from error
    if any(path.is_relative_to(root.resolve()) for root in roots):
        return path
    allowed = ", ".join(str(root) for root in roots) or "none"
    raise InvalidSpec.of(FIELD, f"{uri.path} is outside the folders this service may read ({allowed})")
