from fastapi.testclient import TestClient

from app.db import workers
from app.domain.job import Queue
from app.domain.worker import About
from app.services.resources import Resources
from tests.unit.app.stored import claimed, submitted

ABOUT = About((Queue.CPU,), "cpu", 8_000_000_000, ("embedded/digits",))


def test_workers_are_listed_with_what_they_run(client: TestClient, resources: Resources) -> None:
    with resources.database.transaction() as session:
        workers.announce(session, "busy", ABOUT)
        workers.announce(session, "idle", ABOUT)
    job_id = submitted(resources.database)
    task = claimed(resources.database, "busy").task

    busy, idle = client.get("/v1/workers").json()["items"]

    assert busy["task"] == {"id": task.id, "job_id": job_id, "kind": "prepare", "ordinal": 0, "attempt": 1}
    assert (idle["name"], idle["task"], idle["queues"], idle["device"]) == ("idle", None, ["cpu"], "cpu")
    assert (idle["memory_bytes"], idle["backbones"]) == (8_000_000_000, ["embedded/digits"])
    assert idle["seen_at"] >= idle["started_at"]


def test_without_workers_the_list_is_empty(client: TestClient) -> None:
    assert client.get("/v1/workers").json() == {"items": []}
