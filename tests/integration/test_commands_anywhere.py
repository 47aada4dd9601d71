"""The commands run what is installed, whatever lies in the folder they are started in."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.servers.brokers import free_port
from tests.waiting import wait_long

DAPPLE = Path(sys.executable).with_name("dapple")


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A folder whose own modules would end whatever imports them."""
    for name in ("app.py", "worker.py", "migrations.py"):
        (tmp_path / name).write_text("raise SystemExit('a file of the current folder was run')")
    return tmp_path


def test_serve_answers_from_a_folder_with_an_app_of_its_own(trap: Path) -> None:
    port = free_port()
    environment = os.environ | {"DAPPLE_DATA_DIR": str(trap / "data")}
    command = [DAPPLE, "serve", "--port", str(port), "--processes", "2"]
    with subprocess.Popen(command, cwd=trap, env=environment, stderr=subprocess.DEVNULL) as server:
        try:
            wait_long(lambda: answers(f"http://127.0.0.1:{port}/livez"))
        finally:
            server.terminate()


def test_work_imports_our_worker(trap: Path) -> None:
    environment = os.environ | {"DAPPLE_BROKER_URL": "redis://127.0.0.1:1/0", "DAPPLE_DATA_DIR": str(trap / "data")}
    done = subprocess.run(
        [DAPPLE, "work", "-Q", "gpus"], cwd=trap, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "'gpus' is not a queue; there are gpu and cpu" in " ".join(done.stderr.split())


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
