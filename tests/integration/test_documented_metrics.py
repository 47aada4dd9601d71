"""Every metric and label that docs/operations.md names is in a scrape of an installation where it is said to be."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.test_api_jobs import submit
from worker.backbones.registry import BackboneRegistry
from worker.disk_cache import DiskCache
from worker.service.sweeper_metrics import SweeperMetrics
from worker.service.worker_metrics import WorkerMetrics

DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"
SELECTOR = re.compile(r"\b(dapple_[a-z_]+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~|!=|=)"([^"]*)"')

Sample = tuple[str, dict[str, str]]


def scraped(text: str) -> Iterator[Sample]:
    """With the name of each histogram as well, which prose may use."""
    for family in text_string_to_metric_families(text):
        if family.type == "histogram":
            yield family.name, {}
        for sample in family.samples:
            yield sample.name, sample.labels


@pytest.fixture
def samples(client: TestClient, tmp_path: Path) -> list[Sample]:
    """What an API, a worker without a task yet, and a sweeper tell."""
    submit(client)
    telemetry = WorkerMetrics(BackboneRegistry((), torch.device("cpu")), DiskCache(tmp_path / "cache", 1))
    registries: list[CollectorRegistry] = [telemetry.registry, SweeperMetrics().registry]
    texts = [client.get("/metrics").text, *(generate_latest(registry).decode() for registry in registries)]
    return [sample for text in texts for sample in scraped(text)]


def documented() -> list[tuple[str, str]]:
    return sorted(set(SELECTOR.findall(DOCUMENT.read_text())))


def test_the_document_names_metrics_of_every_process() -> None:
    names = {name for name, _ in documented()}
    assert {"dapple_attempts_total", "dapple_sweep_last_timestamp_seconds", "dapple_backbone_loads_total"} <= names


@pytest.mark.parametrize(("name", "matchers"), documented())
def test_what_is_documented_is_scraped(samples: list[Sample], name: str, matchers: str) -> None:
    found = [labels for sample, labels in samples if sample == name]
    assert found, f"no scrape has {name}"
    for label, operator, value in MATCHER.findall(matchers):
        assert all(label in labels for labels in found)
        if operator == "=":
            found = [labels for labels in found if labels[label] == value]
            assert found, f"{name} never has {label}={value!r}"
