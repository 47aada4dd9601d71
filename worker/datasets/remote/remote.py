"""The remote source of a dataset URI."""

from pathlib import Path
from typing import Protocol

from app.distribution import install_extra
from app.domain.dataset_uri import DatasetUri
from app.domain.errors import PermanentError
from app.settings import Settings
from worker.datasets.remote.download import Downloader, DownloadLimits
from worker.datasets.remote.https_source import HttpsSource
from worker.datasets.remote.hub_source import HubSource
from worker.progress import Heartbeat


class RemoteSource(Protocol):
    """Files elsewhere, which are downloaded before they are read.

    Both methods raise DatasetRejected if the files are missing or may not be read, and
    TransientError if the server does not answer.
    """

    @property
    def revision(self) -> str | None:
        """The version of the files, if the source keeps versions. Raises the same."""
        ...

    def fingerprint(self, heartbeat: Heartbeat) -> str | None:
        """A digest that changes with the files; None if the server does not tell."""
        ...

    def fetch(self, folder: Path, heartbeat: Heartbeat) -> Path:
        """Download all files into an empty folder; return the file or folder to read."""
        ...


def remote_source(uri: DatasetUri, settings: Settings) -> RemoteSource:
    """Raises PermanentError if the library for S3 is not installed."""
    limits = DownloadLimits(settings.download_bytes, settings.download_seconds, settings.dataset_networks)
    if uri.scheme == "https":
        return HttpsSource(uri.url, Downloader(limits))
    if uri.scheme == "hf":
        return HubSource(uri, limits)
    try:
        from worker.datasets.remote.s3_source import S3Source
    except ModuleNotFoundError as error:
        raise PermanentError(f"s3:// datasets need {error.name}; {install_extra('s3')}") from error
    endpoint = settings.dataset_s3_endpoint or settings.s3_endpoint
    return S3Source(uri, endpoint, settings.s3_region, settings.download_bytes)
