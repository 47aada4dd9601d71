import os
from pathlib import Path

import pytest

from app.cli.up import CannotStart, listening, only_service_of, resolved_settings, workers_of
from app.domain.errors import WrongSettings


def test_options_win_over_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("DAPPLE_DATA_DIR", "/from/the/environment")
    monkeypatch.setenv("DAPPLE_LOG_LEVEL", "DEBUG")
    monkeypatch.chdir(tmp_path)

    settings = resolved_settings(data_dir=Path("here"), dataset_roots=None, log_level=None)

    assert settings.data_dir == tmp_path / "here"
    assert settings.log_level == "DEBUG"


def test_a_setting_that_makes_no_sense_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DAPPLE_THREADS", "many")

    with pytest.raises(WrongSettings, match="DAPPLE_THREADS"):
        resolved_settings()


def test_a_second_service_on_a_data_folder_is_told_who_has_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with only_service_of(tmp_path), pytest.raises(CannotStart), only_service_of(tmp_path):
        pass

    assert f"process {os.getpid()}" in capsys.readouterr().err


def test_a_data_folder_is_free_again_when_its_service_has_ended(tmp_path: Path):
    with only_service_of(tmp_path):
        pass
    with only_service_of(tmp_path):
        pass


def test_a_data_folder_that_cannot_be_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "file").touch()

    with pytest.raises(CannotStart), only_service_of(tmp_path / "file" / "below"):
        pass

    assert f"{tmp_path / 'file' / 'below'} cannot be used" in capsys.readouterr().err


def test_an_error_while_the_service_runs_is_not_blamed_on_its_folder(tmp_path: Path):
    with pytest.raises(OSError, match="disk full"), only_service_of(tmp_path):
        raise OSError("disk full")


def test_a_taken_port_is_named_with_the_way_out(capsys: pytest.CaptureFixture[str]):
    with listening("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart), listening("127.0.0.1", port):
            pass

    assert f"port {port} of 127.0.0.1 is in use; choose another with --port" in capsys.readouterr().err


def test_the_service_does_not_listen_beyond_this_machine_without_keys(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(CannotStart), listening("0.0.0.0", 0):  # noqa: S104 - it must be refused
        pass

    assert "loopback" in capsys.readouterr().err


def test_no_runner_is_taken_for_that_of_another_folder(tmp_path: Path) -> None:
    here, beside = workers_of(tmp_path / "data"), workers_of(tmp_path / "data2")
    assert here == workers_of(tmp_path / "data")
    assert not here.startswith(beside)
    assert not beside.startswith(here)
