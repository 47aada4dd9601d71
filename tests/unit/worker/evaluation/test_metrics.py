import pytest
import torch
from torch import Tensor

from worker.evaluation.metrics import class_metrics, diversity, in_neighbourhood, nearest


def cloud(count: int, seed: int, centre: float = 0.0) -> Tensor:
    return centre + torch.randn(count, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def known(metrics: dict[str, float | None]) -> dict[str, float]:
    """The metrics, of which none is missing."""
    assert None not in metrics.values()
    return {name: value for name, value in metrics.items() if value is not None}


def test_samples_of_the_same_law_cover_it_densely():
    metrics = known(class_metrics(cloud(200, 0), cloud(200, 1)))
    assert metrics["mmd2"] == pytest.approx(0, abs=0.01)
    assert metrics["density"] == pytest.approx(1, abs=0.15)
    assert metrics["coverage"] > 0.9


def test_samples_far_away_cover_nothing():
    metrics = known(class_metrics(cloud(50, 0, centre=100), cloud(50, 1)))
    assert (metrics["density"], metrics["coverage"]) == (0, 0)
    assert metrics["mmd2"] > 0.5


def test_copies_of_real_images_are_far_nearer_than_real_images_are_to_each_other():
    real = cloud(50, 0)
    metrics = known(class_metrics(real[:10], real))
    assert metrics["nearest_real"] < 1e-6 < metrics["real_to_real"]


def test_diversity_is_the_mean_distance_of_pairs():
    assert diversity(torch.tensor([[0.0], [1.0], [3.0]])) == pytest.approx(2)
    assert diversity(torch.zeros(1, 3)) is None


def test_the_ball_of_a_real_image_reaches_its_fifth_neighbour():
    real = torch.arange(7, dtype=torch.float64)[:, None]
    assert in_neighbourhood(torch.tensor([[5.5]], dtype=torch.float64), real).tolist() == [[False] * 3 + [True] * 4]


def test_the_nearest_real_image_is_found():
    assert nearest(torch.tensor([[0.0], [9.0]]), torch.tensor([[1.0], [7.0]])).tolist() == [1, 2]
