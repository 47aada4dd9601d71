import json
import logging
from collections.abc import Generator

import pytest
import structlog

from app.log import OncePerPause, configure


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


def test_names_and_messages_reach_a_terminal_with_their_control_characters_as_escapes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    configure("info")
    hostile = "red\x1b[2J\x9b1m\r"
    structlog.get_logger("ours").error(hostile, name=hostile, exc_info=ValueError(hostile))
    logging.getLogger("theirs").error("no %s", hostile)
    written = capsys.readouterr().err
    assert not [sequence for sequence in ("\x1b[2J", "\x9b", "\r") if sequence in written]
    assert written.count(r"red\x1b[2J\x9b1m\x0d") == 4


def test_what_the_server_writes_has_the_same_form_unless_it_was_silenced(capsys: pytest.CaptureFixture[str]) -> None:
    access, server = logging.getLogger("uvicorn.access"), logging.getLogger("uvicorn")
    access.propagate, server.handlers = False, [logging.StreamHandler()]
    server.setLevel(logging.INFO)
    configure("info")
    server.info("started")
    access.info("GET /livez")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "started"
    access.propagate = True


def test_a_lack_of_descriptors_is_written_once_and_no_other_line_is_lost(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info")
    configure("info")
    for _ in range(1000):
        logging.getLogger("asyncio").error("socket.accept() out of system resource\nsocket: 7")
    logging.getLogger("asyncio").error("another")
    logging.getLogger("asyncio").error("another")
    events = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert events == ["socket.accept() out of system resource\nsocket: 7", "another", "another"]


def test_the_lack_is_written_again_after_the_pause() -> None:
    limited = OncePerPause("full", 10)
    records = [logging.LogRecord("asyncio", logging.ERROR, "", 0, "full", None, None) for _ in range(3)]
    for record, created in zip(records, (0.0, 9.9, 10.0), strict=True):
        record.created = created
    assert [limited.filter(record) for record in records] == [True, False, True]


def test_a_start_that_fails_is_written_in_words_without_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info")
    server = logging.getLogger("uvicorn.error")
    server.error("Traceback (most recent call last):\n  File x\nSystemExit: dapple: the database is away; start it\n")
    server.error("Traceback (most recent call last):\n  File x\nZeroDivisionError: a bug\n")
    ours, bug = (json.loads(line)["event"] for line in capsys.readouterr().err.splitlines())
    assert ours == "the database is away; start it"
    assert "ZeroDivisionError" in bug
