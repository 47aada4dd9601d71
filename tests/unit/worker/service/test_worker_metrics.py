import time

import pytest
import torch

from app.domain.errors import StorageUnavailable
from app.domain.job import TaskKind
from tests.unit.app.stored import submitted
from tests.unit.worker.service.test_task_runner import SAMPLE, Service
from worker.backbones.registry import BackboneRegistry
from worker.disk_cache import DiskCache
from worker.service.worker_metrics import WorkerMetrics


@pytest.fixture
def cache(tmp_path):
    return DiskCache(tmp_path / "cache", 1 << 20)


@pytest.fixture
def metrics(cache):
    return WorkerMetrics(BackboneRegistry((), torch.device("cpu")), cache)


def value(metrics, name, **labels):
    return metrics.registry.get_sample_value(name, labels)


def test_every_attempt_is_timed_by_kind_and_outcome(database, settings):
    service = Service(database, settings)
    submitted(database)
    service.twist(SAMPLE, StorageUnavailable("once"))
    service.drain()
    for kind, outcome, count in (("prepare", "succeeded", 1), ("sample", "failed", 1), ("sample", "succeeded", 2)):
        name = "dapple_task_duration_seconds_count"
        assert value(service.runner.metrics, name, kind=kind, outcome=outcome) == count


def test_a_lost_lease_is_counted(database, settings):
    service = Service(database, settings)
    submitted(database)
    service.twist(TaskKind.PREPARE, service.take_lease_away)
    service.runner.run_one()
    assert value(service.runner.metrics, "dapple_lease_losses_total") == 1
    assert value(service.runner.metrics, "dapple_task_duration_seconds_count", kind="prepare", outcome="lost") == 1


def test_steps_are_timed_without_the_first_of_each_run_and_without_the_report_itself(metrics):
    report = metrics.timing_steps(lambda done, total: time.sleep(0.05))
    for done in (0, 0, 1, 2, 3, 1, 2):  # began again with smaller batches after three steps
        report(done, 4)
    assert value(metrics, "dapple_sampling_step_duration_seconds_count") == 3
    assert value(metrics, "dapple_sampling_step_duration_seconds_sum") < 0.05


def test_a_report_still_raises_what_stops_the_task(metrics):
    def stop(done, total):
        raise StorageUnavailable("stop")

    with pytest.raises(StorageUnavailable):
        metrics.timing_steps(stop)(1, 2)


def test_samples_add_up(metrics):
    metrics.sampled(10)
    metrics.sampled(5)
    assert value(metrics, "dapple_samples_total") == 15


def test_the_cache_counts_what_it_found_and_what_it_made(metrics, cache):
    for key in ("a", "b", "a"):
        cache.get(key, lambda folder: None, lambda: None)
    assert value(metrics, "dapple_reference_cache_hits_total") == 1
    assert value(metrics, "dapple_reference_cache_misses_total") == 2
