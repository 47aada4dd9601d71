"""The short version of `make faults`, and what stopped workers may write."""

import tempfile
from pathlib import Path

import pytest

from tests.faults import servers, stale
from tests.faults.run import SHORT, Plan, run

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.redis, pytest.mark.timeout(420)]

SEED = 4
STALE_TRIALS = 60  # `make faults` does 200


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


def test_a_stopped_worker_that_wakes_up_after_its_lease_changed_hands_writes_nothing(logs: Path) -> None:
    found = stale.try_on_own_server(logs, trials=STALE_TRIALS, seed=SEED)
    assert found.trials == STALE_TRIALS
    assert found.stale == []
