from pathlib import Path
from uuid import uuid4

import pytest

from app.storage.s3 import S3ArtifactStore
from tests.services.s3 import Bucket


@pytest.fixture
def s3(bucket: Bucket) -> S3ArtifactStore:
    """An empty store: each test has a prefix of its own in the module's bucket."""
    url = f"s3://{bucket.name}/{uuid4().hex}"
    return S3ArtifactStore(bucket.settings(), url)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"pictures")
    return path
