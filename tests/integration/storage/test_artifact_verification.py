"""Stored outputs against what was published, in a folder and on a real S3 server."""

from collections.abc import Generator
from pathlib import Path

import pytest

from app.db.session import Database
from app.doctor.artifact_verification import verify
from app.doctor.findings import Finding, Verdict
from app.domain.artifact import Artifact
from app.domain.ports import ArtifactStore
from tests.unit.app.stored import new_database, submitted, succeeded


class Results:
    """Jobs that have succeeded, with stored outputs."""

    def __init__(self, database: Database, store: ArtifactStore, folder: Path) -> None:
        self.database, self.store, self._folder = database, store, folder

    def job(self, name: str) -> str:
        return succeeded(self.database, self.put(f"{name}/archive.zip", name.encode()), self.put(f"{name}/preview.png", b"png"))

    def put(self, key: str, content: bytes) -> Artifact:
        source = self._folder / "source"
        source.write_bytes(content)
        return self.store.put(f"jobs/{key}", source, "application/zip")

    def faults(self) -> list[str]:
        *faults, last = verify(self.database, self.store)
        assert last.verdict is Verdict.OK
        assert all(fault.verdict is Verdict.FAIL for fault in faults)
        return [fault.message for fault in faults]

    def last(self) -> Finding:
        return list(verify(self.database, self.store))[-1]


@pytest.fixture
def results(store: ArtifactStore, tmp_path: Path) -> Generator[Results]:
    database = new_database(tmp_path)
    yield Results(database, store, tmp_path)
    database.dispose()


def test_whole_outputs_are_counted(results: Results) -> None:
    submitted(results.database)
    for number in range(3):
        results.job(f"a{number}")
    assert results.faults() == []
    assert results.last().message == "6 archives and previews have the bytes that were published"


def test_each_damaged_or_missing_output_is_named_with_its_job(results: Results) -> None:
    shorter, changed, gone = results.job("shorter"), results.job("changed"), results.job("gone")
    results.job("sound")
    results.put("shorter/archive.zip", b"x")
    results.put("changed/preview.png", b"pnG")
    results.store.delete(["jobs/gone/archive.zip"])
    found = sorted(results.faults())
    assert len(found) == 3
    assert {fault.partition(": jobs/")[0] for fault in found} == {f"job {job}" for job in (shorter, changed, gone)}
    assert any(f"{gone}: jobs/gone/archive.zip is missing" in fault for fault in found)
    assert any(f"{shorter}: jobs/shorter/archive.zip has 1 bytes instead of 7" in fault for fault in found)
    assert any(f"{changed}: jobs/changed/preview.png has the SHA-256 " in fault for fault in found)
