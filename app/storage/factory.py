"""The artifact store of this installation."""

from app.distribution import install_extra
from app.domain.errors import PermanentError
from app.domain.ports import ArtifactStore
from app.settings import Settings
from app.storage.local import LocalArtifactStore


def store_for(settings: Settings) -> ArtifactStore:
    """An S3 store if `artifacts_url` names a bucket, else a folder of this machine.

    Contacts no server yet. Raises PermanentError if the library for S3 is not installed.
    """
    if settings.artifacts_url is None:
        return LocalArtifactStore(settings.artifacts_dir)
    try:
        from app.storage.s3 import S3ArtifactStore
    except ModuleNotFoundError as error:
        raise PermanentError(
            f"DAPPLE_ARTIFACTS_URL is {settings.artifacts_url}, which needs {error.name}; {install_extra('s3')}"
        ) from error
    return S3ArtifactStore(settings, settings.artifacts_url)
