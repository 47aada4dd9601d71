from dataclasses import replace
from typing import Any

import pytest
import torch

from app.domain.spec.guidance import Objective
from tests.unit.worker import tiny
from tests.unit.worker.numbers import central_differences, noise
from worker.guidance.base import StepState
from worker.guidance.kernel_guidance import KernelGuidance, _error
from worker.guidance.objectives import objective_for
from worker.kernels.bandwidth import median_heuristic
from worker.kernels.build import kernel_for
from worker.sampling.tapped_pass import features_of, tapped_pass
from worker.stages.job_plans import tap_point

T = torch.tensor(300)
LABELS = [1, 1, 4, 4]
KERNELS = [
    ("linear", None),
    ("polynomial", None),
    ("rbf", 3.0),
    ("rbf", "median"),
    ("rbf", [2.0, 8.0]),
    ("laplacian", "median"),
    ("inverse-multiquadric", "median"),
]
KERNEL_OBJECTIVES = [objective for objective in Objective if objective.has_kernel]
FEATURE_OBJECTIVES = [*KERNEL_OBJECTIVES, Objective.ENERGY]


REFERENCES = {label: noise(5, 1, 4, 4, seed=label, dtype=torch.float64) for label in (1, 4)}


def exact(objective, kernel, bandwidth, *, tap: Any = 2, classes=(1, 4)):
    """A float64 backbone, and the direction of two images of each class."""
    one = tiny.backbone(model=tiny.transformer(size=4).double())
    wanted = tiny.spec(kernel=kernel, kernel_bandwidth=bandwidth, guidance={"objective": objective, "tap": tap})
    return one, kernel_guidance(wanted, tap_point(wanted, one), tiny.targets(one, wanted, classes, REFERENCES)), wanted


def kernel_guidance(wanted, tap, targets):
    return KernelGuidance(wanted.guidance, wanted.kernel_choice, tap, targets)


def moved_by(one, direction, x, *, batch=10):
    conditions = one.conditions(LABELS[: len(x)])
    return direction(tapped_pass(one, x, T, None, conditions, 1.0, direction.tap, batch))


@pytest.mark.parametrize("tap", [1, 3, (1, 3)], ids=str)
@pytest.mark.parametrize(
    ("objective", "kernel", "bandwidth"),
    [(objective, *kernel) for objective in KERNEL_OBJECTIVES for kernel in KERNELS] + [(Objective.ENERGY, "rbf", "median")],
)
@pytest.mark.slow
def test_the_direction_is_minus_the_gradient_through_the_backbone_by_central_differences(objective, kernel, bandwidth, tap):
    one, direction, wanted = exact(objective, kernel, bandwidth, tap=tap, classes=(1,))
    reference = tiny.targets(one, wanted, [1], REFERENCES)[0].reference
    real, kernel_of_real = reference.at(T), kernel_for(wanted.kernel_choice, reference.at(T), reference.report.widths)

    def f(x):
        synthetic = features_of(one, x, T, one.conditions(LABELS[:2]), direction.tap)
        return objective_for(wanted.guidance)(kernel_of_real, synthetic, real)

    x = noise(2, 1, 4, 4, seed=9, dtype=torch.float64)
    differences = central_differences(f, x, h=1e-4)
    assert differences.norm() > 1e-3
    assert torch.allclose(moved_by(one, direction, x), -differences, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("objective", "knows"), [(Objective.INDUCED_DISTANCE, False), (Objective.MMD, True), (Objective.ENERGY, True)]
)
def test_only_under_a_set_objective_an_image_knows_of_the_others_of_its_class(objective, knows):
    one, direction, _ = exact(objective, "rbf", "median")
    x = noise(4, 1, 4, 4, seed=9, dtype=torch.float64)
    moved = x.clone()
    moved[1] += 1
    before, after = moved_by(one, direction, x), moved_by(one, direction, moved)
    assert torch.allclose(before[0], after[0], rtol=1e-9) is not knows


@pytest.mark.parametrize("objective", FEATURE_OBJECTIVES)
def test_no_image_knows_of_other_classes(objective):
    one, direction, _ = exact(objective, "rbf", "median")
    x = noise(4, 1, 4, 4, seed=9, dtype=torch.float64)
    moved = x.clone()
    moved[:2] += 1
    assert torch.allclose(moved_by(one, direction, x)[2:], moved_by(one, direction, moved)[2:], rtol=1e-9)


@pytest.mark.parametrize("objective", FEATURE_OBJECTIVES)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.slow
def test_a_batch_in_parts_goes_the_same_way(objective, batch):
    one, direction, _ = exact(objective, "rbf", "median", tap=(1, 3))
    x = noise(4, 1, 4, 4, seed=9, dtype=torch.float64)
    assert torch.allclose(moved_by(one, direction, x, batch=batch), moved_by(one, direction, x), rtol=1e-10, atol=1e-14)


class Probed:
    """A reference of a few images of a class, beside all of them."""

    def __init__(self, few, everything):
        self._everything = everything
        self.at, self.clean, self.report = few.at, few.clean, few.report
        self.thumbnails = few.thumbnails

    def probe_at(self, t):
        return self._everything.at(t)


@pytest.mark.parametrize("objective", FEATURE_OBJECTIVES)
def test_a_probe_tells_what_the_reference_images_are_worth_and_moves_nothing(objective):
    one, direction, wanted = exact(objective, "rbf", 3.0, classes=(1,))
    x = noise(2, 1, 4, 4, seed=9, dtype=torch.float64)
    everything = tiny.targets(one, wanted, [1], REFERENCES)[0]
    few = tiny.targets(one, wanted, [1], {1: REFERENCES[1][:2]})[0]

    def errors(reference):
        probed = kernel_guidance(wanted, direction.tap, [replace(few, reference=Probed(reference, everything.reference))])
        plain = kernel_guidance(wanted, direction.tap, [replace(few, reference=reference)])
        assert torch.equal(moved_by(one, probed, x), moved_by(one, plain, x))
        assert plain.estimator_errors == []
        return probed.estimator_errors

    (exact_one,), (rough,) = errors(everything.reference), errors(few.reference)
    assert (exact_one.relative_error, exact_one.timestep, exact_one.class_name) == (0, 300, "1")
    assert exact_one.cosine == pytest.approx(1)
    assert rough.relative_error is not None and rough.relative_error > 0.01
    assert rough.cosine is not None and rough.cosine < 0.9999


@pytest.mark.parametrize("size", [1e-30, 1e-9, 1.0, 1e30])
def test_the_cosine_of_two_gradients_does_not_depend_on_their_size(size):
    v = noise(2, 5, dtype=torch.float64)
    along = _error("1", T, (size * v).float(), (3 * size * v).float())
    across = _error("1", T, size * torch.tensor([[1.0, 0.0]]), size * torch.tensor([[0.0, 1.0]]))
    assert along.cosine == pytest.approx(1, abs=1e-6)
    assert along.relative_error == pytest.approx(2 / 3, rel=1e-6)
    assert (across.cosine, across.relative_error) == (pytest.approx(0), pytest.approx(2**0.5))


@pytest.mark.parametrize("bandwidth", [2.0, "median", "0.5x"])
def test_the_median_distance_of_every_class_and_block_is_noted(bandwidth):
    one, direction, wanted = exact(Objective.MMD, "rbf", bandwidth, tap=(1, 3))
    moved_by(one, direction, noise(4, 1, 4, 4, seed=9, dtype=torch.float64))
    noted = [(median.timestep, median.block, median.distance) for median in direction.median_distances]
    expected = []
    for target in tiny.targets(one, wanted, (1, 4), REFERENCES):
        parts = target.reference.at(T).split(target.reference.report.widths, 1)
        expected += [(300.0, block, median_heuristic(part)) for block, part in zip((1, 3), parts, strict=True)]
    assert noted == expected


def test_a_kernel_too_narrow_to_move_anything_has_no_error_to_tell():
    one, direction, wanted = exact(Objective.MMD, "rbf", 1e-6, classes=(1,))
    (target,) = tiny.targets(one, wanted, [1], REFERENCES)
    probed = kernel_guidance(wanted, direction.tap, [replace(target, reference=Probed(target.reference, target.reference))])
    assert not moved_by(one, probed, noise(2, 1, 4, 4, seed=9, dtype=torch.float64)).any()
    assert [(error.relative_error, error.cosine) for error in probed.estimator_errors] == [(None, None)]


@pytest.mark.parametrize("bandwidth", [0.4, 3.0, 1e5])
def test_a_gradient_of_any_size_is_pulled_back_at_an_ordinary_one(bandwidth):
    one, direction, _ = exact(Objective.MMD, "rbf", bandwidth)
    x = noise(4, 1, 4, 4, seed=9, dtype=torch.float64)
    state = tapped_pass(one, x, T, None, one.conditions(LABELS), 1.0, direction.tap, 10)
    pulled = []

    def vjp(negative_gradient):
        pulled.append(negative_gradient)
        return negative_gradient.sum(1).reshape(-1, 1, 1, 1).expand_as(x)

    moved = direction(replace(state, vjp=vjp))
    sizes, returned = pulled[0].abs().amax(1), moved.amax((1, 2, 3))
    assert torch.all((sizes >= 0.5) & (sizes < 1))
    assert torch.frexp(returned / pulled[0].sum(1))[0].tolist() == [0.5] * 4  # a power of two, and nothing else


def test_features_are_needed():
    x = noise(2, 1, 4, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match="no features of blocks"):
        exact("mmd", "rbf", "median")[1](StepState(x, T, None, x))
