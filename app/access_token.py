"""The token that keeps other accounts of a machine out of a service on its loopback address.

Loopback is open to every account. `dapple up` makes a new token at each start, writes it into its data folder, and leaves a
note for the clients of its own account that says where. That account alone can read both.
"""

import json
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
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
    """Remove what `announce` wrote."""
    (data_dir / SERVICE_FILE).unlink(missing_ok=True)
    with suppress(OSError):
        _note(url).unlink(missing_ok=True)


def token_for(url: str) -> str | None:
    """The token to send to the service at `url`: the environment's, else what a service of this account wrote.

    What was written is for loopback alone: no other machine ever gets it.
    """
    given = os.environ.get(VARIABLE)
    if given or not is_loopback(urlsplit(url).hostname or ""):
        return given
    try:
        service = read_service(Path(_note(url).read_text()))
    except (OSError, ValueError):
        return None
    return service.token if service is not None and _note(service.url) == _note(url) else None


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
