"""What a claim costs: by the number of ready leases, and by the number of workers; on Postgres and SQLite.

    make bench-claims ARGS="--json claims.json --postgres postgresql://postgres@127.0.0.1:5432/postgres"

The Postgres server is that of DAPPLE_TEST_POSTGRES_URL unless told; it gets a database of its own, dropped at the end.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import insert, make_url, text
from ulid import ULID

from app.db import jobs, leases
from app.db.session import Database
from app.db.tables import TaskRow
from app.domain.job import JobState, Lease, Phase, TaskKind, TaskState
from app.domain.spec.job_spec import DistillationSpec
from app.domain.worker import Claimant

READY = (10, 1_000, 10_000, 100_000)
WORKERS = (1, 10, 100)
JOBS = 10
SPEC = DistillationSpec(dataset_uri="sklearn://digits", ipc=10)
DEFAULT_SERVER = "postgresql://postgres@127.0.0.1:5432/postgres"


def fill(database: Database, ready: int, job_count: int = JOBS) -> list[str]:
    """Ids of new running jobs that together have `ready` ready sample tasks."""
    ids: list[str] = []
    with database.transaction() as session:
        for _ in range(job_count):
            job = jobs.insert(session, str(ULID()), SPEC)
            jobs.move(session, job, JobState.RUNNING)
            job.phase = Phase.SAMPLING.value
            session.flush()
            ids.append(job.id)
            session.execute(insert(TaskRow), [_sample(job.id, ordinal) for ordinal in range(ready // job_count)])
    return ids


def _sample(job_id: str, ordinal: int) -> dict[str, object]:
    kind = TaskKind.SAMPLE
    fixed = {"attempt": 0, "failures": 0, "token": 0, "not_before": 0.0, "ready_at": time.time(), "done": 0, "total": 50}
    named = {"id": str(ULID()), "job_id": job_id, "kind": kind.value, "queue": kind.queue.value, "rank": 0}
    return named | {"ordinal": ordinal, "state": TaskState.READY.value, "input": {"group": ordinal}} | fixed


def claim(database: Database, name: str) -> Lease | None:
    with database.transaction() as session:
        return leases.claim(session, Claimant(name), 600.0)


def latency_ms(database: Database, ready: int, claims: int) -> dict[str, float]:
    """Of one worker's claims, one after another, each with its commit; the tasks go back between two claims."""
    fill(database, ready)
    _analyze(database)
    taken: list[float] = []
    for _ in range(claims):
        started = time.perf_counter()
        lease = claim(database, "w")
        taken.append((time.perf_counter() - started) * 1000)
        if lease is None:
            raise RuntimeError("there is nothing to claim")
        with database.transaction() as session:
            leases.release(session, lease)
    marks = statistics.quantiles(taken, n=100)
    return {"ready": ready, "p50_ms": round(marks[49], 2), "p99_ms": round(marks[98], 2)}


def claims_per_second(database: Database, workers: int, seconds: float) -> dict[str, float]:
    """Of so many workers, threads of one process, on ten jobs."""
    fill(database, 20_000)
    _analyze(database)
    stop = threading.Event()

    def work(number: int) -> int:
        claimed = 0
        while not stop.is_set() and claim(database, f"w{number}") is not None:
            claimed += 1
        return claimed

    with ThreadPoolExecutor(workers) as pool:
        started = time.perf_counter()
        counts = [pool.submit(work, number) for number in range(workers)]
        time.sleep(seconds)
        stop.set()
        total = sum(count.result() for count in counts)
        return {"workers": workers, "claims_per_s": round(total / (time.perf_counter() - started), 1)}


def _analyze(database: Database) -> None:
    """As autovacuum does; SQLite plans without statistics too."""
    with database.transaction() as session:
        session.execute(text("ANALYZE"))


@contextmanager
def on_sqlite() -> Generator[Database]:
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder) / 'dapple.sqlite3'}")
        database.migrate()
        yield database
        database.dispose()


@contextmanager
def on_postgres(server: str) -> Generator[Database]:
    name = f"dapple_bench_{ULID()}".lower()
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
        database = Database(make_url(server).set(database=name).render_as_string(hide_password=False))
        database.migrate()
        try:
            yield database
        finally:
            database.dispose()
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def measure(server: str, claims: int, seconds: float) -> dict[str, object]:
    kinds = {"postgres": lambda: on_postgres(server), "sqlite": on_sqlite}
    found: dict[str, object] = {"machine": f"{os.cpu_count()} cores, {platform.machine()}", "claims": claims}
    for kind, new in kinds.items():
        latencies: list[dict[str, float]] = []
        for ready in READY:
            with new() as database:
                latencies.append(latency_ms(database, ready, claims))
                print(kind, latencies[-1], flush=True)
        rates: list[dict[str, float]] = []
        for workers in WORKERS:
            with new() as database:
                rates.append(claims_per_second(database, workers, seconds))
                print(kind, rates[-1], flush=True)
        found[kind] = {"latency": latencies, "rate": rates}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--postgres", default=os.environ.get("DAPPLE_TEST_POSTGRES_URL", DEFAULT_SERVER))
    parser.add_argument("--claims", type=int, default=300, help="claims of each latency")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each rate")
    options = parser.parse_args()
    found = measure(options.postgres, options.claims, options.seconds)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
