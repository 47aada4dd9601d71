from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.domain.job import TaskKind
from app.settings import Settings


def test_settings_come_back_from_their_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = Settings(
        data_dir=tmp_path,
        dataset_roots=(tmp_path, Path("/b:c")),
        allowed_hosts=("api", "*"),
        threads=3,
        dtype="bfloat16",
        compile=True,
        backbone_memory_bytes=1 << 30,
        stall_seconds={kind: 60.5 + number for number, kind in enumerate(TaskKind)},
    )
    for name, value in asked.as_environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == asked


def test_roots_are_listed_with_colons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAPPLE_DATASET_ROOTS", "/a:/b")
    assert Settings().dataset_roots == (Path("/a"), Path("/b"))


def test_hosts_are_listed_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAPPLE_ALLOWED_HOSTS", "API.local, b")
    assert Settings().allowed_hosts == ("api.local", "b")


def test_limits_are_given_for_every_kind_of_task_or_for_some(monkeypatch: pytest.MonkeyPatch) -> None:
    default = Settings()
    monkeypatch.setenv("DAPPLE_STALL_SECONDS", "900")
    monkeypatch.setenv("DAPPLE_TASK_SECONDS", "sample=60, package=7200")
    settings = Settings()
    assert settings.stall_seconds == dict.fromkeys(TaskKind, 900.0)
    changed = {TaskKind.SAMPLE: 60.0, TaskKind.PACKAGE: 7200.0}
    assert settings.task_seconds == {**default.task_seconds, **changed}
    assert min(default.stall_seconds.values()) >= 1800  # a backbone that is loaded and compiled shows no progress


@pytest.mark.parametrize(
    "changes",
    [
        {"lease_seconds": 0},
        {"lease_seconds": "nan"},
        {"patience_seconds": "inf"},
        {"log_level": "loud"},
        {"device": "tpu"},
        {"heartbeat_seconds": 30},
        {"dtype": "int8"},
        {"compile": "perhaps"},
        {"backbone_memory_bytes": 0},
        {"cache_bytes": 0},
        {"stall_seconds": "0"},
        {"stall_seconds": "sampling=60"},
        {"task_seconds": "sample=soon"},
        {"task_seconds": "inf"},
        {"task_seconds": "nan"},
        {"stall_seconds": "sample=inf"},
        {"stall_seconds": f"{30 * 86400 + 1}"},
        {"task_seconds": "sample=60," * 2 + "evaluate"},
    ],
    ids=str,
)
def test_a_setting_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(**changes)


def test_backbones_are_not_compiled_and_choose_their_dtype_and_memory_by_the_device_unless_told_otherwise() -> None:
    settings = Settings()
    assert (settings.dtype, settings.compile, settings.backbone_memory_bytes) == ("auto", False, None)


def test_settings_never_change() -> None:
    with pytest.raises(ValidationError):
        Settings().threads = 5  # type: ignore[misc]


def test_the_cache_lies_in_the_data_folder(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert settings.cache_dir == tmp_path / "cache"
    assert settings.cache_bytes == 20 * 2**30


def test_an_error_tells_no_password() -> None:
    with pytest.raises(ValidationError) as raised:
        Settings(lease_seconds=10, heartbeat_seconds=10, database_url="postgresql://dapple:secret@db/dapple")
    assert "heartbeat_seconds" in str(raised.value)
    assert "secret" not in str(raised.value)
