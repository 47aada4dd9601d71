"""A dataset of the Hugging Face hub: its data files at one commit; its scripts are never run."""

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, get_token, hf_hub_url
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from app.domain.dataset_uri import DatasetUri
from app.domain.errors import DatasetRejected, TransientError
from worker.datasets.readers.files import check_count
from worker.datasets.remote.download import Downloader, DownloadLimits, host_and_port
from worker.progress import Heartbeat

ENDPOINT = "https://huggingface.co"  # HF_ENDPOINT names another
NO_DATA = (".py", ".gitattributes", ".gitignore", ".lock")


@dataclass(frozen=True)
class HubSource:
    """The files of a dataset repository, or those below a path in it.

    The operator's HF_ENDPOINT and HF_TOKEN count. The token is sent to the endpoint alone.
    """

    uri: DatasetUri
    limits: DownloadLimits

    def fingerprint(self, heartbeat: Heartbeat) -> str | None:
        """A digest of the commit and the path."""
        heartbeat()
        return hashlib.sha256(f"{self.uri.name}\n{self.revision}\n{self.uri.key}".encode()).hexdigest()

    @property
    def revision(self) -> str:
        """The commit that the URI's revision names now."""
        return self._listed[0]

    def fetch(self, folder: Path, heartbeat: Heartbeat) -> Path:
        """Download the data files into the folder, under their paths in the repository."""
        commit, files = self._listed
        total = sum(files.values())
        if total > self.limits.most_bytes:
            raise DatasetRejected(f"{self.uri.text} has {total:,} bytes (DAPPLE_DOWNLOAD_BYTES: {self.limits.most_bytes:,})")
        for path in files:
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            url = hf_hub_url(self.uri.name, path, repo_type="dataset", revision=commit, endpoint=self._endpoint)
            self._downloader.fetch(url, target, heartbeat)
        return folder / self.uri.key if self.uri.key else folder

    @property
    def _endpoint(self) -> str:
        return os.environ.get("HF_ENDPOINT", ENDPOINT).rstrip("/")

    @cached_property
    def _downloader(self) -> Downloader:
        token = get_token()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return Downloader(self.limits, [host_and_port(self._endpoint)], headers)

    @cached_property
    def _listed(self) -> tuple[str, dict[str, int]]:
        """The commit, and the size of each data file by its path."""
        try:
            info = HfApi(self._endpoint).dataset_info(self.uri.name, revision=self.uri.revision, files_metadata=True)
        except GatedRepoError as error:
            raise DatasetRejected(f"{self.uri.text} needs a licence to be accepted, and HF_TOKEN of whoever did") from error
        except RevisionNotFoundError as error:
            raise DatasetRejected(f"{self.uri.name} has no revision {self.uri.revision!r}") from error
        except RepositoryNotFoundError as error:
            raise DatasetRejected(f"the hub shows no dataset {self.uri.name}; check the name and HF_TOKEN") from error
        except Exception as error:  # whatever HTTP client the library uses
            raise TransientError(f"{self._endpoint} does not answer: {error}") from error
        files = {
            each.rfilename: each.size or 0
            for each in info.siblings or ()
            if self._is_below(each.rfilename) and not each.rfilename.endswith(NO_DATA)
        }
        check_count(len(files))
        if not files:
            raise DatasetRejected(f"{self.uri.text} has no data files")
        unsafe = next((path for path in files if ".." in PurePosixPath(path).parts or path.startswith("/")), None)
        if unsafe is not None:
            raise DatasetRejected(f"{self.uri.text} has a file with the name {unsafe!r}")
        return str(info.sha), files

    def _is_below(self, path: str) -> bool:
        return not self.uri.key or path == self.uri.key or path.startswith(f"{self.uri.key}/")
