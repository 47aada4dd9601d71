from app.db import workers
from app.db.session import Database
from app.domain.job import Queue, TaskKind
from app.domain.worker import About, Worker
from tests.unit.app.stored import claimed, submitted

ABOUT = About((Queue.CPU, Queue.GPU), "cuda:0", 80 << 30, ("embedded/digits",))


def announce(database: Database, name: str, about: About = ABOUT) -> None:
    with database.transaction() as session:
        workers.announce(session, name, about)


def alive(database: Database, heartbeat_seconds: float = 10.0) -> list[Worker]:
    with database.reading() as session:
        return workers.alive(session, heartbeat_seconds)


def test_a_worker_is_listed_as_it_said_last(database: Database):
    announce(database, "b")
    announce(database, "a", About((Queue.CPU,), "cpu", 1))
    announce(database, "a")

    first, second = alive(database)

    assert (first.name, second.name) == ("a", "b")
    assert (first.about, first.task) == (ABOUT, None)
    assert first.started_at <= second.started_at + 1
    assert first.seen_at >= first.started_at


def test_a_worker_is_listed_with_the_task_whose_lease_it_holds(database: Database):
    announce(database, "busy")
    announce(database, "idle")
    job_id = submitted(database)
    claimed(database, "busy")

    busy, idle = alive(database)

    assert busy.task is not None
    assert (busy.task.job_id, busy.task.kind, busy.task.attempt) == (job_id, TaskKind.PREPARE, 1)
    assert idle.task is None


def test_a_worker_not_heard_of_is_no_longer_listed_and_forgotten_later(database: Database):
    announce(database, "silent")

    assert alive(database, heartbeat_seconds=0) == []
    with database.transaction() as session:
        assert workers.forget(session, unseen_seconds=60) == 0
        assert workers.forget(session, unseen_seconds=-1) == 1
    assert alive(database) == []


def test_a_worker_that_takes_its_word_back_is_gone_at_once(database: Database):
    announce(database, "a")
    for _ in range(2):
        with database.transaction() as session:
            workers.gone(session, "a")
    assert alive(database) == []


def test_the_workers_of_each_queue_are_counted(database: Database):
    announce(database, "both")
    announce(database, "small", About((Queue.CPU,), "cpu", 1))
    with database.reading() as session:
        assert workers.alive_by_queue(session, 10.0) == {Queue.CPU: 2, Queue.GPU: 1}
