from collections.abc import Mapping
from dataclasses import asdict

from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from app.api.metrics import Metrics
from app.db.session import Database, now
from app.db.tables import WorkerRow
from app.domain.job import Queue
from app.domain.worker import About
from app.services.resources import Resources
from tests.integration.test_api_jobs import submit
from tests.unit.app.stored import claimed, prepared, submitted

Samples = Mapping[tuple[str, tuple[str, ...]], float]


def scraped(client: TestClient) -> Samples:
    """Every sample by its name and the values of its labels, in the order of the labels' names."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, tuple(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_jobs_and_queues_are_counted_at_the_moment_of_the_scrape(client: TestClient, resources: Resources) -> None:
    assert scraped(client)["dapple_jobs", ("queued",)] == 0
    prepared(resources.database, samples=3)
    claimed(resources.database)
    submitted(resources.database)
    found = scraped(client)
    assert (found["dapple_jobs", ("queued",)], found["dapple_jobs", ("running",)]) == (1, 1)
    assert (found["dapple_queue_ready_tasks", ("gpu",)], found["dapple_queue_running_tasks", ("gpu",)]) == (2, 1)
    assert found["dapple_queue_ready_tasks", ("cpu",)] == 1
    assert 0 < found["dapple_queue_oldest_ready_seconds", ("gpu",)] < 60
    assert found["dapple_database_up", ()] == 1


def test_a_worker_counts_for_its_queues_while_it_is_live(client: TestClient, resources: Resources) -> None:
    with resources.database.transaction() as session:
        for name, age, queues in (("a", 1, (Queue.GPU, Queue.CPU)), ("b", 1, (Queue.CPU,)), ("c", 3600, (Queue.GPU,))):
            session.add(WorkerRow(name=name, about=asdict(About(queues, "cpu", 1, ())), started_at=now(), seen_at=now() - age))
    found = scraped(client)
    assert (found["dapple_queue_workers", ("gpu",)], found["dapple_queue_workers", ("cpu",)]) == (1, 2)
    assert found["dapple_workers", ()] == 2


def test_requests_are_counted_by_the_template_of_their_route(client: TestClient) -> None:
    submit(client)
    for job_id in ("a", "b"):
        client.get(f"/v1/jobs/{job_id}")
    client.get("/somewhere/else")
    found = scraped(client)
    assert found["dapple_http_requests_total", ("POST", "/v1/jobs", "202")] == 1
    assert found["dapple_http_requests_total", ("GET", "/v1/jobs/{job_id}", "404")] == 2
    assert found["dapple_http_requests_total", ("GET", "unmatched", "404")] == 1
    assert found["dapple_http_request_duration_seconds_count", ("POST", "/v1/jobs")] == 1


def test_without_a_database_the_scrape_says_so_and_tells_the_rest() -> None:
    metrics = Metrics(Database("postgresql+psycopg://127.0.0.1:9/nobody"), heartbeat_seconds=10)
    metrics.answered("GET", "/livez", 200, 0.1)
    told = metrics.exposed().decode()
    assert "dapple_database_up 0.0" in told
    assert "dapple_jobs" not in told
    assert "dapple_http_requests_total" in told


def test_an_answer_tells_the_id_that_its_log_lines_have(client: TestClient) -> None:
    assert client.get("/livez", headers={"X-Request-ID": "mine-1"}).headers["x-request-id"] == "mine-1"
    for given in ("", "two words", "x" * 65):
        made = client.get("/livez", headers={"X-Request-ID": given}).headers["x-request-id"]
        assert len(made) == 32
