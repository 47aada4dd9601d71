import socket
from pathlib import Path

import httpx
import pytest
import torch
from structlog.testing import capture_logs

from app.settings import Settings
from worker.backbones.registry import BackboneRegistry
from worker.disk_cache import DiskCache
from worker.service.metrics_endpoint import serve
from worker.service.worker_metrics import WorkerMetrics


@pytest.fixture
def telemetry(tmp_path: Path) -> WorkerMetrics:
    backbones = BackboneRegistry(Settings().backbone_roots, torch.device("cpu"))
    backbones.get("embedded/digits")
    return WorkerMetrics(backbones, DiskCache(tmp_path, 1))


@pytest.fixture
def port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_a_worker_serves_its_numbers(telemetry: WorkerMetrics, port: int) -> None:
    serve(telemetry.registry, Settings(metrics_port=port))
    lines = httpx.get(f"http://127.0.0.1:{port}/metrics").text.splitlines()
    assert "dapple_backbone_loads_total 1.0" in lines
    resident = next(line for line in lines if line.startswith("dapple_backbone_resident_bytes "))
    assert float(resident.split()[1]) > 1e6


def test_a_port_that_is_taken_costs_the_numbers_only(telemetry: WorkerMetrics) -> None:
    with socket.socket() as listener, capture_logs() as logs:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        serve(telemetry.registry, Settings(metrics_port=listener.getsockname()[1]))
    assert [line["event"] for line in logs] == ["metrics.off"]
