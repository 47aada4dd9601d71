"""The token that keeps other accounts of a machine out of a service on its loopback address.

Loopback is open to every account. `dapple up` makes a new token at each start, writes it into its data folder, and leaves a
note for the clients of its own account that says where. That account alone can read both.
"""

import json
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs

VARIABLE = "DAPPLE_ACCESS_TOKEN"
SERVICE_FILE = "service.json"


@dataclass(frozen=True)
class RunningService:
    """What `dapple up` writes into its data folder while it runs."""

    url: str
    pid: int
    token: str


def new_token() -> str:
    """256 random bits as text."""
    return secrets.token_urlsafe(32)


def read_service(data_dir: Path) -> RunningService | None:
    """What the service of this folder wrote; None if it wrote nothing, or nothing that we understand."""
    try:
        return RunningService(**json.loads((data_dir / SERVICE_FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def announce(data_dir: Path, service: RunningService) -> None:
    """Let clients of this account find the service and its token. Raises OSError if the data folder cannot be written."""
    _write_private(data_dir / SERVICE_FILE, json.dumps(vars(service)))
    note = _note(service.url)
    with suppress(OSError):  # an account without a home folder names the token itself
        note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_private(note, str(data_dir))


def withdraw(data_dir: Path, url: str) -> None:
    """Remove what `announce` wrote, but no note of another service that has taken the port since."""
    (data_dir / SERVICE_FILE).unlink(missing_ok=True)
    note = _note(url)
    with suppress(OSError, ValueError):
        if note.read_text() == str(data_dir):
            note.unlink()


def token_for(url: str) -> str | None:
    """The token to send to the service at `url`: the environment's, else what a service of this account wrote.

    What was written is for the very address and port on which that service listens: another account may listen on another
    address of loopback. Who sends it connects to `address_for`.
    """
    given = os.environ.get(VARIABLE)
    if given:
        return given
    service = _own_service(url)
    return service.token if service is not None else None


def address_for(url: str, token: str) -> str:
    """The host of `url` to connect to with this token: an address, where a service of this account wrote the token.

    The name `localhost` may lead to [::1], where another account can listen.
    """
    service = _own_service(url)
    return urlsplit(service.url if service is not None and service.token == token else url).hostname or ""


def _own_service(url: str) -> RunningService | None:
    """The service of this account that listens on the address and port of `url`."""
    try:
        service = read_service(Path(_note(url).read_text()))
        return service if service is not None and _place(service.url) == _place(url) else None
    except (OSError, ValueError):
        return None


def _place(url: str) -> tuple[IPv4Address | IPv6Address, int]:
    """Address and port. Raises ValueError for a name: `localhost` alone stands for an address, 127.0.0.1."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return ip_address("127.0.0.1" if host == "localhost" else host), parts.port or 80


def is_loopback(host: str) -> bool:
    """Whether the host is this machine, reached without a network."""
    try:
        return host == "localhost" or host.endswith(".localhost") or ip_address(host).is_loopback
    except ValueError:
        return False


def _note(url: str) -> Path:
    """Where a service on this port of loopback says which data folder is its own."""
    return platformdirs.user_state_path("dapple") / "services" / str(urlsplit(url).port or 80)


def _write_private(path: Path, text: str) -> None:
    """Write the file whole, for its owner's eyes only."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    part.replace(path)
