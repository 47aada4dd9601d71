"""A dataset in a file behind an https URL."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from app.domain.text import storable
from worker.datasets.remote.download import Downloader
from worker.progress import Heartbeat


@dataclass(frozen=True)
class HttpsSource:
    """One file. Its format is told by its content."""

    url: str
    downloader: Downloader
    revision: None = None

    def fingerprint(self, heartbeat: Heartbeat) -> str | None:
        """A digest of the URL, size and validator; None if the server names no validator."""
        heartbeat()
        found = self.downloader.probe(self.url)
        if found.validator is None:
            return None
        return hashlib.sha256(f"{self.url}\n{found.size_bytes}\n{found.validator}".encode()).hexdigest()

    def fetch(self, folder: Path, heartbeat: Heartbeat) -> Path:
        """Download the file into the folder. Raises as `Downloader.fetch`."""
        name = storable(unquote(urlsplit(self.url).path)).rpartition("/")[2].lstrip(".")
        return self.downloader.fetch(self.url, folder / (name[-200:] or "dataset"), heartbeat)
