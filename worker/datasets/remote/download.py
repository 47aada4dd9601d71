"""Download a file by HTTPS, within limits, and go on after a cut."""

import ssl
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast
from urllib.parse import urljoin, urlsplit

import httpcore
import httpx

from app.domain.errors import DatasetRejected, TransientError
from worker.datasets.remote.addresses import Network, PublicOnly
from worker.progress import Heartbeat, no_heartbeat

REDIRECTS = (301, 302, 303, 307, 308)
MOST_REDIRECTS = 3
MOST_CUTS = 20  # after which a download that goes on each time is given up
SILENT_SECONDS = 30.0
PAUSE_SECONDS = 1.0  # after a cut
AGENT = "dapple"


@dataclass(frozen=True)
class DownloadLimits:
    """What a download may cost, and the networks that it may reach besides public addresses."""

    most_bytes: int
    most_seconds: float
    networks: Sequence[Network] = ()


@dataclass(frozen=True)
class Found:
    """A file on a server. `validator` changes with its content; None if the server names none."""

    size_bytes: int | None
    validator: str | None


@dataclass
class Downloader:
    """Downloads files by HTTPS.

    `headers` are sent to the hosts of `trusted` alone, which may have private addresses.
    Environment variables for proxies are ignored. `ssl_context` is the system's unless a test gives
    another.
    """

    limits: DownloadLimits
    trusted: Sequence[tuple[str, int]] = ()
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    ssl_context: ssl.SSLContext | None = None

    def probe(self, url: str) -> Found:
        """The size and the validator of a file. Raises as `fetch`."""
        with self._answer(url, {"Range": "bytes=0-0"}) as answer:
            total = answer.headers.get("content-range", "").rpartition("/")[2] or answer.headers.get("content-length", "")
            return Found(int(total) if total.isdigit() else None, answer.validator)

    def fetch(self, url: str, target: Path, heartbeat: Heartbeat = no_heartbeat) -> Path:
        """Write the file at `url` to `target`, and return `target`.

        A download that is cut goes on where it was if the server still has the same content, else
        from its beginning. Raises DatasetRejected if the file is missing, not public or too large,
        or for an address that is not public; TransientError if the server does not answer.
        """
        cuts = 0
        with target.open("wb") as file:
            transfer = _Transfer(url, file)
            while True:
                try:
                    self._receive(transfer, heartbeat)
                except TransientError:
                    cuts += 1
                    if cuts > MOST_CUTS or not file.tell():
                        raise
                    time.sleep(PAUSE_SECONDS)
                else:
                    return target

    def _receive(self, transfer: "_Transfer", heartbeat: Heartbeat) -> None:
        """Append to the file what one answer brings. Raises TransientError if that is not all."""
        file, place = transfer.file, transfer.file.tell()
        resumed = {"Range": f"bytes={place}-", "If-Range": transfer.validator or ""}
        with self._answer(transfer.url, resumed if place and transfer.validator else {}) as answer:
            if not answer.headers.get("content-range", "").startswith(f"bytes {place}-"):
                place = file.seek(0)
                file.truncate()
            transfer.validator = answer.validator
            for chunk in answer.chunks():
                file.write(chunk)
                self._check(transfer)
                heartbeat()
        if answer.length is not None and file.tell() - place < answer.length:
            raise TransientError(f"{_shown(transfer.url)} was cut after {file.tell():,} bytes")

    def _check(self, transfer: "_Transfer") -> None:
        shown, limits = _shown(transfer.url), self.limits
        if transfer.file.tell() > limits.most_bytes:
            raise DatasetRejected(f"{shown} has more than {limits.most_bytes:,} bytes (DAPPLE_DOWNLOAD_BYTES)")
        if time.monotonic() - transfer.began > limits.most_seconds:
            raise DatasetRejected(f"{shown} took longer than {limits.most_seconds:g} s (DAPPLE_DOWNLOAD_SECONDS)")

    @contextmanager
    def _answer(self, url: str, headers: Mapping[str, str]) -> Generator["_Answer"]:
        """The answer with content, after at most MOST_REDIRECTS redirects, each checked."""
        backend = PublicOnly(self.limits.networks, self.trusted)
        context = self.ssl_context or httpcore.default_ssl_context()
        with httpcore.ConnectionPool(ssl_context=context, network_backend=backend) as pool:
            for _ in range(MOST_REDIRECTS + 1):
                with _explained(url), pool.stream("GET", url, headers=self._sent(url, headers), extensions=_TIMEOUTS) as answer:
                    found = _Answer(answer, url)
                    if found.status not in REDIRECTS:
                        found.refuse_errors()
                        yield found
                        return
                    url = _redirected(url, found.headers.get("location", ""))
        raise DatasetRejected(f"{_shown(url)}: more than {MOST_REDIRECTS} redirects")

    def _sent(self, url: str, headers: Mapping[str, str]) -> list[tuple[str, str]]:
        own = self.headers if host_and_port(url) in self.trusted else {}
        usual = {"Host": urlsplit(url).netloc, "User-Agent": AGENT, "Accept-Encoding": "identity"}
        return list({**usual, **own, **headers}.items())


def host_and_port(url: str) -> tuple[str, int]:
    """Where a connection for the URL goes to."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)


@dataclass
class _Transfer:
    """A file on its way. `validator` is that of the content received so far."""

    url: str
    file: IO[bytes]
    validator: str | None = None
    began: float = field(default_factory=time.monotonic)


_TIMEOUTS = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), SILENT_SECONDS)}


class _Answer:
    def __init__(self, answer: httpcore.Response, url: str) -> None:
        self._answer, self._url = answer, url
        self.status = answer.status
        self.headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}

    @property
    def length(self) -> int | None:
        length = self.headers.get("content-length", "")
        return int(length) if length.isdigit() else None

    @property
    def validator(self) -> str | None:
        """A strong ETag, else the date of the last change."""
        etag = self.headers.get("etag")
        return etag if etag and not etag.startswith("W/") else self.headers.get("last-modified")

    def chunks(self) -> Generator[bytes]:
        yield from cast("Callable[[], Generator[bytes]]", self._answer.iter_stream)()

    def refuse_errors(self) -> None:
        shown = _shown(self._url)
        if self.status in (200, 206):
            return
        if self.status in (401, 403):
            raise DatasetRejected(f"{shown} may not be read without credentials (HTTP {self.status})")
        if self.status in (404, 410):
            raise DatasetRejected(f"there is nothing at {shown} (HTTP {self.status})")
        if self.status == 416:
            raise TransientError(f"{shown} changed while it was downloaded")
        if self.status in (408, 425, 429) or self.status >= 500:
            raise TransientError(f"{shown} answers HTTP {self.status}")
        raise DatasetRejected(f"{shown} answers HTTP {self.status}")


def _redirected(url: str, location: str) -> str:
    """The URL to which an answer leads. Raises DatasetRejected unless it is a plain https URL."""
    try:
        target = str(httpx.URL(urljoin(url, location)))
    except (httpx.InvalidURL, ValueError) as error:
        raise DatasetRejected(f"{_shown(url)} leads to a URL that is not valid: {error}") from error
    if urlsplit(target).scheme != "https":
        raise DatasetRejected(f"{_shown(url)} leads to {_shown(target)}, which is not https")
    if "@" in urlsplit(target).netloc or not urlsplit(target).hostname:
        raise DatasetRejected(f"{_shown(url)} leads to a URL that is not plain")
    return target


@contextmanager
def _explained(url: str) -> Generator[None]:
    """Errors of the connection in words; those of the caller pass."""
    shown = _shown(url)
    try:
        yield
    except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
        if isinstance(error.__cause__ or error.__context__, ssl.SSLError) or "CERTIFICATE" in str(error):
            raise DatasetRejected(f"{shown}: the certificate of the server is not valid: {error}") from error
        raise TransientError(f"{shown} does not answer: {error}") from error
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.RemoteProtocolError) as error:
        raise TransientError(f"{shown} does not go on: {error or type(error).__name__}") from error
    except (httpcore.LocalProtocolError, httpcore.UnsupportedProtocol, UnicodeError) as error:
        raise DatasetRejected(f"{shown} cannot be asked for: {error}") from error


def _shown(url: str) -> str:
    """The URL without its query, which may hold a secret that a redirect gave."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
