import numpy as np
import pytest
import torch
from torch import Tensor

from worker.evaluation.metrics import class_metrics, diversity, in_neighbourhood, nearest, set_metrics


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


def test_copies_of_training_images_are_far_nearer_than_training_images_are_to_each_other():
    real = cloud(50, 0)
    metrics = known(class_metrics(real[:10], real))
    assert metrics["nearest_train"] < 1e-6 < metrics["train_to_train"]


def test_diversity_is_the_mean_distance_of_pairs():
    assert diversity(torch.tensor([[0.0], [1.0], [3.0]])) == pytest.approx(2)
    assert diversity(torch.zeros(1, 3)) is None


def test_the_ball_of_a_real_image_reaches_its_fifth_neighbour():
    real = torch.arange(7, dtype=torch.float64)[:, None]
    assert in_neighbourhood(torch.tensor([[5.5]], dtype=torch.float64), real).tolist() == [[False] * 3 + [True] * 4]


def test_the_nearest_training_image_is_found():
    assert nearest(torch.tensor([[0.0], [9.0]]), torch.tensor([[1.0], [7.0]])).tolist() == [1, 2]


def noise(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 1), dtype=np.uint8)


def test_set_metrics_are_means_over_classes():
    images, labels, real, real_labels = noise(6, 0), np.repeat([0, 1], 3), noise(20, 1), np.tile([0, 1], 10)
    both = set_metrics(images, labels, lambda c: real[real_labels == c])
    each = [known(set_metrics(images[labels == c], labels[labels == c], lambda c: real[real_labels == c])) for c in (0, 1)]
    assert both == {name: pytest.approx((each[0][name] + each[1][name]) / 2) for name in each[0]}


def test_classes_too_small_for_neighbourhoods_are_left_out():
    assert set_metrics(noise(2, 0), np.array([0, 0]), lambda _label: noise(5, 1)) == {}


PAIRWISE = {"mmd2", "diversity"}


def test_one_image_per_class_has_no_metric_of_pairs_and_the_others_finite():
    metrics = set_metrics(noise(2, 0), np.array([0, 1]), lambda _label: noise(9, 1))
    assert {name for name, value in metrics.items() if value is None} == PAIRWISE
    assert all(np.isfinite(value) for value in metrics.values() if value is not None)


def test_classes_of_one_image_have_no_part_in_the_mean_of_a_metric_of_pairs():
    images, real = noise(3, 0), noise(9, 1)
    both = set_metrics(images, np.array([0, 0, 1]), lambda _label: real)
    pair = set_metrics(images[:2], np.array([0, 0]), lambda _label: real)
    assert all(both[name] == pair[name] is not None for name in PAIRWISE)
