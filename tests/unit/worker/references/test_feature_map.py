import pytest
import torch

from app.domain.spec.guidance import Features
from tests.unit.worker.numbers import noise
from tests.unit.worker.references.test_count_sketch import dense
from worker.references.feature_map import FeatureMap, distance_error

CPU = torch.device("cpu")
TAPS = (noise(5, 4, 6), noise(5, 2, 10, seed=1))


def test_tokens_are_the_hidden_states_themselves_one_tap_after_the_other():
    found = FeatureMap(Features.TOKENS, 64)
    assert torch.equal(found(TAPS), torch.cat([TAPS[0].flatten(1), TAPS[1].flatten(1)], 1))
    assert found.widths(TAPS) == (24, 20)


def test_pooled_features_are_the_mean_token_of_each_tap():
    found = FeatureMap(Features.POOLED, 64)
    assert torch.allclose(found(TAPS), torch.cat([TAPS[0].mean(1), TAPS[1].mean(1)], 1))
    assert found.widths(TAPS) == (6, 10)


def test_only_what_is_wider_is_projected():
    found = FeatureMap(Features.PROJECTED, 20)
    assert found.widths(TAPS) == (20, 20)
    assert torch.equal(found(TAPS)[:, 20:], TAPS[1].flatten(1))
    assert torch.allclose(found(TAPS)[:, :20].double(), TAPS[0].flatten(1).double() @ dense(24, 20).T, atol=1e-6)


@pytest.mark.parametrize("kind", Features)
@pytest.mark.parametrize(
    ("given", "wanted"), [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)]
)
def test_features_are_float32_at_least(kind, given, wanted):
    found = FeatureMap(kind, 8)
    low = tuple(tap.to(given) for tap in TAPS)
    assert found(low).dtype == wanted
    assert torch.equal(found(low), found(tuple(tap.to(wanted) for tap in low))), "nothing is added up in fewer bits"


@pytest.mark.parametrize("kind", Features)
def test_the_features_of_an_image_do_not_depend_on_its_place_in_the_batch(kind):
    found, order = FeatureMap(kind, 8), torch.tensor([3, 0, 4, 1, 2])
    assert torch.equal(found(tuple(tap[order] for tap in TAPS)), found(TAPS)[order])
    assert torch.equal(found(tuple(tap[2:3] for tap in TAPS)), found(TAPS)[2:3])


def test_the_error_of_distances_is_relative():
    x = torch.tensor([[0.0], [1.0], [3.0]])
    y = torch.tensor([[0.0], [1.1], [3.0]])
    assert distance_error(y, x) == pytest.approx((0.05, 0.1), abs=1e-6)  # 1.1/1, 3/3, 1.9/2


def test_equal_images_have_no_error():
    assert distance_error(torch.ones(3, 2), torch.ones(3, 4)) == (0.0, 0.0)
    assert distance_error(torch.ones(1, 2), torch.ones(1, 4)) == (0.0, 0.0)
