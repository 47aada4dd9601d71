"""`dapple doctor` on real folders, databases and sockets."""

import json
import os
import socket
import sys
import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text

from app.cli import main
from app.db.session import Database, now
from app.db.tables import WorkerRow
from app.doctor.checks import PATIENCE_SECONDS
from app.doctor.diagnosis import diagnose
from app.doctor.findings import Finding, Verdict, is_sound
from app.domain.errors import DatabaseUnavailable, StorageUnavailable
from app.domain.job import Queue
from app.domain.ports import ArtifactStore
from app.domain.worker import About
from app.settings import Settings
from app.storage.local import LocalArtifactStore
from tests.databases import PostgresServer
from tests.servers.brokers import RedisServer, skip_without, why_no_redis
from tests.unit.app.stored import succeeded


def local(settings: Settings) -> ArtifactStore:
    return LocalArtifactStore(settings.artifacts_dir)


def look(settings: Settings, environ: dict[str, str] | None = None) -> dict[str, Finding]:
    """The last finding about each subject."""
    return {finding.subject: finding for finding in diagnose(settings, local, environ or {})}


@pytest.fixture
def migrated(settings: Settings) -> Settings:
    database = Database(settings.sqlalchemy_url)
    database.migrate()
    database.dispose()
    return settings


@pytest.fixture
def silent_port() -> Generator[int]:
    """Accepts connections and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_sound_installation_without_workers_is_warned_about_its_queues_only(migrated: Settings) -> None:
    found = diagnose(migrated, local, {})
    assert is_sound(found)
    assert [f.subject for f in found if f.verdict is not Verdict.OK] == ["queue gpu", "queue cpu"]


def test_a_live_worker_satisfies_its_queues(migrated: Settings) -> None:
    database = Database(migrated.sqlalchemy_url)
    with database.transaction() as session:
        session.add(WorkerRow(name="w", about=asdict(About((Queue.CPU,), "cpu", 1, ())), started_at=now(), seen_at=now()))
    database.dispose()
    found = look(migrated)
    assert (found["queue cpu"].verdict, found["queue gpu"].verdict) == (Verdict.OK, Verdict.WARN)


def test_a_misspelt_setting_is_told_with_the_nearest_name(migrated: Settings) -> None:
    found = diagnose(migrated, local, {"DAPPLE_BROKR_URL": "x", "DAPPLE_URL": "y"})
    warned = next(f for f in found if f.subject == "settings" and f.verdict is Verdict.WARN)
    assert "DAPPLE_BROKR_URL" in warned.message
    assert "DAPPLE_BROKER_URL" in warned.advice


def test_older_tables_fail_and_the_command_is_named(settings: Settings, bare_url: str) -> None:
    settings = settings.model_copy(update={"database_url": bare_url})
    database = Database(settings.sqlalchemy_url)
    database.migrate()
    with database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    database.dispose()
    finding = look(settings)["database"]
    assert (finding.verdict, "dapple migrate" in finding.advice) == (Verdict.FAIL, True)


@pytest.mark.parametrize(
    ("oldest", "verdict", "said"),
    [
        ("0004", Verdict.WARN, "of a newer version (0999), which this one"),
        ("0999", Verdict.FAIL, "of a newer version (0999), which needs 0999 or newer"),
    ],
)
def test_newer_tables_fail_only_where_this_version_cannot_use_them(
    settings: Settings, bare_url: str, oldest: str, verdict: Verdict, said: str
) -> None:
    database = Database(bare_url)
    database.migrate()
    with database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0999'"))
        session.execute(text("UPDATE installation SET oldest_revision = :oldest"), {"oldest": oldest})
    database.dispose()
    findings = diagnose(settings.model_copy(update={"database_url": bare_url}), local, {})
    finding = next(finding for finding in findings if finding.subject == "database")
    assert (finding.verdict, said in finding.message, "migrate" in finding.advice) == (verdict, True, False)
    assert any(finding.subject == "queue gpu" for finding in findings) is (verdict is Verdict.WARN)


def test_a_database_without_tables_is_to_be_migrated(settings: Settings, bare_url: str) -> None:
    database = Database(bare_url)
    with suppress(DatabaseUnavailable):
        database.ping()  # SQLite makes the file
    database.dispose()
    finding = look(settings.model_copy(update={"database_url": bare_url}))["database"]
    assert (finding.verdict, "no tables yet" in finding.message) == (Verdict.FAIL, True)
    assert "dapple migrate" in finding.advice


def test_a_clock_that_is_off_is_a_warning(migrated: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 600)
    assert "600 s ahead" in look(migrated)["clock"].message


def test_nothing_waits_for_what_never_answers(migrated: Settings, silent_port: int) -> None:
    began = time.monotonic()
    urls = {
        "broker_url": f"redis://127.0.0.1:{silent_port}/0",
        "database_url": f"postgresql+psycopg://127.0.0.1:{silent_port}/x",
    }
    found = look(migrated.model_copy(update=urls))
    assert time.monotonic() - began < PATIENCE_SECONDS + 2
    assert (found["broker"].verdict, found["database"].verdict) == (Verdict.FAIL, Verdict.FAIL)


@pytest.mark.postgres
def test_a_database_that_refuses_is_told_in_its_own_words_without_the_password(
    settings: Settings, postgres: PostgresServer
) -> None:
    url = make_url(postgres.migrated()).set(database="missing", password="s3cret")  # noqa: S106 - a made-up one
    finding = look(settings.model_copy(update={"database_url": url.render_as_string(hide_password=False)}))["database"]
    assert finding.verdict is Verdict.FAIL
    assert 'database "missing" does not exist' in finding.message
    assert "s3cret" not in finding.message


@pytest.mark.redis
def test_a_broker_that_answers_is_named(migrated: Settings, tmp_path: Path) -> None:
    skip_without(why_no_redis())
    server = RedisServer(tmp_path).start()
    try:
        finding = look(migrated.model_copy(update={"broker_url": server.url}))["broker"]
    finally:
        server.stop()
    assert (finding.verdict, finding.message) == (Verdict.OK, f"redis at 127.0.0.1:{server.port} answers")


def test_a_broker_without_celery_says_what_to_install(migrated: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "celery", None)
    monkeypatch.delitem(sys.modules, "app.wakeup.broker_probe", raising=False)
    finding = look(migrated.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"}))["broker"]
    assert (finding.verdict, "celery" in finding.advice) == (Verdict.FAIL, True)


def test_a_broken_backbone_is_told_with_its_reason(migrated: Settings) -> None:
    (migrated.data_dir / "backbones" / "tiny" / "transformer" / "config.json").write_text("{")
    found = diagnose(migrated, local, {})
    broken = next(f for f in found if f.subject == "backbones" and f.verdict is Verdict.WARN)
    assert broken.message.startswith("tiny cannot be used: ")
    assert "config.json" in broken.message


def test_what_lies_among_the_backbones_and_is_none_is_named(migrated: Settings) -> None:
    root = migrated.data_dir / "backbones"
    (root / os.fsdecode(b"caf\xe9")).mkdir()
    (root / "models--org--name" / "snapshots").mkdir(parents=True)
    messages = [f.message for f in diagnose(migrated, local, {}) if f.subject == "backbones" and f.verdict is Verdict.WARN]
    assert messages[0] == r"caf\udce9 cannot be used: the name of caf\udce9 is not UTF-8"
    assert "is a cache of the Hugging Face hub" in messages[1]


def test_a_store_that_cannot_be_written_fails_in_its_own_words(migrated: Settings) -> None:
    def unwritable(_: Settings) -> ArtifactStore:
        raise StorageUnavailable("the artifact store cannot be written: no bucket 'x'")

    finding = next(f for f in diagnose(migrated, unwritable, {}) if f.subject == "artifacts")
    assert (finding.verdict, "no bucket" in finding.message) == (Verdict.FAIL, True)


def test_a_missing_folder_of_datasets_is_a_warning(migrated: Settings, tmp_path: Path) -> None:
    assert look(migrated.model_copy(update={"dataset_roots": (tmp_path / "no",)}))["datasets"].verdict is Verdict.WARN


def test_a_gpu_that_is_asked_for_and_not_there_fails(migrated: Settings) -> None:
    assert look(migrated.model_copy(update={"device": "cuda:7"}))["device"].verdict in (Verdict.FAIL, Verdict.WARN)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def test_the_command_prints_json_and_its_exit_code_says_whether_all_is_well(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DAPPLE_DATA_DIR", str(tmp_path))
    assert run("migrate") == 0
    capsys.readouterr()
    assert run("doctor", "--json") == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert found[0].keys() == {"subject", "verdict", "message", "advice"}
    monkeypatch.setenv("DAPPLE_THREADS", "0")
    assert run("doctor") == 1
    assert "DAPPLE_THREADS" in capsys.readouterr().out


def test_a_damaged_output_is_found_on_request_only(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name, value in settings.as_environment().items():
        monkeypatch.setenv(name, value)
    database = Database(settings.sqlalchemy_url)
    (tmp_path / "source").write_bytes(b"zip")
    stored = local(settings).put("jobs/J/archive.zip", tmp_path / "source", "application/zip")
    job_id = succeeded(database, stored, stored)
    database.dispose()
    (settings.artifacts_dir / "jobs" / "J" / "archive.zip").write_bytes(b"zap")

    def run(*options: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["doctor", *options])
        return f"{ended.value.code} {capsys.readouterr().out}"

    assert run().startswith("0 ")
    told = run("--verify")
    assert told.startswith("1 ")
    assert f"job {job_id}: jobs/J/archive.zip has the SHA-256 " in told
    outputs = [one for one in json.loads(run("--verify", "--json")[2:]) if one["subject"] == "outputs"]
    assert [one["verdict"] for one in outputs] == ["fail", "fail", "ok"]
