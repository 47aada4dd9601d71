"""Compare every stored output with what its job published."""

import hashlib
from collections.abc import Iterator

from app.db import artifacts, jobs
from app.db.session import Database
from app.doctor.findings import Finding, Verdict
from app.domain.artifact import Artifact
from app.domain.errors import ArtifactDamaged, ArtifactNotReady, JobNotFound, StorageUnavailable
from app.domain.ports import ArtifactStore

PAGE_JOBS = 100
CHUNK_BYTES = 1 << 20
SUBJECT = "outputs"
ADVICE = "delete the job and submit its spec again: equal specs give equal bytes; or restore the file from a copy"


def verify(database: Database, store: ArtifactStore) -> Iterator[Finding]:
    """A finding for each damaged or missing archive and preview, then the count of intact ones.

    Reads all of them. Raises DatabaseUnavailable, and StorageUnavailable if the store does not
    answer.
    """
    sound = 0
    for job_id, artifact in _published(database):
        fault = _fault(store, artifact)
        if fault is None:
            sound += 1
        elif _exists(database, job_id):
            yield Finding(SUBJECT, Verdict.FAIL, f"job {job_id}: {artifact.key} {fault}", ADVICE)
    yield Finding(SUBJECT, Verdict.OK, f"{sound} archives and previews have the bytes that were published")


def _published(database: Database) -> Iterator[tuple[str, Artifact]]:
    """Every output of every job; reads the jobs page by page."""
    last = ""
    while True:
        with database.reading() as session:
            page = artifacts.published(session, after=last, limit=PAGE_JOBS)
        if not page:
            return
        yield from ((job_id, artifact) for job_id, outputs in page for artifact in outputs)
        last = page[-1][0]


def _fault(store: ArtifactStore, artifact: Artifact) -> str | None:
    """The fault of a stored output; None if it is intact."""
    try:
        sha256, size_bytes = _digest(store, artifact.key)
    except ArtifactNotReady:
        return "is missing"
    except ArtifactDamaged:
        return "is not a plain file, or lies behind a link"
    except (StorageUnavailable, OSError) as error:
        store.check()
        return f"cannot be read: {error}"
    if size_bytes != artifact.size_bytes:
        return f"has {size_bytes} bytes instead of {artifact.size_bytes}"
    if sha256 != artifact.sha256:
        return f"has the SHA-256 {sha256} instead of {artifact.sha256}"
    return None


def _digest(store: ArtifactStore, key: str) -> tuple[str, int]:
    digest, size_bytes = hashlib.sha256(), 0
    with store.open(key) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
            size_bytes += len(chunk)
    return digest.hexdigest(), size_bytes


def _exists(database: Database, job_id: str) -> bool:
    """Whether the job still exists."""
    try:
        with database.reading() as session:
            jobs.get(session, job_id)
    except JobNotFound:
        return False
    return True
