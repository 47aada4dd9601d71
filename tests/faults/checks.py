"""What must hold once the faults are over, read from the database and the store themselves."""

import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from app.domain.errors import ArtifactNotReady
from app.domain.job import TRANSITIONS
from app.domain.ports import ArtifactStore
from tests.faults.cluster import Kill

TERMINAL = tuple(state.value for state in TRANSITIONS if state.terminal)
LOOK_SECONDS = 0.5
RESUME_P99_SECONDS = 45.0


@dataclass
class Findings:
    """Ids of jobs that are not as they must be, by what is wrong with them; `resumed` in seconds after each kill."""

    lost: list[str] = field(default_factory=list[str])
    duplicated: list[str] = field(default_factory=list[str])
    not_terminal: list[str] = field(default_factory=list[str])
    not_succeeded: list[str] = field(default_factory=list[str])
    sha_mismatch: list[str] = field(default_factory=list[str])
    orphans: list[str] = field(default_factory=list[str])
    resumed: list[float] = field(default_factory=list[float])
    redone: list[str] = field(default_factory=list[str])
    not_injected: list[str] = field(default_factory=list[str])

    @property
    def wrong(self) -> dict[str, list[str]]:
        """Everything that is not empty and must be, and tasks that started again too late."""
        late = self.resume_p99_s is not None and self.resume_p99_s > RESUME_P99_SECONDS
        return {name: value for name, value in vars(self).items() if value and (late or name != "resumed")}

    @property
    def resume_p99_s(self) -> float | None:
        ranked = sorted(self.resumed)
        return round(ranked[math.ceil(0.99 * len(ranked)) - 1], 1) if ranked else None


def wait_until_all_ended(url: str, seconds: float, say: Callable[[str], None]) -> None:
    """Return when every job has ended, or after `seconds`; says now and then how many are left."""
    deadline = time.monotonic() + seconds
    said_at = 0.0
    while time.monotonic() < deadline:
        try:
            left = unfinished(url)
        except psycopg.OperationalError:  # the last fault may have been its restart
            left = -1
        if left == 0:
            return
        if time.monotonic() - said_at > 10:
            said_at = time.monotonic()
            say(f"{left} jobs have not ended yet")
        time.sleep(LOOK_SECONDS)


def unfinished(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM jobs WHERE state != ALL(%s)", [list(TERMINAL)]).fetchone()
    assert row is not None
    return int(row[0])


def keep_tables(url: str, folder: Path) -> None:
    """Every row as a line of JSON, in a file for each table."""
    with psycopg.connect(url) as connection:
        for table in ("jobs", "tasks", "attempts", "events", "workers"):
            rows = _rows(connection, f"SELECT * FROM {table}")  # noqa: S608 - names of our own
            (folder / f"{table}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def examine(
    url: str, store: ArtifactStore, accepted: Mapping[str, Sequence[str]], right: Mapping[str, str], kills: Sequence[Kill]
) -> Findings:
    """`accepted`: the ids that each idempotency key was answered with; `right`: by canonical spec, the archive's SHA-256."""
    found = Findings()
    with psycopg.connect(url) as connection:
        jobs = _rows(connection, "SELECT id, state, spec, archive FROM jobs")
        published = Counter(
            row["job_id"] for row in _rows(connection, "SELECT job_id FROM events WHERE type = 'job.succeeded'")
        )
        attempts = _rows(connection, "SELECT * FROM attempts")
        named = {row["key"] for row in _rows(connection, _NAMED)}
    ids = {job["id"] for job in jobs}
    for key, answers in accepted.items():
        if len(set(answers)) != 1:
            found.duplicated.append(f"{key}: {sorted(set(answers))}")
        found.lost += [job_id for job_id in answers if job_id not in ids]
    found.duplicated += sorted(ids - {job_id for answers in accepted.values() for job_id in answers})
    for job in jobs:
        _examine_job(found, job, published[job["id"]], store, right)
    found.orphans = sorted(set(store.keys("jobs/")) - named)
    _examine_kills(found, attempts, kills)
    return found


_NAMED = """
    SELECT archive->>'key' AS key FROM jobs WHERE archive IS NOT NULL
    UNION SELECT preview->>'key' FROM jobs WHERE preview IS NOT NULL
"""


def _rows(connection: psycopg.Connection, query: str) -> list[dict[str, Any]]:
    cursor = connection.execute(query.encode())
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _examine_job(
    found: Findings, job: Mapping[str, Any], published: int, store: ArtifactStore, right: Mapping[str, str]
) -> None:
    if job["state"] not in TERMINAL:
        found.not_terminal.append(job["id"])
        return
    if job["state"] != "succeeded":
        found.not_succeeded.append(f"{job['id']} {job['state']}")
        return
    if published != 1:
        found.duplicated.append(f"{job['id']} was published {published} times")
    try:
        with store.open(job["archive"]["key"]) as stream:
            sha256 = hashlib.sha256(stream.read()).hexdigest()
    except ArtifactNotReady:
        found.lost.append(f"{job['id']}: its archive")
        return
    if not sha256 == job["archive"]["sha256"] == right[canonical(job["spec"])]:
        found.sha_mismatch.append(job["id"])


def canonical(spec: Mapping[str, Any]) -> str:
    return json.dumps(spec, sort_keys=True)


def _examine_kills(found: Findings, attempts: Sequence[Mapping[str, Any]], kills: Sequence[Kill]) -> None:
    """Each kill ends at most one try; how long its task waited: of those the worker held, the one claimed last."""
    started_at = {(one["task_id"], one["number"]): one["started_at"] for one in attempts}
    for kill in kills:
        held = [one for one in attempts if f":{kill.pid}:" in one["worker"] and one["started_at"] <= kill.at]
        ended = [one for one in held if one["outcome"] == "expired" and one["finished_at"] >= kill.at]
        if len(ended) > 1:
            found.redone.append(f"the kill of {kill.pid} ended {len(ended)} tasks")
        last = max(held, key=lambda one: one["started_at"], default=None)
        if last is not None and last["outcome"] == "expired" and last["finished_at"] >= kill.at:
            again = started_at.get((last["task_id"], last["number"] + 1))
            found.resumed += [] if again is None else [again - kill.at]
