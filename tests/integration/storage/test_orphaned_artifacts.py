from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ulid import ULID

from app.db import jobs
from app.db.rows import from_artifact
from app.db.session import Database
from app.domain.ports import ArtifactStore
from tests.unit.app.stored import prepared, submitted, succeeded
from worker.service.orphaned_artifacts import OWNER, PAGE_KEYS, sweep_orphans


def put(store: ArtifactStore, source: Path, *keys: str) -> None:
    for key in keys:
        store.put(key, source, "text/plain")


def stored(store: ArtifactStore) -> list[str]:
    return [key for key in store.keys("") if key != OWNER]


def succeeded_with_results(database: Database, store: ArtifactStore, source: Path) -> str:
    """Id of a job whose archive and preview are stored below it."""
    job_id = succeeded(database)
    prefix = f"jobs/{job_id}/package-0000/5/"
    archive = store.put(prefix + "dapple.zip", source, "application/zip")
    preview = store.put(prefix + "preview.png", source, "image/png")
    with database.transaction() as session:
        row = jobs.lock(session, job_id)
        row.archive, row.preview = from_artifact(archive), from_artifact(preview)
    return job_id


def test_objects_of_jobs_that_do_not_exist_are_removed(database: Database, store: ArtifactStore, source: Path) -> None:
    running, gone = prepared(database), str(ULID())
    put(store, source, f"jobs/{running}/sample-0000/1/samples.npz", f"jobs/{gone}/sample-0000/1/samples.npz", "other/x")
    assert sweep_orphans(database, store, grace_seconds=0) == 1
    assert stored(store) == [f"jobs/{running}/sample-0000/1/samples.npz", "other/x"]


def test_a_job_that_has_ended_keeps_its_results_alone(database: Database, store: ArtifactStore, source: Path) -> None:
    job_id = succeeded_with_results(database, store, source)
    crashed = [f"jobs/{job_id}/sample-0000/1/samples.npz", f"jobs/{job_id}/package-0000/3/dapple-{job_id}.zip"]
    put(store, source, *crashed)
    assert sweep_orphans(database, store, grace_seconds=60) == 0
    assert sweep_orphans(database, store, grace_seconds=0) == 2
    assert stored(store) == [f"jobs/{job_id}/package-0000/5/dapple.zip", f"jobs/{job_id}/package-0000/5/preview.png"]


def test_a_job_that_failed_or_was_cancelled_keeps_nothing(database: Database, store: ArtifactStore, source: Path) -> None:
    job_id = submitted(database)
    put(store, source, f"jobs/{job_id}/sample-0000/1/samples.npz")
    with database.transaction() as session:
        jobs.request_cancel(session, job_id)
    assert sweep_orphans(database, store, grace_seconds=0) == 1
    assert stored(store) == []


def test_more_objects_than_a_page_are_swept_by_several_sweepers_at_once(
    database: Database, store: ArtifactStore, source: Path
) -> None:
    running = [submitted(database) for _ in range(3)]
    wanted = sorted(f"jobs/{job_id}/sample-0000/{token}/samples.npz" for job_id in running for token in range(10))
    unwanted = [f"jobs/{ULID()}/sample-0000/1/samples.npz" for _ in range(PAGE_KEYS)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: put(store, source, key), wanted + unwanted))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: sweep_orphans(database, store, grace_seconds=0), range(4)))
    assert stored(store) == wanted


def test_jobs_that_are_submitted_during_a_sweep_lose_nothing(database: Database, store: ArtifactStore, source: Path) -> None:
    def work(_: int) -> str:
        key = f"jobs/{submitted(database)}/prepare-0000/1/file"
        put(store, source, key)
        return key

    with ThreadPoolExecutor(2) as pool:
        sweeping = pool.submit(lambda: [sweep_orphans(database, store, grace_seconds=0) for _ in range(10)])
        made = [work(number) for number in range(40)]
        assert sweeping.result() == [0] * 10
    assert stored(store) == sorted(made)


def test_a_store_that_belongs_to_another_database_is_left_alone(
    database: Database, store: ArtifactStore, source: Path, tmp_path: Path
) -> None:
    key = f"jobs/{ULID()}/package-0000/5/dapple.zip"
    other = Database(f"sqlite:///{tmp_path / 'other.sqlite3'}")
    other.migrate()
    sweep_orphans(other, store, grace_seconds=0)
    put(store, source, key)
    assert sweep_orphans(database, store, grace_seconds=0) == 0
    assert stored(store) == [key]
    assert sweep_orphans(other, store, grace_seconds=0) == 1
    other.dispose()
