import threading
from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from app.db.session import Database
from app.domain.errors import DatabaseUnavailable
from app.domain.job import JobState
from app.settings import Settings
from tests.unit.app.stored import SPEC, RecordingQueue, claimed, job_of, states_of, submitted
from tests.unit.worker.waiting import PATIENCE_SECONDS, wait_until, without_tasks_table
from worker.sweeper import Sweeper

LAPSED = -1.0


def sweeper(database: Database, settings: Settings) -> Sweeper:
    return Sweeper(settings, database, RecordingQueue())


@contextmanager
def sweeping(database: Database, settings: Settings) -> Generator[None]:
    stopping = threading.Event()
    often = settings.model_copy(update={"lease_seconds": 0.03})
    thread = threading.Thread(target=sweeper(database, often).sweep_until, args=(stopping,))
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def test_a_task_whose_lease_has_lapsed_is_claimed_by_another_worker(database, settings):
    job_id = submitted(database)
    first = claimed(database, "dead", lease_seconds=LAPSED)
    assert sweeper(database, settings).sweep() == 1
    second = claimed(database, "alive")
    assert (second.task.id, second.task.job_id, second.task.attempt) == (first.task.id, job_id, 2)
    assert second.token > first.token


def test_a_lease_that_holds_is_left_alone(database, settings):
    job_id = submitted(database)
    claimed(database, lease_seconds=60)
    assert sweeper(database, settings).sweep() == 0
    assert states_of(database, job_id) == ["running"]


def test_a_job_not_started_by_its_deadline_expires(database, settings):
    job_id = submitted(database, SPEC.model_copy(update={"deadline_seconds": 0.001}))
    wait_until(lambda: sweeper(database, settings).sweep() == 1)
    assert job_of(database, job_id).state is JobState.EXPIRED


def test_a_task_is_swept_again_and_again_until_its_attempts_are_used_up(database, settings):
    job_id = submitted(database)
    with sweeping(database, settings):
        for attempt in range(SPEC.max_attempts):
            assert claimed(database, "dead", lease_seconds=LAPSED).task.attempt == attempt + 1
            wait_until(lambda: states_of(database, job_id) != ["running"])
    assert states_of(database, job_id) == ["failed"]
    assert job_of(database, job_id).state is JobState.FAILED


class WatchedDatabase(Database):
    """Tells when it was away."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.was_away = threading.Event()

    @contextmanager
    def transaction(self) -> Generator[Session]:
        try:
            with super().transaction() as session:
                yield session
        except DatabaseUnavailable:
            self.was_away.set()
            raise


def test_sweeping_goes_on_after_the_database_was_away(database, settings):
    job_id = submitted(database)
    watched = WatchedDatabase(settings.sqlalchemy_url)
    with sweeping(watched, settings):
        with without_tasks_table(settings.data_dir):
            assert watched.was_away.wait(PATIENCE_SECONDS)
        claimed(database, lease_seconds=LAPSED)
        wait_until(lambda: states_of(database, job_id) == ["ready"])
    watched.dispose()
