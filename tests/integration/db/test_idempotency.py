import pytest

from app.db import idempotency, jobs
from app.db.session import Database
from app.domain.errors import DatabaseUnavailable, IdempotencyKeyReused
from tests.unit.app.stored import SPEC, submitted


def test_a_key_is_remembered_until_its_job_is_deleted(database: Database) -> None:
    job_id = submitted(database)
    with database.transaction() as session:
        idempotency.remember(session, "k", SPEC, job_id)
    with database.reading() as session:
        earlier = idempotency.earlier_job(session, "k", SPEC)
        assert earlier is not None
        assert earlier.id == job_id
        assert idempotency.earlier_job(session, "other", SPEC) is None
    with database.transaction() as session:
        jobs.request_cancel(session, job_id)
    with database.transaction() as session:
        jobs.delete(session, job_id)
    with database.reading() as session:
        assert idempotency.earlier_job(session, "k", SPEC) is None


def test_a_key_with_another_spec_is_refused(database: Database) -> None:
    job_id = submitted(database)
    with database.transaction() as session:
        idempotency.remember(session, "k", SPEC, job_id)
        with pytest.raises(IdempotencyKeyReused, match=job_id):
            idempotency.earlier_job(session, "k", SPEC.model_copy(update={"dataset_uri": "file:///x"}))


def test_a_key_taken_meanwhile_asks_to_try_again(database: Database) -> None:
    job_id = submitted(database)
    with database.transaction() as session:
        idempotency.remember(session, "k", SPEC, job_id)
        with pytest.raises(DatabaseUnavailable):
            idempotency.remember(session, "k", SPEC, job_id)
