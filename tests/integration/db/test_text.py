"""Text that no database keeps, on the way into each kind of database."""

import pytest
from sqlalchemy import insert, select

from app.db import events, expiry, jobs, leases
from app.db.jobs import Filters
from app.db.session import Database
from app.db.tables import EventRow, WorkerRow
from tests.unit.app.stored import claimed, job_of, submitted

BAD = "a\0b\udce9c\ud800"
KEPT = r"a\x00b\xe9c\ud800"
EMOJI = "👩\u200d🚀"


def test_json_is_stored_with_escapes_in_keys_and_values(database: Database) -> None:
    submitted(database)
    lease = claimed(database)
    with database.transaction() as session:
        leases.finish(session, lease, {BAD: [BAD, {"deep": (BAD, 1, None)}, EMOJI], "plain": EMOJI})
    with database.reading() as session:
        output = leases.of_job(session, lease.task.job_id)[0].output
    assert output == {KEPT: [KEPT, {"deep": [KEPT, 1, None]}, EMOJI], "plain": EMOJI}


def test_text_columns_are_stored_with_escapes(database: Database) -> None:
    with database.transaction() as session:
        session.add(WorkerRow(name=BAD, about={}, started_at=0, seen_at=0))
    with database.reading() as session:
        assert session.scalars(select(WorkerRow.name)).one() == KEPT


def test_many_rows_of_one_statement_are_stored_with_escapes(database: Database) -> None:
    job_id = submitted(database)
    rows = [{"job_id": job_id, "at": 0, "type": BAD, "body": {"number": number, "name": BAD}} for number in range(3)]
    with database.transaction() as session:
        session.execute(insert(EventRow), rows)
        session.add_all(EventRow(**row) for row in rows)
    with database.reading() as session:
        stored = [event for event in events.after(session, job_id, 0) if event.type == KEPT]
    assert [event.body for event in stored] == [{"number": number, "name": KEPT} for number in (0, 1, 2, 0, 1, 2)]


@pytest.mark.parametrize("filters", [Filters(dataset_uri=BAD), Filters(backbone=BAD)])
def test_a_question_with_such_text_finds_nothing(database: Database, filters: Filters) -> None:
    submitted(database)
    with database.reading() as session:
        assert jobs.page(session, filters, limit=5) == ([], None)
        assert leases.of_job(session, BAD) == []


def test_a_worker_with_such_a_name_gives_its_task_back(database: Database) -> None:
    job_id = submitted(database)
    claimed(database, worker=BAD)
    with database.transaction() as session:
        assert expiry.release_worker(session, BAD) == 1
    assert job_of(database, job_id).state == "running"
