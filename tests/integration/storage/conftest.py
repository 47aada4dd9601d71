from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest

from app.domain.ports import ArtifactStore
from app.storage.local import LocalArtifactStore
from app.storage.s3 import S3ArtifactStore
from tests.servers.s3 import Bucket


@pytest.fixture
def s3(bucket: Bucket) -> S3ArtifactStore:
    """An empty store: each test has a prefix of its own in the module's bucket."""
    url = f"s3://{bucket.name}/{uuid4().hex}"
    return S3ArtifactStore(bucket.settings(), url)


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    if request.param == "folder":
        return LocalArtifactStore(tmp_path / "artifacts")
    return cast(ArtifactStore, request.getfixturevalue("s3"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"pictures")
    return path
