import stat
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs
import pytest

from app.access_token import (
    VARIABLE,
    RunningService,
    address_for,
    announce,
    is_loopback,
    new_token,
    read_service,
    token_for,
    withdraw,
)

URL = "http://127.0.0.1:8123"
SERVICE = RunningService(URL, 42, "the-token-of-this-service")


@pytest.fixture(autouse=True)
def own_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home folder of the test's own, and no token in the environment."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("listening", "url"),
    [
        (URL, URL),
        (URL, "http://localhost:8123"),
        (URL, "http://LOCALHOST:8123/v1"),
        ("http://[::1]:8123", "http://[::1]:8123/"),
        ("http://[::1]:8123", "http://[0:0:0:0:0:0:0:1]:8123/"),
        ("http://127.9.9.9:8123", "http://127.9.9.9:8123"),
    ],
)
def test_clients_of_the_account_find_the_token_of_what_listens_there(listening: str, url: str, data_dir: Path) -> None:
    announce(data_dir, RunningService(listening, 42, SERVICE.token))
    assert token_for(url) == SERVICE.token
    assert f"http://{address_for(url, SERVICE.token)}:8123" == listening.translate({ord(sign): None for sign in "[]"})


@pytest.mark.parametrize(
    ("listening", "url"),
    [
        (URL, "http://[::1]:8123"),
        (URL, "http://127.9.9.9:8123"),
        (URL, "http://evil.localhost:8123"),
        (URL, "http://[::ffff:127.0.0.1]:8123"),
        ("http://[::1]:8123", "http://localhost:8123"),
        ("http://[::1]:8123", URL),
        ("http://127.9.9.9:8123", "http://localhost:8123"),
    ],
)
def test_no_other_address_of_this_machine_gets_it(listening: str, url: str, data_dir: Path) -> None:
    """Another account may listen there, on the same port."""
    announce(data_dir, RunningService(listening, 42, SERVICE.token))
    assert token_for(url) is None
    assert address_for(url, SERVICE.token) == urlsplit(url).hostname


@pytest.mark.parametrize(
    "url", ["http://gpu-7:8123", "http://10.0.0.5:8123", "http://127.0.0.1:8124", "http://localhost.evil.org:8123"]
)
def test_no_other_machine_and_no_other_port_gets_it(url: str, data_dir: Path) -> None:
    announce(data_dir, SERVICE)
    assert token_for(url) is None


def test_a_note_left_by_a_killed_service_gives_no_token_for_another_port(data_dir: Path) -> None:
    announce(data_dir, SERVICE)
    announce(data_dir, RunningService("http://127.0.0.1:9000", 43, "another-token"))
    assert token_for(URL) is None
    assert token_for("http://127.0.0.1:9000") == "another-token"


def test_what_has_stopped_is_not_found(data_dir: Path) -> None:
    announce(data_dir, SERVICE)
    withdraw(data_dir, URL)
    assert token_for(URL) is None
    assert read_service(data_dir) is None


def test_who_stops_leaves_the_note_of_another_service_on_its_port(data_dir: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    announce(data_dir, SERVICE)
    announce(other, RunningService(URL, 43, "another-token"))
    withdraw(data_dir, URL)
    assert token_for(URL) == "another-token"


def test_only_the_account_can_read_what_is_written(data_dir: Path) -> None:
    announce(data_dir, SERVICE)
    notes = platformdirs.user_state_path("dapple") / "services"
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (data_dir / "service.json", notes, *notes.iterdir())}
    assert all(mode & 0o077 == 0 for mode in modes.values()), modes


def test_a_token_of_the_environment_goes_first_and_anywhere(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    announce(data_dir, SERVICE)
    monkeypatch.setenv(VARIABLE, "given")
    assert token_for(URL) == token_for("https://dapple.example.org") == "given"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"url": 1}', "\x00"])
def test_a_damaged_file_is_no_service(content: str, data_dir: Path) -> None:
    (data_dir / "service.json").write_text(content)
    assert read_service(data_dir) is None


def test_tokens_differ_and_cannot_be_guessed() -> None:
    assert len({new_token() for _ in range(100)}) == 100
    assert len(new_token()) >= 43


@pytest.mark.parametrize(
    ("host", "expected"), [("127.8.9.1", True), ("::1", True), ("a.localhost", True), ("10.0.0.1", False), ("", False)]
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
