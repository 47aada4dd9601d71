"""Postgres and Redis of our own, so that they can be restarted, in a temporary folder and on a port of their own."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import psycopg

from tests.faults.processes import Process, Supervisor, answers
from tests.waiting import wait_until

DATABASE = "dapple"
START_SECONDS = 30.0


def missing() -> list[str]:
    """The programs that are not installed here."""
    return [name for name, path in (("postgres", _postgres_bin()), ("redis-server", shutil.which("redis-server"))) if not path]


class Postgres:
    """A cluster whose server the supervisor keeps alive."""

    def __init__(self, supervisor: Supervisor, logs: Path, port: int) -> None:
        self.port = port
        self.url = f"postgresql://postgres@127.0.0.1:{port}/{DATABASE}"
        self._folder = Path(tempfile.mkdtemp(prefix="dapple-faults-postgres-"))
        if os.getuid() == 0:
            shutil.chown(self._folder, "postgres")
        bin_folder = _postgres_bin()
        assert bin_folder is not None
        initdb = [str(bin_folder / "initdb"), "-D", str(self._folder / "data"), "-U", "postgres", "-A", "trust", "--no-sync"]
        subprocess.run([*_as_postgres(), *initdb], check=True, capture_output=True, cwd=self._folder)
        options = {
            "port": port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": 300,
            "fsync": "off",  # a restart loses nothing that the kernel has; nothing here survives the machine anyway
        }
        server = [str(bin_folder / "postgres"), "-D", str(self._folder / "data")]
        server += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        process = Process("postgres", [*_as_postgres(), *server], logs / "postgres.log", last_signal=signal.SIGQUIT)
        self.process = supervisor.start(process)
        wait_until(self._made_database, START_SECONDS, "Postgres")

    def _made_database(self) -> bool:
        """False while the server is starting up."""
        try:
            with psycopg.connect(self.url.replace(f"/{DATABASE}", "/postgres"), autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {DATABASE}".encode())
        except psycopg.OperationalError:
            return False
        return True

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


class Redis:
    """A server that keeps nothing on disk: after a restart it is empty."""

    def __init__(self, supervisor: Supervisor, logs: Path, port: int) -> None:
        self.port = port
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.process = supervisor.start(Process("redis", command, logs / "redis.log"))
        wait_until(lambda: answers(port), START_SECONDS, "Redis")

    def flush(self) -> None:
        """Forget everything. Raises OSError if the server is down."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
            connection.sendall(b"FLUSHALL\r\n")
            connection.recv(64)


def _postgres_bin() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    on_path = shutil.which("postgres")
    if on_path:
        return Path(on_path).parent
    return found[-1].parent if found else None


def _as_postgres() -> list[str]:
    """Postgres refuses to run as root."""
    as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
    return as_user if os.getuid() == 0 else []
