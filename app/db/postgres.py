"""Postgres through psycopg 3.

No caller waits for ever, neither for a lock nor for a server that has gone silent.
"""

import math
import time
from typing import Any

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.waiting import Ready
from sqlalchemy import URL, NullPool, create_engine, event

from app.db.engines import Engines
from app.db.text import escape_parameters, to_json

CONNECTIONS = 40  # as many as the API has threads; a worker uses two or three of them
CONNECT = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,  # milliseconds
    "application_name": "dapple",
}
# A process stopped in a transaction loses its session before the waiters for its rows give up.
LIMITS = "-c idle_in_transaction_session_timeout=10s -c lock_timeout=20s"
POOL_SECONDS = 10.0


def engines(url: URL, silence_seconds: float) -> Engines:
    """The engines of a Postgres server. Options in the URL override ours.

    A migration may take as long as it needs.
    """
    url = url.set(drivername="postgresql+psycopg")
    connect = {name: value for name, value in CONNECT.items() if name not in url.query}
    writing = create_engine(
        url,
        connect_args=connect if "options" in url.query else connect | {"options": LIMITS},
        pool_size=10,
        max_overflow=CONNECTIONS - 10,
        pool_timeout=POOL_SECONDS,
        pool_pre_ping=True,
        json_serializer=to_json,
    )

    def connect_impatiently(_dialect: object, _record: object, arguments: Any, options: Any) -> Connection:
        connection = Connection.connect(*arguments, **options)
        connection.silence_seconds = silence_seconds
        return connection

    event.listen(writing, "do_connect", connect_impatiently)
    escape_parameters(writing)
    return Engines(
        writing=writing,
        reading=writing.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True),
        migrating=create_engine(url, connect_args=connect, poolclass=NullPool),
    )


class Connection(psycopg.Connection[Any]):
    """A connection that closes if its server sends nothing for `silence_seconds` of a statement.

    libpq detects a peer that is gone, but not a peer whose network accepts bytes and never answers.
    """

    silence_seconds = math.inf

    def wait(self, gen: PQGen[RV], *args: Any, **options: Any) -> RV:
        return super().wait(self._unless_silent(gen), *args, **options)

    def _unless_silent(self, gen: PQGen[RV]) -> PQGen[RV]:
        heard_at = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted  # psycopg resumes this several times a second; nothing is ready if nothing came
                if ready & Ready.R:
                    heard_at = time.monotonic()
                elif time.monotonic() - heard_at > self.silence_seconds:
                    self.close()
                    raise psycopg.OperationalError(f"the server has been silent for {self.silence_seconds:g} s")
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value
