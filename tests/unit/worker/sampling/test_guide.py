import pytest
import torch

from app.domain.spec import Objective
from tests.unit.worker import tiny
from tests.unit.worker.numbers import central_differences, noise
from worker.guidance.kernel import kernel_for
from worker.guidance.objectives import objective_for
from worker.sampling.guide import default_tap, guide_for

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


def exact_guide(objective, kernel, bandwidth, *, tap=2, classes=(1, 4)):
    """A float64 backbone, and a guide to two images of each class."""
    one = tiny.backbone(model=tiny.transformer(size=4).double())
    wanted = tiny.spec(kernel=kernel, kernel_bandwidth=bandwidth, guidance={"objective": objective, "tap": tap})
    return one, tiny.guide(one, wanted, tiny.targets(classes, 2, REFERENCES)), wanted


def gradient(one, guide, x):
    x = x.clone().requires_grad_()
    denoised = one.denoise(x, T, LABELS[: len(x)], 1.0, guide.tap)
    return guide.gradient(denoised.features, x, T)


@pytest.mark.parametrize("tap", [1, 3])
@pytest.mark.parametrize(
    ("objective", "kernel", "bandwidth"),
    [(objective, *kernel) for objective in KERNEL_OBJECTIVES for kernel in KERNELS] + [(Objective.ENERGY, "rbf", "median")],
)
def test_the_gradient_through_the_backbone_equals_central_differences(objective, kernel, bandwidth, tap):
    one, guide, wanted = exact_guide(objective, kernel, bandwidth, tap=tap, classes=(1,))
    real = guide.reference_features(tiny.targets([1], 2, REFERENCES)[0], T)

    def f(x):
        return objective_for(wanted.guidance)(kernel_for(wanted, real), one.features(x, T, LABELS[:2], tap), real)

    x = noise(2, 1, 4, 4, seed=9, dtype=torch.float64)
    differences = central_differences(f, x, h=1e-4)
    assert differences.norm() > 1e-3
    assert torch.allclose(gradient(one, guide, x), -differences, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("objective", "knows"), [(Objective.INDUCED_DISTANCE, False), (Objective.MMD, True), (Objective.ENERGY, True)]
)
def test_only_under_a_set_objective_an_image_knows_of_the_others_of_its_class(objective, knows):
    one, guide, _ = exact_guide(objective, "rbf", "median")
    x = noise(4, 1, 4, 4, seed=9, dtype=torch.float64)
    moved = x.clone()
    moved[1] += 1
    before, after = gradient(one, guide, x), gradient(one, guide, moved)
    assert torch.allclose(before[0], after[0], rtol=1e-9) is not knows


@pytest.mark.parametrize("objective", FEATURE_OBJECTIVES)
def test_no_image_knows_of_other_classes(objective):
    one, guide, _ = exact_guide(objective, "rbf", "median")
    x = noise(4, 1, 4, 4, seed=9, dtype=torch.float64)
    moved = x.clone()
    moved[:2] += 1
    assert torch.allclose(gradient(one, guide, x)[2:], gradient(one, guide, moved)[2:], rtol=1e-9)


def test_reference_features_are_those_of_the_real_images_noised_to_the_timestep():
    one, guide, _ = exact_guide("mmd", "rbf", "median")
    aim = tiny.targets([4], 2, REFERENCES)[0]
    late, early = (guide.reference_features(aim, torch.tensor(t)) for t in (0, 900))
    clean = one.features(aim.reference, torch.tensor(0), torch.full((5,), 4), guide.tap)
    assert torch.dist(late, clean) < 0.2 * torch.dist(early, clean)
    assert torch.equal(late, guide.reference_features(aim, torch.tensor(0)))


@pytest.mark.parametrize(
    ("start", "stop", "guided"),
    [(0.0, 1.0, range(10)), (0.5, 1.0, range(5, 10)), (0.0, 0.5, range(5)), (0.25, 0.31, range(3, 4))],
)
def test_guidance_is_active_from_start_up_to_stop(start, stop, guided):
    wanted = tiny.spec(guidance={"start": start, "stop": stop})
    guide = tiny.guide(tiny.backbone(), wanted, [])
    assert [step for step in range(10) if guide.active(step, 10)] == list(guided)


@pytest.mark.parametrize("guidance", [{"objective": "none"}, {"scale": 0}])
def test_there_is_no_guide_where_none_is_asked_for(guidance):
    assert guide_for(tiny.backbone(), tiny.spec(guidance=guidance), []) is None


def test_the_tap_is_the_one_asked_for_or_the_middle_of_the_depth():
    one = tiny.backbone(blocks=3)
    assert tiny.guide(one, tiny.spec(guidance={"tap": 3}), []).tap == 3
    assert tiny.guide(one, tiny.spec(), []).tap == default_tap(3) == 1
    assert (default_tap(1), default_tap(28)) == (1, 14)
