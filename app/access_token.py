"""The token that keeps other accounts of a machine out of a service on its loopback address.

Every account of a machine can reach loopback. `dapple up` makes a new token at each start and
writes it into its data folder. It also leaves a note for the clients of its own account, which says
where this folder is. Only that account can read the two files.
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
    """The record that `dapple up` keeps in its data folder while it runs."""

    url: str
    pid: int
    token: str


def new_token() -> str:
    """A new token: 256 random bits as text."""
    return secrets.token_urlsafe(32)


def read_service(data_dir: Path) -> RunningService | None:
    """The service recorded in this folder; None if its record is missing or cannot be read."""
    try:
        return RunningService(**json.loads((data_dir / SERVICE_FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def announce(data_dir: Path, service: RunningService) -> None:
    """Let clients of this account find the service and its token.

    Raises OSError if the data folder cannot be written.
    """
    _write_private(data_dir / SERVICE_FILE, json.dumps(vars(service)))
    note = _note(service.url)
    with suppress(OSError):  # an account without a home folder sets DAPPLE_ACCESS_TOKEN itself
        note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_private(note, str(data_dir))


def withdraw(data_dir: Path, url: str) -> None:
    """Remove what `announce` wrote, except the note of a service that has since taken the port."""
    (data_dir / SERVICE_FILE).unlink(missing_ok=True)
    note = _note(url)
    with suppress(OSError, ValueError):
        if note.read_text() == str(data_dir):
            note.unlink()


def token_for(url: str) -> str | None:
    """The token for the service at `url`: from the environment, else as written by the service.

    A token that a service of this account wrote is used only for the exact address and port on
    which that service listens, because another account may listen on another loopback address. A
    caller that sends the token must connect to `address_for`.
    """
    given = os.environ.get(VARIABLE)
    if given:
        return given
    service = _own_service(url)
    return service.token if service is not None else None


def address_for(url: str, token: str) -> str:
    """The host to connect to with this token: that of `url`, or the address of our own service.

    It is the address of the service if a service of this account wrote the token. The name
    `localhost` may resolve to [::1], where another account can listen.
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
    """The address and port of `url`.

    Raises ValueError for a host name, except `localhost`, which stands for 127.0.0.1.
    """
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
    """The file in which a service on this loopback port names its data folder."""
    return platformdirs.user_state_path("dapple") / "services" / str(urlsplit(url).port or 80)


def _write_private(path: Path, text: str) -> None:
    """Write the file whole or not at all, readable only by its owner."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    part.replace(path)
