"""How fast are POST and GET of a job beside bare FastAPI endpoints that make the same statements on the same database?

The statements of one real request are recorded with an event listener; `bench.bare` replays as many of the same kinds, in as
many transactions, through the same engine and pool. Both run under uvicorn with one process and are asked by wrk in turns.
"""

import argparse
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, event, make_url, text
from sqlalchemy.engine import Engine
from ulid import ULID

from app.db.session import Database
from app.main import create_app
from app.settings import Settings
from bench.bare import SCRIPTS, Base, Script

BODY = {"dataset_uri": "sklearn://digits", "ipc": 10, "kernel_bandwidth": "median", "backbone": "embedded/digits"}
POST_LUA = 'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\nwrk.body = [[{body}]]\n'
LATENCY_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


@dataclass(frozen=True)
class Load:
    """What wrk measured in one turn."""

    per_second: float
    p99_ms: float


def main() -> None:
    options = _options()
    if shutil.which("wrk") is None:
        raise SystemExit("bench-http needs wrk: apt-get install wrk")
    result: dict[str, Any] = {"connections": options.connections, "turns": options.turns, "seconds": options.seconds}
    result["machine"] = {"cores": os.cpu_count(), "python": platform.python_version(), "load_before": os.getloadavg()[0]}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(_new_database(options.postgres))
        result["postgres"] = _compared(url, folder / "postgres", options)
        result["sqlite"] = _compared(f"sqlite:///{folder / 'sqlite' / 'dapple.sqlite3'}", folder / "sqlite", options)
    headline = {
        name: result["postgres"][name] for name in ("post_over_bare", "get_over_bare", "post_p99_ms", "posts_per_second")
    }
    result = headline | result
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


def _compared(url: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Both servers run at once and are asked in turns, so that a busy machine slows both."""
    folder.mkdir()
    settings = Settings(data_dir=folder, database_url=url, dataset_roots=(folder,), log_level="WARNING")
    scripts, job_id = _recorded(settings)
    environment = os.environ | settings.as_environment() | {SCRIPTS: json.dumps(scripts)}
    lua = folder / "post.lua"
    lua.write_text(POST_LUA.format(body=json.dumps(BODY)))
    with _serving("app.main:create_app", environment) as service, _serving("bench.bare:create_app", environment) as bare:
        bare_id = httpx.post(f"{bare}/post", json=BODY).json()["id"]
        sides = {
            "post": (f"{service}/v1/jobs", f"{bare}/post", ["-s", str(lua)]),
            "get": (f"{service}/v1/jobs/{job_id}", f"{bare}/get/{bare_id}", []),
        }
        for ours, theirs, more in sides.values():  # first requests compile statements and open connections
            _wrk(ours, 1, more, options)
            _wrk(theirs, 1, more, options)
        found = {name: _turns(ours, theirs, more, options) for name, (ours, theirs, more) in sides.items()}
    (post, bare_post), (get, bare_get) = found["post"], found["get"]
    return {
        "post_over_bare": round(post.per_second / bare_post.per_second, 3),
        "get_over_bare": round(get.per_second / bare_get.per_second, 3),
        "post_p99_ms": post.p99_ms,
        "bare_post_p99_ms": bare_post.p99_ms,
        "posts_per_second": round(post.per_second, 1),
        "bare_posts_per_second": round(bare_post.per_second, 1),
        "get_p99_ms": get.p99_ms,
        "gets_per_second": round(get.per_second, 1),
        "bare_gets_per_second": round(bare_get.per_second, 1),
        "statements": scripts,
    }


def _turns(ours: str, theirs: str, more: list[str], options: argparse.Namespace) -> tuple[Load, Load]:
    loads = [[_wrk(url, options.seconds, more, options) for url in (ours, theirs)] for _ in range(options.turns)]
    return tuple(  # type: ignore[return-value]
        Load(median(load.per_second for load in side), max(load.p99_ms for load in side)) for side in zip(*loads, strict=True)
    )


def _wrk(url: str, seconds: int, more: list[str], options: argparse.Namespace) -> Load:
    command = ["wrk", "-t1", f"-c{options.connections}", f"-d{seconds}s", "--timeout", "30s", "--latency", *more, url]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in told or "Socket errors" in told:
        raise SystemExit(f"{url} did not answer every request:\n{told}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", told)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s|m)\b", told)
    if rate is None or p99 is None:
        raise SystemExit(f"wrk said something else:\n{told}")
    return Load(float(rate[1]), round(float(p99[1]) * LATENCY_UNITS[p99[2]], 2))


def _recorded(settings: Settings) -> tuple[dict[str, Script], str]:
    """The transactions of one POST and one GET, and the job that was posted."""
    database = Database(settings.sqlalchemy_url)
    database.migrate()
    database.dispose()
    app = create_app(settings)
    with TestClient(app) as client:
        with app.state.resources.database.transaction() as session:
            Base.metadata.create_all(session.connection())
        client.post("/v1/jobs", json=BODY)  # the first opens connections, with statements of their own
        with _recording() as post:
            job_id = client.post("/v1/jobs", json=BODY).json()["id"]
        with _recording() as get:
            client.get(f"/v1/jobs/{job_id}").raise_for_status()
    return {"post": post, "get": get}, job_id


@contextmanager
def _recording() -> Generator[list[list[str]]]:
    script: list[list[str]] = []

    def begun(_connection: object) -> None:
        script.append([])

    def executed(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        verb = statement.split(maxsplit=1)[0].upper()
        if verb not in ("BEGIN", "SAVEPOINT", "RELEASE"):
            script[-1].append(verb)

    event.listen(Engine, "begin", begun)
    event.listen(Engine, "before_cursor_execute", executed)
    yield script
    event.remove(Engine, "begin", begun)
    event.remove(Engine, "before_cursor_execute", executed)


@contextmanager
def _serving(factory: str, environment: dict[str, str]) -> Generator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "--factory", factory, "--port", str(port), "--no-access-log"]
    process = subprocess.Popen([*command, "--log-level", "warning"], env=environment)
    try:
        _until_it_listens(process, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _until_it_listens(process: subprocess.Popen[bytes], port: int) -> None:
    while process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"the server ended with code {process.returncode}")


@contextmanager
def _new_database(url: str) -> Generator[str]:
    """URL of an empty database on the same server, dropped afterwards."""
    name = f"dapple_bench_{ULID()}".lower()
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        try:
            yield make_url(url).set(database=name).render_as_string(hide_password=False)
        finally:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    server = "postgresql+psycopg://postgres@127.0.0.1:5432/postgres"
    parser.add_argument("--postgres", default=server, help="a server on which databases may be created")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of a turn of one side")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
