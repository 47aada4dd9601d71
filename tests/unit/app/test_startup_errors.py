import pytest

from app.domain.errors import WrongSettings
from app.main import create_app
from app.settings import settings_from


def test_every_variable_that_is_wrong_is_named_and_no_value_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAPPLE_THREADS", "many")
    monkeypatch.setenv("DAPPLE_ARTIFACTS_URL", "ftp://user:secret@host")

    with pytest.raises(WrongSettings) as caught:
        settings_from()

    assert {name for name, _ in caught.value.faults} == {"DAPPLE_THREADS", "DAPPLE_ARTIFACTS_URL"}
    assert "secret" not in str(caught.value)


def test_settings_that_contradict_each_other_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAPPLE_LEASE_SECONDS", "5")

    with pytest.raises(WrongSettings, match="heartbeat_seconds must be below lease_seconds"):
        settings_from()


def test_uvicorn_is_told_in_words_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAPPLE_THREADS", "many")

    with pytest.raises(SystemExit, match="dapple: DAPPLE_THREADS: "):
        create_app()
