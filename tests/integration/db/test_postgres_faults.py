"""A Postgres that is locked, restarted, or behind a network that has stopped answering."""

import socket
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import make_url, text

from app.db import jobs
from app.db.session import Database
from app.domain.errors import DatabaseUnavailable
from tests.databases import PostgresServer
from tests.unit.app.stored import SPEC, submitted

pytestmark = pytest.mark.postgres


class Proxy:
    """Passes bytes on to `target` until it is `silent`: then it still takes them, and nothing comes back."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        self.port: int = self._listener.getsockname()[1]
        self.silent = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for one in self._sockets:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            self._sockets += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while received := source.recv(65536):
                if not self.silent.is_set():
                    sink.sendall(received)
        except OSError:
            return


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.migrated()


@pytest.fixture
def proxy(url: str) -> Generator[Proxy]:
    parsed = make_url(url)
    proxy = Proxy((parsed.host or "127.0.0.1", parsed.port or 5432))
    yield proxy
    proxy.close()


def through(proxy: Proxy, url: str, *, silence_seconds: float) -> Database:
    parsed = make_url(url).set(host="127.0.0.1", port=proxy.port).update_query_dict({"connect_timeout": "2"})
    return Database(parsed.render_as_string(hide_password=False), silence_seconds=silence_seconds)


def with_limits(url: str, limits: str) -> Database:
    return Database(make_url(url).update_query_dict({"options": limits}).render_as_string(hide_password=False))


def test_a_server_that_falls_silent_is_given_up_and_found_again(url: str, proxy: Proxy) -> None:
    database = through(proxy, url, silence_seconds=2.0)
    submitted(database)
    proxy.silent.set()
    for use in (database.transaction, database.reading):
        started = time.monotonic()
        with pytest.raises(DatabaseUnavailable), use() as session:
            session.execute(text("SELECT 1"))
        assert time.monotonic() - started < 20
        proxy.silent.clear()
        submitted(database)
        proxy.silent.set()
    proxy.silent.clear()
    database.dispose()


def test_a_server_that_falls_silent_within_a_transaction_is_given_up(url: str, proxy: Proxy) -> None:
    database = through(proxy, url, silence_seconds=2.0)
    with pytest.raises(DatabaseUnavailable), database.transaction() as session:
        jobs.insert(session, "J", SPEC)
        proxy.silent.set()
    proxy.silent.clear()
    with database.reading() as session:
        assert jobs.page(session, jobs.Filters(), limit=9) == ([], None)
    database.dispose()


def test_a_slow_statement_that_answers_in_time_is_waited_for(url: str) -> None:
    database = Database(url, silence_seconds=10.0)
    with database.reading() as session:
        session.execute(text("SELECT pg_sleep(1)"))
    database.dispose()


@pytest.mark.parametrize("reading", [True, False])
def test_a_connection_that_the_server_ends_is_unavailable_once(url: str, reading: bool) -> None:
    database = Database(url)
    use = database.reading if reading else database.transaction
    with pytest.raises(DatabaseUnavailable), use() as session:
        victim = session.scalar(text("SELECT pg_backend_pid()"))
        with database.transaction() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid, 1000)"), {"pid": victim})
        session.execute(text("SELECT 1"))
    with use() as session:
        assert session.scalar(text("SELECT 1")) == 1
    database.dispose()


def test_connections_that_the_server_ended_while_idle_are_replaced(url: str) -> None:
    database, executioner = Database(url), Database(url)
    submitted(database)
    with executioner.transaction() as other:
        mine = "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE datname = current_database()"
        other.execute(text(f"{mine} AND pid <> pg_backend_pid() AND application_name = 'dapple'"))
    submitted(database)
    for one in (database, executioner):
        one.dispose()


def test_a_row_that_stays_locked_is_given_up(url: str) -> None:
    database = with_limits(url, "-c lock_timeout=200ms")
    job_id = submitted(database)
    with database.transaction() as holder:
        jobs.lock(holder, job_id)
        with pytest.raises(DatabaseUnavailable), database.transaction() as session:
            jobs.lock(session, job_id)
    database.dispose()


def test_who_stops_in_the_middle_of_a_transaction_holds_nobody_up(url: str) -> None:
    database = with_limits(url, "-c idle_in_transaction_session_timeout=200ms")
    job_id = submitted(database)
    with pytest.raises(DatabaseUnavailable), database.transaction() as stopped:
        jobs.lock(stopped, job_id)
        with database.transaction() as session:
            jobs.lock(session, job_id)
            session.execute(text("SELECT pg_sleep(0.1)"))
        jobs.lock(stopped, job_id)
    database.dispose()


def test_two_who_wait_for_each_other_are_told_to_try_again(url: str) -> None:
    database = Database(url)
    ids = [submitted(database) for _ in range(2)]
    both = threading.Barrier(2)

    def lock_both(order: list[str]) -> bool:
        try:
            with database.transaction() as session:
                jobs.lock(session, order[0])
                both.wait(5)
                jobs.lock(session, order[1])
        except DatabaseUnavailable:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(lock_both, (ids, ids[::-1]))) == [False, True]
    database.dispose()


def test_what_does_not_listen_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    database = Database(f"postgresql+psycopg://postgres@127.0.0.1:{port}/x")
    for use in (database.ping, database.migrate):
        with pytest.raises(DatabaseUnavailable):
            use()
