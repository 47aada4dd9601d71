"""Small jobs, submitted by a client that repeats each request until it is accepted."""

import time
from collections.abc import Iterator, Mapping
from itertools import cycle, islice, product
from typing import Any

from httpx import codes

from app.client import ApiError, Client, ServiceUnreachable

RETRY_SECONDS = 0.3
PATIENCE_SECONDS = 120.0


def specs() -> list[dict[str, Any]]:
    """A few different jobs that take a fraction of a second each; jobs with the same spec have the same archive."""
    return [
        {
            "dataset_uri": "sklearn://digits",
            "classes": classes,
            "ipc": ipc,
            "sampling": {"steps": steps},
            "reference": {"count": 8},
            "max_attempts": 10,
        }
        for classes, ipc, steps in product((["0"], ["3", "7"]), (1, 2), (4, 6))
    ]


def numbered(count: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """`count` jobs, each under an idempotency key of its own."""
    return ((f"job-{number}", spec) for number, spec in enumerate(islice(cycle(specs()), count)))


def submit(client: Client, key: str, spec: Mapping[str, Any]) -> str:
    """The id of the accepted job; asks again, under the same key, while there is no answer or one that asks for that.

    Raises ApiError for any other answer, an error of the service among them, and what came last after PATIENCE_SECONDS.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return client.submit(spec, idempotency_key=key).id
        except (ServiceUnreachable, ApiError) as error:
            refused = isinstance(error, ApiError) and error.problem.status != codes.SERVICE_UNAVAILABLE.value
            if refused or time.monotonic() >= deadline:
                raise
        time.sleep(RETRY_SECONDS)
