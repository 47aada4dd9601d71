"""The short version of `make faults`, and what stopped workers may write."""

import tempfile
from pathlib import Path

import pytest

from tests.faults import servers, stale
from tests.faults.processes import Supervisor, free_ports
from tests.faults.run import SHORT, Plan, run
from tests.faults.servers import Postgres

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.redis, pytest.mark.timeout(420)]

SEED = 4
RESUMED_WITHIN_SECONDS = 45.0


@pytest.fixture
def logs() -> Path:
    """Kept, unlike pytest's own folders."""
    folder = Path(tempfile.mkdtemp(prefix="dapple-faults-logs-"))
    print(f"seed {SEED}, logs in {folder}")
    return folder


@pytest.fixture(autouse=True, scope="module")
def programs() -> None:
    if missing := servers.missing():
        pytest.skip(f"not installed: {', '.join(missing)}")


def test_no_fault_loses_a_job_or_publishes_one_twice_or_changes_its_bytes(logs: Path) -> None:
    found = run(Plan(jobs=60, faults=17, seed=SEED, workers=3, logs=logs, settings=SHORT))
    assert found.wrong == {}, f"the logs are in {logs}"
    assert found.resume_p99_s is None or found.resume_p99_s < RESUMED_WITHIN_SECONDS


def test_a_stopped_worker_that_wakes_up_after_its_lease_changed_hands_writes_nothing(logs: Path) -> None:
    supervisor = Supervisor()
    server = Postgres(supervisor, logs, free_ports(1)[0])
    try:
        found = stale.try_all(server.url, logs, trials=100, at_once=10, seed=SEED)
    finally:
        supervisor.close()
        server.remove()
    assert found.trials == 100
    assert found.stale == []
