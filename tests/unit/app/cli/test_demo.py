import httpx

from app.cli.demo import SPEC, distilled
from tests.unit.app.fake_service import Service, job, listed


def key_after(*states: str) -> str:
    """The key the demo submits with, to a service that has jobs in these states."""
    known = [listed(f"J{number}", state) for number, state in enumerate(states)]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/jobs":
            return httpx.Response(200, json=job("queued") if request.method == "POST" else {"items": known})
        return httpx.Response(204) if request.url.path.endswith("/events") else httpx.Response(200, json=job("succeeded"))

    service = Service(answer)
    distilled(service.client())
    return next(request.headers["Idempotency-Key"] for request in service.requests if request.method == "POST")


def test_an_interrupted_demo_takes_up_its_job():
    assert key_after("running") == key_after()


def test_a_demo_after_one_that_ended_is_a_new_job():
    keys = [key_after(), key_after("succeeded"), key_after("succeeded", "cancelled")]

    assert len(set(keys)) == 3
    assert all(SPEC.digest[:16] in key for key in keys)
