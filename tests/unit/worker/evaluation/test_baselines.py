import numpy as np
import pytest

from app.domain.errors import DatasetRejected
from worker.evaluation.baselines import kmeans_real, random_real

LABELS = np.array([1, 0, 1, 0, 1, 0, 1, 0, 1, 0])


def clusters() -> np.ndarray:
    """Two far clusters per class: images 0-3 about the origin, the others about 100."""
    offsets = np.where(np.arange(10) < 4, 0.0, 100.0)[:, None]
    return offsets + np.random.default_rng(0).normal(size=(10, 3))


@pytest.mark.parametrize("choose", [random_real, lambda labels, ipc, seed: kmeans_real(clusters(), labels, ipc, seed)])
class TestBothBaselines:
    def test_each_class_gives_its_share_in_order_of_the_labels(self, choose):
        chosen = choose(LABELS, 3, 0)
        assert LABELS[chosen].tolist() == [0, 0, 0, 1, 1, 1]

    def test_no_image_is_chosen_twice(self, choose):
        assert len(set(choose(LABELS, 5, 0).tolist())) == 10

    def test_the_same_seed_chooses_the_same_images(self, choose):
        assert np.array_equal(choose(LABELS, 2, 7), choose(LABELS, 2, 7))

    def test_a_class_smaller_than_the_set_is_rejected(self, choose):
        with pytest.raises(DatasetRejected, match="class number 0 has 5 training images; 6"):
            choose(LABELS, 6, 0)


def test_another_seed_chooses_other_images():
    assert not np.array_equal(random_real(LABELS, 3, 0), random_real(LABELS, 3, 1))


def test_k_means_takes_one_image_from_each_cluster():
    chosen = kmeans_real(clusters(), LABELS, 2, 0)
    assert (chosen < 4).tolist() == [True, False, True, False]


def test_k_means_copes_with_equal_images():
    assert len(set(kmeans_real(np.ones((10, 3)), LABELS, 4, 0).tolist())) == 8
