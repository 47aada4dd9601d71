"""Real worker processes that are stuck."""

import os
import subprocess
import sys
from pathlib import Path

from app.db import workers
from app.domain.job import Failure, FailureKind, Outcome
from tests.unit.app.stored import attempts_of, new_database, states_of, submitted
from worker.service.worker_process import STUCK_EXIT_CODE

LIMITS = {"DAPPLE_STALL_SECONDS": "1", "DAPPLE_LEASE_SECONDS": "2", "DAPPLE_HEARTBEAT_SECONDS": "0.5"}


def exit_code_of(how: str, folder: Path) -> int:
    environment = os.environ | LIMITS | {"DAPPLE_DATA_DIR": str(folder)}
    command = [sys.executable, "-m", "tests.integration.stuck_worker", how, "gpu-7"]
    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False).returncode


def test_a_stuck_worker_gives_its_task_back_as_failed_and_ends(tmp_path: Path) -> None:
    database = new_database(tmp_path)
    job_id = submitted(database)
    assert exit_code_of("asleep", tmp_path) == STUCK_EXIT_CODE
    with database.reading() as session:
        (attempt,) = attempts_of(session, job_id)
        assert workers.alive(session, heartbeat_seconds=3600) == []
    failure = Failure(FailureKind.TIMEOUT, "prepare task 0 made no progress for 1 s on worker gpu-7")
    assert (attempt.outcome, attempt.failure) == (Outcome.FAILED, failure)
    assert states_of(database, job_id) == ["ready"]
    database.dispose()


def test_a_worker_whose_stuck_code_stops_every_thread_ends_too(tmp_path: Path) -> None:
    database = new_database(tmp_path)
    submitted(database)
    assert exit_code_of("interpreter", tmp_path) == 1
    database.dispose()


def test_a_stuck_worker_ends_also_where_it_cannot_say_where_its_threads_are(tmp_path: Path) -> None:
    database = new_database(tmp_path)
    submitted(database)
    assert exit_code_of("diskless", tmp_path) == STUCK_EXIT_CODE
    database.dispose()
