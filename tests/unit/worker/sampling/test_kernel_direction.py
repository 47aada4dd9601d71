import pytest
import torch

from app.domain.spec import Objective
from tests.unit.worker import tiny
from tests.unit.worker.numbers import central_differences, noise
from worker.guidance.kernel import kernel_for
from worker.guidance.objectives import objective_for
from worker.sampling.direction import StepState
from worker.sampling.kernel_direction import KernelDirection, default_tap

T = torch.tensor(300)
LABELS = torch.tensor([1, 1, 4, 4])
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


def exact(objective, kernel, bandwidth, *, tap=2, classes=(1, 4)):
    """A float64 backbone, and the direction of two images of each class."""
    one = tiny.backbone(model=tiny.transformer(size=4).double())
    wanted = tiny.spec(kernel=kernel, kernel_bandwidth=bandwidth, guidance={"objective": objective, "tap": tap})
    return one, KernelDirection(one, wanted, tiny.targets(classes, 2, REFERENCES)), wanted


def moved_by(one, direction, x):
    x = x.clone().requires_grad_()
    denoised = one.denoise(x, T, LABELS[: len(x)], 1.0, direction.tap)
    return direction(StepState(x, T, None, denoised.eps, denoised.features))


@pytest.mark.parametrize("tap", [1, 3])
@pytest.mark.parametrize(
    ("objective", "kernel", "bandwidth"),
    [(objective, *kernel) for objective in KERNEL_OBJECTIVES for kernel in KERNELS] + [(Objective.ENERGY, "rbf", "median")],
)
def test_the_direction_is_minus_the_gradient_through_the_backbone_by_central_differences(objective, kernel, bandwidth, tap):
    one, direction, wanted = exact(objective, kernel, bandwidth, tap=tap, classes=(1,))
    real = direction.reference_features(tiny.targets([1], 2, REFERENCES)[0], T)

    def f(x):
        return objective_for(wanted.guidance)(kernel_for(wanted, real), one.features(x, T, LABELS[:2], tap), real)

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


def test_reference_features_are_those_of_the_real_images_noised_to_the_timestep():
    one, direction, _ = exact("mmd", "rbf", "median")
    aim = tiny.targets([4], 2, REFERENCES)[0]
    late, early = (direction.reference_features(aim, torch.tensor(t)) for t in (0, 900))
    clean = one.features(aim.reference, torch.tensor(0), torch.full((5,), 4), direction.tap)
    assert torch.dist(late, clean) < 0.2 * torch.dist(early, clean)
    assert torch.equal(late, direction.reference_features(aim, torch.tensor(0)))


def test_the_tap_is_the_one_asked_for_or_the_middle_of_the_depth():
    one = tiny.backbone(blocks=3)
    assert KernelDirection(one, tiny.spec(guidance={"tap": 3}), []).tap == 3
    assert KernelDirection(one, tiny.spec(), []).tap == default_tap(3) == 1
    assert (default_tap(1), default_tap(28)) == (1, 14)


def test_features_are_needed():
    x = noise(2, 1, 4, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match="no features of block 2"):
        exact("mmd", "rbf", "median")[1](StepState(x, T, None, x))
