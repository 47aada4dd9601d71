"""Downloads that resume, and whose bytes are verified before they appear."""

import base64
import hashlib
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx

from app.client.errors import ApiError, DownloadCorrupt, checked
from app.client.transport import Transport
from app.schemas import ArchiveView, Problem

OnBytes = Callable[[int, int], None]  # bytes so far, bytes in all
UNPACKED = {"Accept-Encoding": "identity"}


class Downloads:
    """Content of one service, or of the object store to which it redirects."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def read(self, url: str) -> bytes:
        """Small content, whole."""
        return self._transport.retrying(partial(self._read, url))

    def save(self, url: str, path: Path, archive: ArchiveView, on_bytes: OnBytes | None) -> None:
        """Write the archive to `path`. If the bytes are wrong, they are fetched once more from the
        beginning.

        Raises DownloadCorrupt, or OSError if `path` cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{archive.sha256[:12]}.part")
        fetch = partial(self._fetch, url, part, archive, on_bytes)
        self._transport.retrying(fetch)
        if _sha256(part) != archive.sha256:  # the file may hold parts of two contents
            part.unlink()
            self._transport.retrying(fetch)
            _check_bytes(part, archive)
        part.replace(path)

    def _fetch(self, url: str, part: Path, archive: ArchiveView, on_bytes: OnBytes | None) -> None:
        """Append to `part` what it lacks.

        The service sends everything again if the archive has changed since.
        """
        done = part.stat().st_size if part.exists() else 0
        if done >= archive.size_bytes:
            return
        with self._content(url, done, archive) as response:
            done = done if "Content-Range" in response.headers else 0
            with part.open("ab" if done else "wb") as file:
                for chunk in response.iter_bytes():
                    done += file.write(chunk)
                    if on_bytes:
                        on_bytes(done, archive.size_bytes)

    def _read(self, url: str) -> bytes:
        with self._content(url) as response:
            return response.read()

    @contextmanager
    def _content(self, url: str, start: int = 0, archive: ArchiveView | None = None) -> Generator[httpx.Response]:
        """The response with the bytes from `start` on, if it can resume; from the service or from
        its object store.
        """
        part = {"Range": f"bytes={start}-"} if start else {}
        same = {"If-Range": f'"{archive.sha256}"'} if start and archive else {}
        with self._transport.http.stream("GET", url, headers=UNPACKED | part | same) as response:
            checked(response)
            _check_announced_digest(response, archive)
            if not response.has_redirect_location:
                yield response
                return
            elsewhere = response.url.join(response.headers["Location"])
        with self._stored(elsewhere, UNPACKED | part) as response:
            yield response

    @contextmanager
    def _stored(self, url: httpx.URL, headers: Mapping[str, str]) -> Generator[httpx.Response]:
        """The response of the object store.

        Every fault of the store counts as temporary: the service will name a new URL where this one
        has expired.
        """
        try:
            with self._transport.elsewhere(url) as http, http.stream("GET", url, headers=headers) as response:
                if response.is_error:
                    response.read()
                    raise _store_away(url, f"{response.status_code} {response.reason_phrase} {response.text[:200]}")
                yield response
        except httpx.TransportError as error:
            raise _store_away(url, error) from error


def _store_away(url: httpx.URL, reason: object) -> ApiError:
    title = f"The object store at {url.host} did not send the content"
    status = httpx.codes.SERVICE_UNAVAILABLE.value
    return ApiError(Problem(type="about:blank", title=title, status=status, detail=str(reason)))


def _check_announced_digest(response: httpx.Response, archive: ArchiveView | None) -> None:
    """RFC 9530: Repr-Digest covers the whole archive, also if only a part is sent or another URL is
    named.
    """
    announced = response.headers.get("Repr-Digest")
    if archive is None:
        return
    expected = f"sha-256=:{base64.b64encode(bytes.fromhex(archive.sha256)).decode()}:"
    if announced is not None and announced != expected:
        raise DownloadCorrupt(f"the service announces {announced}, the job's archive is {expected}")


def _check_bytes(part: Path, archive: ArchiveView) -> None:
    digest = _sha256(part)
    if digest != archive.sha256:
        part.unlink()
        raise DownloadCorrupt(f"the bytes hash to {digest}, the archive to {archive.sha256}; download again")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
