import json
import logging
from collections.abc import Generator

import pytest
import structlog

from app.log import configure


@pytest.fixture(autouse=True)
def restored_logging() -> Generator[None]:
    before = logging.getLogger().handlers[:]
    yield
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = before


def test_both_kinds_of_loggers_write_json_with_the_bound_ids(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info")
    with structlog.contextvars.bound_contextvars(job_id="J"):
        structlog.get_logger("ours").info("task.started", attempt=2)
        logging.getLogger("theirs").warning("slow %s", "query")
    ours, theirs = map(json.loads, capsys.readouterr().err.splitlines())
    assert (ours["event"], ours["attempt"], ours["job_id"]) == ("task.started", 2, "J")
    assert (theirs["event"], theirs["level"], theirs["job_id"]) == ("slow query", "warning", "J")


def test_an_error_is_written_with_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info")
    structlog.get_logger("ours").error("request.failed", exc_info=ZeroDivisionError("by zero"))
    assert "ZeroDivisionError" in json.loads(capsys.readouterr().err)["exception"]
