"""Parse dataset URIs and decide which of them this service may read."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

import httpx

from app.domain.errors import InvalidSpec
from app.domain.text import printable

FIELD = "dataset_uri"
BUNDLED = {"digits": tuple("0123456789")}  # name: classes
SPELLINGS = (
    "sklearn://digits",
    "file:///a/folder",
    "https://host/a.zip",
    "s3://bucket/prefix",
    "hf://datasets/owner/name",
)
# Parameters of presigned URLs and of APIs, in lower case.
SECRETS = re.compile(
    r"x-(amz|goog)-(signature|credential|security-token)|awsaccesskeyid|signature|sig|(access_)?token|api_?key|key|password|auth"
)
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
HUB = re.compile(r"/(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[^/@]+))?(?P<key>/.*)?", re.ASCII)


@dataclass(frozen=True)
class DatasetUri:
    """A parsed URI.

    `sklearn://NAME` has a name, `file:///PATH` an absolute path, `https://...` a url. For
    `s3://BUCKET/KEY`, `name` is the bucket and `key` a key or a prefix of keys. For
    `hf://datasets/OWNER/NAME[@REVISION][/PATH]`, `name` is OWNER/NAME and `key` a path in it.
    """

    scheme: str
    name: str = ""
    path: Path | None = None
    url: str = ""
    key: str = ""
    revision: str | None = None

    @property
    def text(self) -> str:
        """The URI in its canonical spelling."""
        match self.scheme:
            case "file":
                return self.path.as_uri() if self.path else ""
            case "https":
                return self.url
            case "s3":
                return f"s3://{self.name}/{quote(self.key)}"
            case "hf":
                revision = f"@{quote(self.revision, safe='')}" if self.revision else ""
                return f"hf://datasets/{self.name}{revision}{'/' if self.key else ''}{quote(self.key)}"
            case _:
                return f"{self.scheme}://{self.name}"


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
    if "@" in parts.netloc and parts.scheme != "hf":
        raise InvalidSpec.of(FIELD, "a dataset URI must have no user name or password; jobs store and list it")
    if parts.scheme == "https":
        return _https(text)
    if parts.query or parts.fragment:
        raise InvalidSpec.of(FIELD, "a dataset URI has no query or fragment; write ? as %3F and # as %23 in a path")
    if parts.scheme == "sklearn":
        return _bundled(parts.netloc + parts.path)
    if parts.scheme == "file":
        return _local(parts.netloc, os.fsdecode(unquote_to_bytes(parts.path)))
    if parts.scheme == "s3":
        return _bucket(parts.netloc, unquote(parts.path).strip("/"))
    if parts.scheme == "hf":
        return _hub(parts.netloc, parts.path)
    if parts.scheme == "http":
        raise InvalidSpec.of(FIELD, "http:// is not read, because anybody on the way could change the data; use https://")
    raise InvalidSpec.of(FIELD, f"scheme {parts.scheme!r} is not supported; use {', '.join(SPELLINGS)}")


def _https(text: str) -> DatasetUri:
    try:
        url = httpx.URL(text).copy_with(fragment=None)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise InvalidSpec.of(FIELD, f"not a URI: {error}") from error
    if url.port is not None and not 0 < url.port < 1 << 16:
        raise InvalidSpec.of(FIELD, f"not a URI: there is no port {url.port}")
    if not url.host:
        raise InvalidSpec.of(FIELD, "the URL needs a host")
    secret = next((name for name in url.params if SECRETS.fullmatch(name.casefold())), None)
    if secret is not None:
        told = f"the URL has a credential ({secret}), which jobs would store and list; use a public URL or s3://"
        raise InvalidSpec.of(FIELD, told)
    return DatasetUri("https", url=str(url))


def _bucket(bucket: str, key: str) -> DatasetUri:
    if not BUCKET.fullmatch(bucket):
        raise InvalidSpec.of(FIELD, f"{bucket!r} is not the name of a bucket; write s3://BUCKET/PREFIX")
    if any(piece in ("", ".", "..") for piece in key.split("/")) and key:
        raise InvalidSpec.of(FIELD, f"{key!r} is not a prefix of keys; write s3://BUCKET/PREFIX")
    return DatasetUri("s3", name=bucket, key=key)


def _hub(kind: str, path: str) -> DatasetUri:
    found = HUB.fullmatch(path)
    if kind != "datasets" or found is None or any(piece in (".", "..") for piece in unquote(path).split("/")):
        raise InvalidSpec.of(FIELD, "a dataset of the hub is hf://datasets/OWNER/NAME, perhaps with @REVISION and /PATH")
    revision, key = (unquote(found[part] or "") for part in ("revision", "key"))
    return DatasetUri("hf", name=found["name"], revision=revision or None, key=key.strip("/"))


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


def check_bucket(uri: DatasetUri, buckets: Sequence[str]) -> None:
    """Raises InvalidSpec for an s3 URI whose bucket is not among `buckets`; `*` is any."""
    if uri.scheme == "s3" and uri.name not in buckets and "*" not in buckets:
        allowed = ", ".join(buckets) or "none"
        raise InvalidSpec.of(FIELD, f"datasets may not come from the bucket {uri.name} (DAPPLE_DATASET_BUCKETS: {allowed})")
