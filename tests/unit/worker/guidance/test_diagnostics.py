import pytest
import torch

from app.domain.spec.guidance import Guidance
from tests.unit.worker import tiny
from tests.unit.worker.numbers import noise
from worker.guidance.diagnostics import MedianDistanceSummary, WithoutGradient, median_distances, without_gradient
from worker.guidance.guidance import GuidanceTerm
from worker.guidance.kernel_guidance import KernelGuidance, MedianDistance
from worker.sampling.class_set import sample_class_set
from worker.stages.job_plans import class_set_plan

REAL = {label: noise(5, 1, 8, 8, seed=label).clamp(-1, 1) for label in (1, 4)}


def sampled(**fields):
    one = tiny.backbone()
    wanted = tiny.spec(sampling={"scheduler": "ddim", "steps": 4}, **fields)
    return sample_class_set(class_set_plan(wanted, one), one, tiny.targets(one, wanted, (1, 4), REAL), batch=8)


def test_a_kernel_of_the_median_leaves_no_image_without_a_gradient():
    one = sampled()
    assert one.without_gradient == WithoutGradient((0,) * 4, {"1": 0, "4": 0})
    assert [noted.timestep for noted in one.median_distance] == sorted({n.timestep for n in one.median_distance})[::-1]
    assert all(0 < noted.smallest <= noted.mean <= noted.largest for noted in one.median_distance)
    assert {noted.classes for noted in one.median_distance} == {2}


@pytest.mark.parametrize("mode", ["relative", "paper"])
def test_a_kernel_far_too_narrow_leaves_every_image_without_one_and_the_images_unguidance_termd(mode):
    one = sampled(kernel_bandwidth=1e-3, guidance={"scale_mode": mode})
    assert one.without_gradient == WithoutGradient((2 * 2,) * 4, {"1": 8, "4": 8})
    assert (one.columns["images"] == sampled(guidance={"objective": "none"}).columns["images"]).all()


def test_only_guidance_termd_steps_are_noted():
    one = sampled(guidance={"start": 0.5}, kernel_bandwidth=1e-3)
    assert (len(one.without_gradient.per_step), len(one.median_distance)) == (2, 2)
    plain = sampled(guidance={"objective": "none"})
    assert (plain.without_gradient, plain.median_distance) == (WithoutGradient((), {"1": 0, "4": 0}), ())


def test_the_images_of_each_class_are_counted_apart():
    one, wanted = tiny.backbone(), tiny.spec()
    guidance_term = GuidanceTerm(tiny.guidance(one, wanted, [])._direction, Guidance())
    guidance_term.without_gradient += [torch.tensor([True, False, False, False]), torch.tensor([True, True, False, True])]
    counts = without_gradient(guidance_term, tiny.targets(one, wanted, (1, 4), REAL))
    assert counts == WithoutGradient((1, 3), {"1": 3, "4": 1})


def test_distances_are_put_together_over_classes_at_each_timestep_and_block():
    one, wanted = tiny.backbone(), tiny.spec()
    guidance_term = tiny.guidance(one, wanted, [])
    assert isinstance(guidance_term._direction, KernelGuidance)
    guidance_term._direction.median_distances += [
        MedianDistance(*noted) for noted in ((9.0, 1, 2.0), (9.0, 1, 6.0), (9.0, 2, 1.0), (3.0, 1, 5.0))
    ]
    assert median_distances(guidance_term) == (
        MedianDistanceSummary(9.0, 1, 2, 4.0, smallest=2.0, largest=6.0),
        MedianDistanceSummary(9.0, 2, 1, 1.0, smallest=1.0, largest=1.0),
        MedianDistanceSummary(3.0, 1, 1, 5.0, smallest=5.0, largest=5.0),
    )
