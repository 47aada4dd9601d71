"""An ArtifactStore in a bucket of Amazon S3, or of a server compatible with it."""

import hashlib
import io
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from app.domain.artifact import Artifact
from app.domain.errors import ArtifactNotReady, StorageUnavailable
from app.settings import Settings
from app.storage.keys import check_key, check_prefix
from app.storage.s3_faults import Fault

if TYPE_CHECKING:
    from obstore.store import S3Config

PART_BYTES = 5 << 20  # of a multipart upload, the least that S3 takes, and of one read; 10,000 parts at most, so 50 GB
PARTS_AT_ONCE = 2  # with the time limit of a request, uploads need 0.7 MB/s
CHUNK_BYTES = 1 << 20
PAGE_KEYS = 250  # some servers need longer than a request may last to delete a thousand keys

CONNECT_SECONDS = 4
REQUEST_SECONDS = 15
RETRY_SECONDS = 6  # no retry begins later than this after the first attempt
RETRY_PAUSE_SECONDS = 0.2  # the shortest pause; pauses are random
RETRIES = round(RETRY_SECONDS / RETRY_PAUSE_SECONDS)  # enough that RETRY_SECONDS ends them; eight may be over in two seconds
CHECK_SECONDS = 5
PROBE = "probe"  # the object that checks look for, write and delete


class S3ArtifactStore:
    """A store in which each key is an object below the prefix of `url` (s3://BUCKET/PREFIX).

    An object appears whole or not at all. The server verifies the bytes of every request, because
    their SHA-256 is part of the signature. With `s3_checksums=when_supported`, it is also part of
    the object's own checksum.

    A silent server costs 15 seconds, and a server in trouble costs 21 seconds at most. It costs as
    long again if a multipart upload must be aborted. The credentials are AWS_ACCESS_KEY_ID and
    AWS_SECRET_ACCESS_KEY; without them, the role of the container, the web identity or the machine.
    """

    def __init__(self, settings: Settings, url: str) -> None:
        self._settings = settings
        self._bucket, self._prefix = urlsplit(url).netloc, urlsplit(url).path.strip("/")
        self._store = self._connect(settings.s3_endpoint, REQUEST_SECONDS, retries=RETRIES)
        self._probed = self._connect(settings.s3_endpoint, CHECK_SECONDS, retries=0)
        self._public = self._connect(settings.s3_public_endpoint or settings.s3_endpoint, REQUEST_SECONDS, retries=RETRIES)

    def put(self, key: str, source: Path, media_type: str, tick: Callable[[], None] = lambda: None) -> Artifact:
        """Store the file's bytes under `key`, replacing what was there. Raises StorageUnavailable.

        A large file is uploaded in parts, and memory is bounded by a few parts. Clients that fetch
        the object save it under the last part of its key.
        """
        check_key(key)
        sent = _Sent(tick)
        with self._explained(f"cannot store {key}"), source.open("rb") as file:
            obstore.put(
                self._store,
                key,
                sent.through(file),
                attributes={"Content-Type": media_type, "Content-Disposition": _disposition(key, media_type)},
                use_multipart=source.stat().st_size > PART_BYTES,
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )
            stored_bytes = obstore.head(self._store, key)["size"]
        if stored_bytes != sent.size_bytes:
            raise StorageUnavailable(f"cannot store {key}: {sent.size_bytes} bytes were sent, {stored_bytes} are there")
        return Artifact(key, sent.digest.hexdigest(), media_type, sent.size_bytes)

    @contextmanager
    def open(self, key: str) -> Generator[IO[bytes]]:
        """The stored bytes as a seekable stream that is read in ranges.

        Raises ArtifactNotReady if nothing is stored. Reading raises StorageUnavailable.
        """
        reader = _ObjectReader(partial(self._range, key), self.size_bytes(key))
        with io.BufferedReader(reader, PART_BYTES) as stream:
            yield stream

    def file(self, key: str) -> None:
        """None, because there is no file."""
        check_key(key)

    def size_bytes(self, key: str) -> int:
        """The object's size. Raises ArtifactNotReady if there is none, or StorageUnavailable."""
        check_key(key)
        # GET, not HEAD: only GET tells a missing bucket from a missing key. The body is not read.
        with self._explained(f"cannot read {key}", key):
            return obstore.get(self._store, key).meta["size"]

    def url(self, key: str, seconds: float, method: Literal["GET", "HEAD"] = "GET") -> str:
        """A URL where anybody may read the object for `seconds`, with this method.

        Does not check that the object exists.
        """
        check_key(key)
        with self._explained(f"cannot link to {key}"):
            return obstore.sign(self._public, method, key, timedelta(seconds=seconds))

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key that starts with `prefix`, sorted, and listed lazily as keys are consumed."""
        with self._explained(f"cannot list {prefix}"):
            for page in self._pages(prefix.rpartition("/")[0]):
                yield from (key for key in page if key.startswith(prefix))

    def delete(self, keys: Sequence[str]) -> None:
        """Remove these objects. A missing object is no error. Raises StorageUnavailable."""
        for key in keys:
            check_key(key)
        with self._explained(f"cannot delete {len(keys)} objects"):
            for first in range(0, len(keys), PAGE_KEYS):
                obstore.delete(self._store, keys[first : first + PAGE_KEYS])

    def delete_prefix(self, prefix: str) -> None:
        """Remove everything under `prefix` (which ends in a slash).

        If nothing is there, it is no error.
        """
        check_prefix(prefix)
        with self._explained(f"cannot delete {prefix}"):
            for page in self._pages(prefix):
                obstore.delete(self._store, page)

    def check(self) -> None:
        """Raises StorageUnavailable, within seconds, unless the bucket exists and accepts our keys.

        Nothing is written.
        """
        with suppress(ArtifactNotReady), self._explained("the artifact store cannot be read", PROBE):
            obstore.get(self._probed, PROBE)  # not HEAD: only GET tells a missing bucket from a missing object

    def check_writable(self) -> None:
        """Raises StorageUnavailable, within seconds, unless objects can be written and deleted."""
        with self._explained("the artifact store cannot be written"):
            obstore.put(self._probed, PROBE, b"")
            obstore.delete(self._probed, PROBE)

    def sweep(self, older_than_seconds: float = 86400.0) -> int:
        """Remove nothing, and return 0.

        A lifecycle rule of the bucket removes the parts of an upload whose process was killed.
        """
        return 0

    def _connect(self, endpoint: str | None, seconds: float, *, retries: int) -> S3Store:
        config: S3Config = {"region": self._settings.s3_region}
        if endpoint:  # the name that takes precedence, in case AWS_ENDPOINT_URL_S3 differs
            config["aws_endpoint_url_s3"] = endpoint.rstrip("/")
        if self._settings.s3_checksums == "when_supported":
            config["checksum_algorithm"] = "SHA256"
        return S3Store(
            self._bucket,
            prefix=self._prefix or None,
            config=config,
            client_options={
                "allow_http": True,
                "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
                "timeout": timedelta(seconds=seconds),
            },
            retry_config={
                "max_retries": retries,
                "retry_timeout": timedelta(seconds=RETRY_SECONDS),
                "backoff": {
                    "init_backoff": timedelta(seconds=RETRY_PAUSE_SECONDS),
                    "max_backoff": timedelta(seconds=2),
                    "base": 2,
                },
            },
        )

    def _pages(self, folder: str) -> Iterator[list[str]]:
        """The keys in a folder, in pages. The library supports no other prefixes."""
        # Other return types of `list` need a library that is not installed, so they are unknown.
        pages = obstore.list(self._store, folder or None, chunk_size=PAGE_KEYS)  # pyright: ignore[reportUnknownMemberType]
        yield from ([found["path"] for found in page] for page in pages)

    def _range(self, key: str, start: int, length: int) -> bytes:
        with self._explained(f"cannot read {key}", key):
            return bytes(obstore.get_range(self._store, key, start=start, length=length))

    @contextmanager
    def _explained(self, what: str, key: str | None = None) -> Generator[None]:
        """Raises StorageUnavailable with an explanation in words if the block fails.

        Raises ArtifactNotReady if the object `key` does not exist.
        """
        try:
            yield
        except (BaseError, OSError) as error:
            fault = Fault(error, self._bucket, self._settings.s3_endpoint or "Amazon S3")
            if key is not None and fault.no_such_key:
                raise ArtifactNotReady(f"nothing is stored under {key}") from error
            raise StorageUnavailable(f"{what}: {fault}") from error


class _Sent:
    """Counts and hashes the bytes that pass through."""

    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick
        self.digest = hashlib.sha256()
        self.size_bytes = 0

    def through(self, file: IO[bytes]) -> Iterator[bytes]:
        while chunk := file.read(CHUNK_BYTES):
            self.digest.update(chunk)
            self.size_bytes += len(chunk)
            self._tick()
            yield chunk


class _ObjectReader(io.RawIOBase):
    """Reads an object's bytes one range at a time, and keeps none of them."""

    def __init__(self, fetch: Callable[[int, int], bytes], size_bytes: int) -> None:
        self._fetch = fetch
        self._size_bytes = size_bytes
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size_bytes}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: "bytearray | memoryview", /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        found = self._range(len(buffer))
        buffer[: len(found)] = found
        return len(found)

    def readall(self) -> bytes:
        """The remaining bytes. The inherited method would ask for 8 KB at a time."""
        return b"".join(iter(lambda: self._range(PART_BYTES), b""))

    def _range(self, size_bytes: int) -> bytes:
        length = min(size_bytes, PART_BYTES, self._size_bytes - self._position)
        if length <= 0:
            return b""
        found = self._fetch(self._position, length)
        self._position += len(found)
        return found


def _disposition(key: str, media_type: str) -> str:
    kind = "inline" if media_type.startswith("image/") else "attachment"
    return f'{kind}; filename="{PurePosixPath(key).name}"'
