"""Hundreds of open streams on one process: what they cost the database, and that each gets what it waits for."""

import asyncio
import json
import threading
from collections.abc import Callable

import httpx
import pytest
from sqlalchemy import Engine, event
from sqlalchemy.pool import Pool

from app.api.event_broadcaster import EventBroadcaster, look
from app.db import jobs, leases
from app.domain.job import Progress
from app.services.resources import Resources
from tests.integration.test_api_events import server
from tests.unit.app.stored import claimed, prepared, submitted, succeeded

__all__ = ["server"]

STREAMS = 500


class Statements:
    """Counts what this process asks of databases, and how many connections it holds at once."""

    def __init__(self) -> None:
        self.count = 0
        self.held = 0
        self.most_held = 0

    def __enter__(self) -> "Statements":
        for target, name, listener in self._listeners():
            event.listen(target, name, listener)
        return self

    def __exit__(self, *_: object) -> None:
        for target, name, listener in self._listeners():
            event.remove(target, name, listener)

    def _listeners(self) -> list[tuple[type, str, Callable[..., None]]]:
        return [
            (Engine, "before_cursor_execute", self._executed),
            (Pool, "checkout", self._taken),
            (Pool, "checkin", self._given_back),
        ]

    def _executed(self, *_: object) -> None:
        self.count += 1

    def _taken(self, *_: object) -> None:
        self.held += 1
        self.most_held = max(self.most_held, self.held)

    def _given_back(self, *_: object) -> None:
        self.held -= 1


class Streams:
    """Raw sockets: one client library object for each of hundreds would cost more than the server."""

    def __init__(self, url: httpx.URL) -> None:
        self._host, self._port = url.host, url.port
        self.received: list[bytearray] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, job_id: str) -> None:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        writer.write(f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        received = bytearray(await reader.readuntil(b"retry: 1000\n\n"))
        self.received.append(received)
        self._tasks.append(asyncio.create_task(self._read(reader, writer, received)))

    @staticmethod
    async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, received: bytearray) -> None:
        while part := await reader.read(65536):
            received += part
            if part.endswith(b"0\r\n\r\n"):
                break
        writer.close()

    async def all_have(self, text: bytes) -> None:
        while not all(text in received for received in self.received):
            await asyncio.sleep(0.05)

    async def all_ended(self) -> None:
        await asyncio.gather(*self._tasks)


def test_five_hundred_streams_cost_what_one_costs_and_all_get_their_events(server: tuple[httpx.Client, Resources]) -> None:
    client, resources = server
    database = resources.database
    watched = prepared(database, samples=1)
    lease = claimed(database)
    job_ids = [submitted(database) for _ in range(20)]

    async def scenario() -> None:
        streams = Streams(client.base_url)
        for number in range(STREAMS // 20):
            await asyncio.gather(*(streams.open(watched if number % 2 else job_id) for job_id in job_ids))
        assert len(streams.received) == STREAMS
        with Statements() as asked:
            await asyncio.sleep(3.0)
        assert asked.count <= 7 * 3, f"{asked.count} statements in 3 s: at most three a look"
        assert asked.most_held <= 1
        await asyncio.to_thread(write, leases.renew, lease, 60, Progress(25, 50))
        of_watched = Streams(client.base_url)
        of_watched.received = [received for received in streams.received if b"task.succeeded" in received]
        assert len(of_watched.received) == 240
        await of_watched.all_have(b'"fraction":0.')
        for job_id in (*job_ids, watched):
            await asyncio.to_thread(write, jobs.request_cancel, job_id)
        await asyncio.to_thread(write, leases.cancelled, lease)
        await streams.all_ended()
        await streams.all_have(b"event: job.cancelled")

    def write(use: Callable[..., object], *arguments: object) -> object:
        with database.transaction() as session:
            return use(session, *arguments)

    asyncio.run(asyncio.wait_for(scenario(), 60))
    assert client.get("/readyz").status_code == 200


def test_a_look_tells_only_what_was_not_seen(resources: Resources) -> None:
    job_id, other = succeeded(resources.database), submitted(resources.database)
    everything = look(resources.database, {job_id: 0, other: 0, "none": 0})
    assert set(everything) == {job_id, other}
    story = everything[job_id].events
    assert everything[job_id].over
    assert [e.id for e in look(resources.database, {job_id: story[2].id})[job_id].events] == [e.id for e in story[3:]]
    seen_all = look(resources.database, {job_id: story[-1].id, other: everything[other].events[-1].id})
    assert (seen_all[job_id].events, seen_all[job_id].over) == ((), True)
    assert (seen_all[other].events, seen_all[other].progress, seen_all[other].over) == ((), None, False)


def test_a_stream_that_reads_nothing_holds_nobody_up(resources: Resources) -> None:
    job_id = prepared(resources.database, samples=1)

    async def scenario() -> tuple[list[str], list[str]]:
        hub = EventBroadcaster(resources.database, threading.Event())
        slow, quick = hub.watch(job_id, 0, None), hub.watch(job_id, 0, None)
        first = await quick.news(5)
        lease = await asyncio.to_thread(claimed, resources.database)
        second = await quick.news(5)
        late = [await slow.news(5), await slow.news(5)]
        assert first and second and late[0] and late[1] and lease
        return [e.type for e in first.events + second.events], [e.type for e in late[0].events + late[1].events]

    told, told_late = asyncio.run(scenario())
    assert told == told_late


def test_streams_end_when_the_looking_fails(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = submitted(resources.database)
    monkeypatch.setattr("app.db.events.standing", lambda *_: json.loads("not JSON"))

    async def scenario() -> bool:
        hub = EventBroadcaster(resources.database, threading.Event())
        news = await hub.watch(job_id, 0, None).news(5)
        return news is not None and news.over

    assert asyncio.run(scenario())
