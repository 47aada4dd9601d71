"""What every test shares: shapes are checked, examples are the same on every run, and what cannot run here says why."""

import os
import signal
from collections.abc import Generator

import hypothesis
import pytest
from jaxtyping import install_import_hook

from tests.databases import PostgresServer, why_no_postgres

pytest_plugins = ["tests.servers.s3"]

for size in ("COLUMNS", "LINES"):  # pytest-xdist sets them for the processes it starts; a test sets the size that it needs
    os.environ.pop(size, None)

# nohup ignores the first, a shell's background job the second; processes inherit that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

install_import_hook(["worker.kernels", "worker.guidance", "worker.sampling"], "beartype.beartype")  # before their first import

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=30, database=None)
hypothesis.settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    on_postgres = [item for item in items if item.get_closest_marker("postgres")]
    if on_postgres and (reason := why_no_postgres()):
        for item in on_postgres:
            item.add_marker(pytest.mark.skip(reason=reason))
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu and not _cuda_is_available():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def _cuda_is_available() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def postgres() -> Generator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.close()
