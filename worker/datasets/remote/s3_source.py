"""A dataset in a bucket: one object, or all objects below a prefix."""

import hashlib
import re
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from app.domain.dataset_uri import DatasetUri
from app.domain.errors import DatasetRejected, TransientError
from worker.datasets.readers.files import check_count
from worker.progress import Heartbeat

if TYPE_CHECKING:
    from obstore.store import S3Config

AT_ONCE = 8  # downloads of objects
CHUNK_BYTES = 4 << 20
CONNECT_TIMEOUT = timedelta(seconds=5)
RETRIES = 4
RETRY_TIMEOUT = timedelta(seconds=30)
REFUSED = re.compile(
    r"NoSuchBucket|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|status code: 40[13]|PermissionDenied|Unauthenticated"
)


@dataclass(frozen=True)
class Listed:
    """An object: its key, size in bytes, and what changes with its content."""

    key: str
    size_bytes: int
    validator: str


@dataclass(frozen=True)
class S3Source:
    """Objects of a bucket that the operator's credentials may read."""

    uri: DatasetUri
    endpoint: str | None
    region: str
    most_bytes: int
    revision: None = None

    def fingerprint(self, heartbeat: Heartbeat) -> str | None:
        """A digest of the keys, sizes and ETags."""
        heartbeat()
        digest = hashlib.sha256(f"{self.endpoint}\n{self.uri.text}\n".encode())
        for each in self._objects:
            digest.update(f"{each.key}\0{each.size_bytes} {each.validator}\n".encode())
        return digest.hexdigest()

    def fetch(self, folder: Path, heartbeat: Heartbeat) -> Path:
        """Download the objects into the folder, under their keys below the prefix."""
        total = sum(each.size_bytes for each in self._objects)
        if total > self.most_bytes:
            raise DatasetRejected(f"{self.uri.text} has {total:,} bytes (DAPPLE_DOWNLOAD_BYTES: {self.most_bytes:,})")
        with ThreadPoolExecutor(AT_ONCE, "s3") as threads:
            try:
                for _ in threads.map(lambda each: self._fetch(each, folder), self._objects):
                    heartbeat()
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise
        only = self._objects[0].key
        return folder / self._relative(only) if len(self._objects) == 1 and only == self.uri.key else folder

    def _fetch(self, listed: Listed, folder: Path) -> None:
        target = folder / self._relative(listed.key)
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._explained(), target.open("wb") as file:
            for chunk in obstore.get(self._store, listed.key).stream(CHUNK_BYTES):
                file.write(chunk)
        if target.stat().st_size != listed.size_bytes:
            raise TransientError(f"{listed.key} changed while it was downloaded")

    def _relative(self, key: str) -> str:
        """The path of an object in the folder."""
        if key == self.uri.key:
            return key.rpartition("/")[2]
        return key[len(self.uri.key) :].lstrip("/")

    @cached_property
    def _store(self) -> S3Store:
        config: S3Config = {"region": self.region}
        if self.endpoint:
            config["aws_endpoint_url_s3"] = self.endpoint.rstrip("/")
        return S3Store(
            self.uri.name,
            config=config,
            client_options={"allow_http": True, "connect_timeout": CONNECT_TIMEOUT},
            retry_config={"max_retries": RETRIES, "retry_timeout": RETRY_TIMEOUT},
        )

    @cached_property
    def _objects(self) -> list[Listed]:
        """The object with the key, else all objects below it, sorted by key."""
        with self._explained():
            found = sorted(self._found(), key=lambda each: each.key)
        check_count(len(found))
        if not found:
            raise DatasetRejected(f"there is nothing at {self.uri.text}")
        paths = sorted(self._relative(each.key) for each in found)
        unsafe = next((path for path in paths if not path or ".." in PurePosixPath(path).parts or "\0" in path), None)
        if unsafe is not None:
            raise DatasetRejected(f"{self.uri.text} has an object with the key {unsafe!r}, which is no path")
        for one, other in pairwise(paths):
            if other.startswith(f"{one}/"):
                raise DatasetRejected(f"{self.uri.text} has an object {one!r} and objects below it; rename it")
        return found

    def _found(self) -> Iterator[Listed]:
        if self.uri.key:
            try:
                meta = obstore.head(self._store, self.uri.key)
            except FileNotFoundError:
                pass
            else:
                yield Listed(self.uri.key, meta["size"], str(meta["e_tag"]))
                return
        for page in obstore.list(self._store, self.uri.key or None):
            for meta in page:
                if not meta["path"].endswith("/"):
                    yield Listed(meta["path"], meta["size"], str(meta["e_tag"]))

    @contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise DatasetRejected(f"there is nothing at {self.uri.text}") from error
        except (BaseError, OSError) as error:
            if REFUSED.search(f"{type(error).__name__} {error}"):
                raise DatasetRejected(f"the keys of the worker may not read {self.uri.text}: {_brief(error)}") from error
            if isinstance(error, OSError) and error.errno:  # of this machine's disk
                raise
            raise TransientError(f"{self.endpoint or 'S3'} does not answer: {_brief(error)}") from error


def _brief(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
