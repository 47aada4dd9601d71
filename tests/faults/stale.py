"""A stopped worker that wakes up after its lease changed hands writes nothing.

Each trial: a process claims a job's one task and runs it; it is stopped at a random moment; its lease runs out and another
process claims and publishes; then the first goes on. A trigger has noted who wrote each row: after the expiry nothing of the
first may be there. Several trials at a time, each in a database of its own.
"""

import json
import os
import random
import secrets
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import torch
from ulid import ULID

from app.db import expiry, jobs, leases
from app.db.session import Database
from app.domain.errors import DatabaseUnavailable
from app.domain.job import NewTask, TaskKind, TaskState
from app.domain.spec.job_spec import DistillationSpec
from app.log import configure
from app.settings import Settings
from app.storage.local import LocalArtifactStore
from app.wakeup.polling import PollingQueue
from tests.faults.processes import Supervisor, free_ports
from tests.faults.servers import DATABASE, Postgres
from worker.backbones.registry import BackboneRegistry
from worker.disk_cache import DiskCache
from worker.service.task_runner import TaskRunner
from worker.stages.context import Publication, StageResult, TaskContext, WorkerContext
from worker.stages.outputs import PackageOutput

SPEC = DistillationSpec(dataset_uri="sklearn://digits", ipc=1, max_attempts=10)
LEASE_SECONDS, HEARTBEAT_SECONDS, PROGRESS_SECONDS = 0.6, 0.1, 0.05
STEPS, STEP_SECONDS = 20, 0.02
LATEST_STOP_SECONDS = 0.6  # after the claim: the stage takes 0.4, and then the result is stored and published
WAIT_SECONDS = 30.0
AT_ONCE = 12  # slots
LOOK_SECONDS = 0.05

NOTE_WRITERS = """
    CREATE TABLE writes (id bigserial PRIMARY KEY, job_id text, what text, writer text, at timestamptz);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE row jsonb := to_jsonb(NEW);
    BEGIN
        INSERT INTO writes (job_id, what, writer, at) VALUES (
            COALESCE(row->>'job_id', (SELECT job_id FROM tasks WHERE id = row->>'task_id'), row->>'id'),
            TG_TABLE_NAME || ' ' || COALESCE(row->>'type', row->>'state', row->>'outcome', ''),
            current_setting('application_name'), clock_timestamp()
        );
        RETURN NULL;
    END $$;
"""
NOTED = ("jobs", "tasks", "attempts", "events")


@dataclass(frozen=True)
class Trials:
    """Trials whose lease changed hands, and what was written after that by the process that had lost it.

    `unstopped`: tries not counted, as the process had ended before its signal.
    """

    trials: int
    unstopped: int
    stale: Sequence[str]


def try_on_own_server(logs: Path, *, trials: int, seed: int) -> Trials:
    """Counts over AT_ONCE slots on a Postgres server started for them."""
    with ExitStack() as stack:
        supervisor = Supervisor()
        stack.callback(supervisor.close)
        server = Postgres(supervisor, logs, free_ports(1)[0])
        stack.callback(server.remove)
        stack.callback(supervisor.close)  # before its folder is removed
        return try_all(server.url, logs, trials=trials, at_once=AT_ONCE, seed=seed)


def try_all(url: str, folder: Path, *, trials: int, at_once: int, seed: int) -> Trials:
    """Counts over `at_once` databases made on the server of `url`."""
    template = f"{DATABASE}_stale"
    _make_template(url, template)
    results = folder / "stale"
    results.mkdir()
    shares = [trials // at_once + (slot < trials % at_once) for slot in range(at_once)]
    children = [
        _forked(lambda slot=slot, share=share: _run_slot(url, template, results / str(slot), share, seed + slot))
        for slot, share in enumerate(shares)
    ]
    failed = [child for child in children if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]
    assert not failed, f"{len(failed)} of {at_once} slots failed; their traces are on standard error"
    found = [json.loads(file.read_text()) for file in sorted(results.glob("*.json"))]
    return Trials(
        sum(one["trials"] for one in found),
        sum(one["unstopped"] for one in found),
        [line for one in found for line in one["stale"]],
    )


def _make_template(url: str, name: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    database = Database(_named(url, name))
    database.migrate()
    database.dispose()
    with psycopg.connect(_named(url, name), autocommit=True) as connection:
        connection.execute(NOTE_WRITERS.encode())
        for table in NOTED:
            trigger = f"CREATE TRIGGER note AFTER INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION note()"
            connection.execute(trigger.encode())


def _run_slot(url: str, template: str, folder: Path, trials: int, seed: int) -> None:
    name = f"{template}_{folder.name}"
    with psycopg.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    slot = Slot(_named(url, name), folder, seed)
    while slot.trials < trials:
        slot.try_once()
    folder.with_suffix(".json").write_text(
        json.dumps({"trials": slot.trials, "unstopped": slot.unstopped, "stale": slot.stale})
    )


class Slot:
    """One trial after another in a database of its own; the sweeper is this process."""

    def __init__(self, url: str, folder: Path, seed: int) -> None:
        self.trials = 0
        self.unstopped = 0
        self.stale: list[str] = []
        self._url = url
        self._folder = folder
        self._draw = random.Random(seed)  # noqa: S311 - moments are no secret
        self._database = Database(_as("sweeper", url))
        self._watching = psycopg.connect(url, autocommit=True)

    def try_once(self) -> None:
        job_id = self._submit()
        first_name, second_name = f"first-{secrets.token_hex(4)}", f"second-{secrets.token_hex(4)}"
        first = self._worker(first_name)
        self._until(lambda: self._wrote(job_id, first_name, "attempts "))
        time.sleep(self._draw.uniform(0, LATEST_STOP_SECONDS))
        os.kill(first, signal.SIGSTOP)
        second = self._worker(second_name)
        self._until(lambda: self._wrote(job_id, "sweeper", "attempts expired") or self._ended(job_id), sweeping=True)
        expired = self._wrote(job_id, "sweeper", "attempts expired")
        if expired:  # the first may claim anew what nobody holds, so it sleeps until the other holds it
            self._until(lambda: self._wrote(job_id, second_name, "attempts "))
        if self._draw.random() < 0.5:  # it wakes up beside the other, or when the other is done
            self._until(lambda: self._ended(job_id))
        os.kill(first, signal.SIGCONT)
        if not expired:
            os.kill(second, signal.SIGKILL)  # the first had ended before it was stopped: nothing is left to do
        for child in (first, second):
            self._until(lambda child=child: os.waitpid(child, os.WNOHANG) != (0, 0))
        if not expired:
            self.unstopped += 1
            return
        self.trials += 1
        self._check(job_id, first_name, second_name)

    def _check(self, job_id: str, first_name: str, second_name: str) -> None:
        query = """
            SELECT what FROM writes WHERE job_id = %s AND writer = %s
            AND id > (SELECT min(id) FROM writes WHERE job_id = %s AND writer = 'sweeper' AND what = 'attempts expired')
        """
        late = [what for (what,) in self._query(query, job_id, first_name, job_id)]
        self.stale += [f"{job_id}: {first_name} wrote {what} after it had lost its lease" for what in late]
        published = self._query("SELECT count(*) FROM events WHERE job_id = %s AND type = 'job.succeeded'", job_id)
        if published != [(1,)]:
            self.stale.append(f"{job_id} was published {published} times")
        (archive,) = self._query("SELECT archive->>'key' FROM jobs WHERE id = %s", job_id)[0]
        store = LocalArtifactStore(self._settings().artifacts_dir)
        with store.open(str(archive)) as stream:
            author = stream.read().decode()
        if author != second_name:
            self.stale.append(f"{job_id}: {author} made the published archive")

    def _submit(self) -> str:
        with self._database.transaction() as session:
            job = jobs.insert(session, str(ULID()), SPEC)
            leases.insert(session, job, [NewTask(TaskKind.PACKAGE, 0, {}, STEPS)], TaskState.READY)
            return job.id

    def _worker(self, name: str) -> int:
        """The pid of a process that runs one task and ends."""
        return _forked(lambda: _run_one(_as(name, self._url), self._settings(), name))

    def _settings(self) -> Settings:
        return Settings(
            data_dir=self._folder,
            lease_seconds=LEASE_SECONDS,
            heartbeat_seconds=HEARTBEAT_SECONDS,
            progress_seconds=PROGRESS_SECONDS,
            retry_backoff_seconds=0,
            log_level="CRITICAL",
        )

    def _until(self, condition: Callable[[], bool], *, sweeping: bool = False) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "a trial is stuck"
            if sweeping:
                with suppress(DatabaseUnavailable), self._database.transaction() as session:
                    expiry.expire(session, 0)
            time.sleep(LOOK_SECONDS)

    def _wrote(self, job_id: str, writer: str, what: str) -> bool:
        query = "SELECT count(*) FROM writes WHERE job_id = %s AND writer = %s AND what = %s"
        return self._query(query, job_id, writer, what) != [(0,)]

    def _ended(self, job_id: str) -> bool:
        return self._query("SELECT state FROM jobs WHERE id = %s", job_id) == [("succeeded",)]

    def _query(self, query: str, *arguments: str) -> list[tuple[object, ...]]:
        return self._watching.execute(query.encode(), arguments).fetchall()


def _run_one(url: str, settings: Settings, name: str) -> None:
    configure(settings.log_level)
    database = Database(url)
    device = torch.device("cpu")
    cache = DiskCache(settings.cache_dir, settings.cache_bytes)
    worker = WorkerContext(settings, LocalArtifactStore(settings.artifacts_dir), BackboneRegistry((), device), device, cache)

    begun = threading.Event()

    def publish(task: TaskContext, worker: WorkerContext) -> StageResult:
        begun.set()
        for step in range(STEPS):
            task.report(step, STEPS)
            time.sleep(STEP_SECONDS)
        file = task.scratch / "author"
        file.write_text(name)
        stored = worker.store.put(task.lease.output_prefix + file.name, file, "text/plain")
        return StageResult(PackageOutput(archive=stored.key), publication=Publication(stored, stored, {}))

    stages = dict.fromkeys(TaskKind, publish)
    runner = TaskRunner(database, worker, PollingQueue(), name=name, stopping=threading.Event(), stages=stages)
    deadline = time.monotonic() + WAIT_SECONDS
    answered = True
    while not begun.is_set() and time.monotonic() < deadline:
        try:
            if not runner.run_one() and not answered:
                return  # what it had claimed was lost with its connection while it was stopped
        except DatabaseUnavailable:
            answered = False
        time.sleep(LOOK_SECONDS)


def _forked(act: Callable[[], None]) -> int:
    """The pid of a copy of this process, libraries and all, that does this and ends; its exit code is 1 if it raised."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        act()
        code = 0
    except BaseException:  # noqa: BLE001 - nothing may return into the copy of the caller
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def _named(url: str, database: str) -> str:
    return url.rpartition("/")[0] + "/" + database


def _as(name: str, url: str) -> str:
    """A process stopped inside a transaction is thrown out of it after a second, so that its trial need not wait for 10."""
    return f"{url}?application_name={name}&options=-c%20idle_in_transaction_session_timeout%3D1s"
