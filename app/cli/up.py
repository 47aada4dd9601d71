"""`dapple up`: the whole service on one machine. A child process of the API runs the tasks."""

import errno
import hashlib
import ipaddress
import os
import signal
import socket
import stat
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import uvicorn
from filelock import FileLock, Timeout
from pydantic import SecretStr

from app.access_token import RunningService, announce, new_token, withdraw
from app.cli.console import ExitCode, answers, complain, messages
from app.cli.supervisor import Supervisor
from app.db import expiry
from app.db.session import Database
from app.distribution import install_extra
from app.domain.errors import DatabaseUnavailable
from app.settings import Settings, settings_from

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class CannotStart(typer.Exit):
    """The service cannot start. The reason has been printed."""

    def __init__(self, reason: str) -> None:
        complain(reason)
        super().__init__(ExitCode.USAGE)


def up(
    data_dir: Annotated[Path | None, typer.Option(help="Folder for all data. Default: the user's data folder.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 picks a free one.")] = 8000,
    host: Annotated[str, typer.Option(help="The loopback address to listen on.")] = "127.0.0.1",
    dataset_root: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder that contains file:// datasets; repeatable. Default: the current folder.", exists=True, file_okay=False
        ),
    ] = None,
    log_level: Annotated[LogLevel | None, typer.Option(help="The lowest level of messages to print.")] = None,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
) -> None:
    """Start the service on this machine; Ctrl-C stops it.

    DAPPLE_* environment variables set all other settings.
    """
    settings = resolved_settings(data_dir=data_dir, dataset_roots=dataset_root, log_level=log_level)
    if find_spec("torch") is None:
        raise CannotStart("the worker needs torch; " + install_extra("worker"))
    with ExitStack() as stack:
        stack.enter_context(only_service_of(settings.data_dir))
        listener = stack.enter_context(listening(host, port))
        settings = settings.model_copy(update={"access_token": settings.access_token or SecretStr(new_token())})
        if with_parent:
            threading.Thread(target=_stop_when_stdin_closes, daemon=True).start()
        raise typer.Exit(serve(settings, listener))


def resolved_settings(**options: Any) -> Settings:
    """Settings from the options and the environment, with absolute paths. Raises WrongSettings."""
    settings = settings_from(**{name: value for name, value in options.items() if value is not None})
    roots = tuple(root.expanduser().resolve() for root in settings.dataset_roots)
    return settings.model_copy(update={"data_dir": settings.data_dir.expanduser().resolve(), "dataset_roots": roots})


def serve(settings: Settings, listener: socket.socket) -> int:
    """Run the service until it is stopped; return the exit code."""
    from app.server.options import uvicorn_options  # imported here so that other commands do not load the API

    # create_app and the worker build these settings again from the environment.
    os.environ.update(settings.as_environment())
    url = _url_of(listener)
    config = uvicorn.Config("app.main:create_app", factory=True, **uvicorn_options())
    database = Database(settings.sqlalchemy_url)
    workers = workers_of(settings.data_dir)
    supervisor = _worker_supervisor(database, workers)
    server = _Server(config, supervisor, lambda: announce(settings.data_dir, _described(settings, url)), url)
    for number in (signal.SIGINT, signal.SIGTERM):
        # When it is done, uvicorn raises the caught signals again. By default that would end this
        # process before the clean-up.
        signal.signal(number, server.handle_exit)
    try:
        database.migrate_unless_shared()
        _take_back(database, workers)
        supervisor.start()
        server.run(sockets=[listener])
    finally:
        supervisor.stop()
        withdraw(settings.data_dir, url)
        database.dispose()
    return ExitCode.OK if server.started else ExitCode.FAILED


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, supervisor: Supervisor, on_started: Callable[[], None], url: str) -> None:
        super().__init__(config)
        self._supervisor, self._on_started, self._url = supervisor, on_started, url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._on_started()
            answers.print(f"Dapple is at {self._url} (documentation: {self._url}/docs); Ctrl-C stops it.", soft_wrap=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Stop the worker now, so that it ends while the server waits for open connections.
        self._supervisor.ask_to_stop()
        await super().shutdown(sockets=sockets)


def _described(settings: Settings, url: str) -> RunningService:
    token = settings.access_token.get_secret_value() if settings.access_token else ""
    return RunningService(url, os.getpid(), token)


def workers_of(data_dir: Path) -> str:
    """Prefix of the names of this data folder's workers.

    It identifies the machine and the folder, because other machines may share the database.
    """
    place = f"{socket.gethostname()}:{data_dir}"
    return f"embedded:{hashlib.sha256(place.encode()).hexdigest()[:8]}:"


def _worker_supervisor(database: Database, workers: str) -> Supervisor:
    def recover(exit_code: int) -> None:
        messages.print(f"the worker ended with code {exit_code}; starting it again", style="yellow")
        # If the database is busy now, the lease expires later, and then the task can be claimed.
        with suppress(DatabaseUnavailable), database.transaction() as session:
            expiry.expire_worker(session, workers)

    # -P keeps the current folder off the path; a folder `worker` there would run instead.
    command = [sys.executable, "-P", "-m", "worker.service.embedded_worker"]
    return Supervisor(command, lambda number: {"DAPPLE_WORKER_NAME": f"{workers}{number}"}, recover)


def _take_back(database: Database, workers: str) -> None:
    """Release the tasks of earlier workers. This process holds the lock of the data folder and has
    no child yet, so no worker of this folder may hold a task.

    A worker whose parent was killed may still be ending; its fencing tokens are stale from now on.
    """
    with database.transaction() as session:
        expiry.release_worker(session, workers)


@contextmanager
def only_service_of(data_dir: Path) -> Generator[None]:
    """Hold the folder's lock. Raises CannotStart if another process holds it, and names it."""
    path = data_dir / "dapple.lock"
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _close_to_others(data_dir)
        held = FileLock(path, timeout=0).acquire()
        path.write_text(str(os.getpid()))
    except Timeout as error:
        raise CannotStart(f"{data_dir} is in use by another service, process {path.read_text() or 'unknown'}") from error
    except OSError as error:
        raise CannotStart(f"{data_dir} cannot be used: {error}") from error
    with held:
        yield


def _close_to_others(data_dir: Path) -> None:
    """Restrict the folder, with images, results and access token, to this account."""
    mode = stat.S_IMODE(data_dir.stat().st_mode)
    if mode & 0o077:
        data_dir.chmod(mode & 0o700)
        messages.print(f"{data_dir} was open to other accounts; it is now this account's alone", style="yellow", markup=False)


@contextmanager
def listening(host: str, port: int) -> Generator[socket.socket]:
    """A bound socket. Raises CannotStart if the address is in use or is not loopback."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise CannotStart(f"--host {host}: {error.strerror}") from error
    if not ipaddress.ip_address(address[0]).is_loopback:
        raise CannotStart(
            f"--host {host}: `dapple up` listens on loopback addresses only; `dapple serve` behind a proxy takes others"
        )
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            raise CannotStart(_cannot_bind(host, port, error)) from error
        yield listener


def _cannot_bind(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use; choose another with --port (0 picks a free one)"
    return f"cannot listen on {host}:{port}: {error.strerror}"


def _url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _stop_when_stdin_closes() -> None:
    """Stop when the parent process ends, because standard input closes then."""
    # Uses os.read: the interpreter crashes at exit if a thread holds the lock of sys.stdin.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
