"""What every test shares: the reasons why one cannot run here."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu and not _cuda_is_available():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def _cuda_is_available() -> bool:
    import torch

    return torch.cuda.is_available()
