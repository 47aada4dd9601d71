"""What is particular to `dapple up`: its folder, its port, its child and its parent."""

import json
import subprocess
from collections.abc import Generator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from app.cli.demo import own_service
from app.client import Client
from tests.e2e.embedded import Embedded
from tests.e2e.service import DAPPLE, in_the_middle_of_sampling
from tests.e2e.test_service import ENDLESS


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Generator[Embedded]:
    service = Embedded(tmp_path_factory.mktemp("shared"))
    yield service
    if service.running:
        service.terminate()


@pytest.fixture
def service(shared: Embedded) -> Embedded:
    if not shared.running:
        shared.start()
    return shared


@pytest.fixture
def client(service: Embedded) -> Client:
    return service.client


def test_a_worker_does_not_outlive_a_killed_service(service: Embedded, client: Client):
    job = client.submit(ENDLESS)
    in_the_middle_of_sampling(client, job.id)
    worker = service.worker()

    service.kill_parent()

    psutil.wait_procs([worker])
    service.start()
    service.client.cancel(job.id)


def test_sigterm_ends_both_processes_in_order(service: Embedded):
    worker = service.worker()

    assert service.terminate() == 0
    assert not worker.is_running()
    assert not service.announcement.exists()


def test_a_taken_port_is_refused_with_the_way_out(service: Embedded, tmp_path: Path):
    port = urlsplit(service.url).port
    result = subprocess.run([*DAPPLE, "up", "--port", str(port), "--data-dir", tmp_path], capture_output=True, text=True)

    assert result.returncode == 2
    assert f"port {port} of 127.0.0.1 is in use" in result.stderr


def test_a_data_folder_serves_one_service_only(service: Embedded):
    result = subprocess.run([*DAPPLE, "up", "--port", "0", "--data-dir", service.data_dir], capture_output=True, text=True)

    assert result.returncode == 2
    assert f"process {service.process.pid}" in result.stderr


def test_a_service_of_ones_own_ends_with_its_block_and_in_order(tmp_path: Path):
    with own_service(tmp_path) as client:
        assert client.ready()
        pid = json.loads((tmp_path / "service.json").read_text())["pid"]

    assert not psutil.pid_exists(pid)
    assert not (tmp_path / "service.json").exists()
    assert "Fatal" not in (tmp_path / "service.log").read_text()


def test_a_service_of_ones_own_ends_when_the_process_that_started_it_is_gone(tmp_path: Path):
    command = [*DAPPLE, "up", "--port", "0", "--data-dir", str(tmp_path), "--with-parent"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as service:
        assert service.stdin and service.stdout
        assert service.stdout.readline()  # the service is up

        service.stdin.close()

        assert service.wait() == 0
