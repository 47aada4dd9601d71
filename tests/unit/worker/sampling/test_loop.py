from dataclasses import replace

import pytest
import torch

from app.domain.errors import BackboneRejected, InvalidSpec
from app.domain.spec.guidance import Objective
from app.domain.spec.sampling import Sampling, Scheduler
from tests.unit.worker import tiny
from tests.unit.worker.kernels.statistics import mmd2_biased
from tests.unit.worker.numbers import noise
from worker.kernels.build import kernel_for
from worker.sampling import loop
from worker.sampling.loop import sample
from worker.sampling.tapped_pass import tapped_pass

pytestmark = pytest.mark.slow

SAMPLING = Sampling(scheduler=Scheduler.DDPM, steps=5)
REFERENCES = {label: (0.5 * noise(8, 1, 8, 8, seed=label)).clamp(-1, 1) for label in range(3)}
ROUNDING = 1e-4  # one image alone and in a batch go through different matrix products, whose rounding five steps amplify


@pytest.fixture(scope="module")
def one():
    return tiny.backbone()


def draw(one, wanted, classes=(0,), *, first=0, sampling=SAMPLING, **options):
    """The images of some classes, under the spec's guidance, from generators numbered `first` on."""
    conditions = one.conditions([label for label in classes for _ in range(wanted.ipc)])
    references = {label: latents.to(one.latent_dtype) for label, latents in REFERENCES.items()}
    guidance = tiny.asked_guidance(one, wanted, tiny.targets(one, wanted, classes, references))
    return sample(one, conditions, tiny.generators(len(conditions), first=first), sampling, guidance=guidance, **options)


@pytest.mark.parametrize("steps", [1, 7, 50, 999])
@pytest.mark.parametrize("scheduler", tiny.NOISE_SCHEDULERS)
def test_a_scheduler_takes_as_many_steps_as_asked_for(one, scheduler, steps):
    assert len(one.stepper(Sampling(scheduler=scheduler, steps=steps)).timesteps) == steps


@pytest.mark.parametrize("objective", Objective)
@pytest.mark.parametrize("scheduler", tiny.NOISE_SCHEDULERS)
def test_the_same_call_twice_gives_the_same_bytes(one, scheduler, objective):
    wanted = tiny.spec(guidance={"objective": objective})
    sampling = Sampling(scheduler=scheduler, steps=3)
    twice = [draw(one, wanted, sampling=sampling).latents for _ in range(2)]
    assert torch.equal(*twice)


@pytest.mark.parametrize("objective", ["none", "induced-distance"])
def test_an_image_depends_neither_on_its_place_in_the_batch_nor_on_ipc(one, objective):
    guidance = {"objective": objective}
    five = draw(one, tiny.spec(ipc=5, guidance=guidance)).latents
    alone = draw(one, tiny.spec(ipc=1, guidance=guidance), first=3).latents
    assert torch.allclose(five[3:4], alone, atol=ROUNDING)


@pytest.mark.parametrize("objective", Objective)
def test_a_class_does_not_depend_on_the_other_classes_of_the_batch(one, objective):
    wanted = tiny.spec(ipc=2, guidance={"objective": objective})
    together = draw(one, wanted, (0, 1, 2)).latents
    alone = draw(one, wanted, (1,), first=2).latents
    assert torch.allclose(together[2:4], alone, atol=ROUNDING)


@pytest.mark.parametrize("cfg_scale", [1.0, 4.0])
@pytest.mark.parametrize("objective", Objective)
@pytest.mark.parametrize("batch", [1, 3, 4])
def test_a_batch_in_parts_gives_the_same_images_to_rounding(batch, objective, cfg_scale):
    exact = tiny.backbone(model=tiny.transformer().double())
    wanted = tiny.spec(guidance={"objective": objective})
    sampling = Sampling(steps=5, cfg_scale=cfg_scale)
    whole, parts = (draw(exact, wanted, (0, 1, 2), sampling=sampling, batch=size).latents for size in (None, batch))
    assert torch.allclose(whole, parts, rtol=0, atol=1e-9)


@pytest.mark.parametrize("guidance", [{"objective": "none"}, {"scale": 0}, {"start": 0.95}])
def test_guidance_that_is_off_changes_no_byte(one, guidance):
    plain = sample(one, one.conditions([0, 0]), tiny.generators(2), SAMPLING)
    assert torch.equal(draw(one, tiny.spec(guidance=guidance)).latents, plain.latents)


@pytest.mark.parametrize(("start", "stop", "guided"), [(0.0, 1.0, "11111"), (0.6, 1.0, "00011"), (0.0, 0.6, "11100")])
def test_only_the_steps_between_start_and_stop_are_guided(one, start, stop, guided):
    ratios = draw(one, tiny.spec(guidance={"start": start, "stop": stop})).guidance_ratio
    assert "".join(str(int(ratio > 0)) for ratio in ratios) == guided


def test_the_ratio_of_a_relative_step_is_gamma(one):
    ratios = draw(one, tiny.spec(guidance={"scale": 0.7})).guidance_ratio
    assert ratios == pytest.approx([0.7] * 5, rel=1e-5)


@pytest.mark.parametrize("scheduler", tiny.NOISE_SCHEDULERS)
def test_guidance_that_diverges_is_refused_naming_the_scale(one, scheduler):
    wanted = tiny.spec(kernel="linear", guidance={"scale": 1e6, "scale_mode": "paper"})
    with pytest.raises(InvalidSpec, match="diverged at step") as refused:
        draw(one, wanted, sampling=Sampling(scheduler=scheduler, steps=20, cfg_scale=100))
    assert refused.value.problems[0].field == "guidance.scale"


@pytest.mark.parametrize("objective", ["none", "mmd"])
def test_a_model_that_is_no_longer_finite_is_named_and_not_the_scale(objective):
    model = tiny.transformer()
    with torch.no_grad():
        model.proj_out_2.weight.fill_(torch.inf)
    with pytest.raises(BackboneRejected, match=r"'tiny': it is not finite in float32 at step 1"):
        draw(tiny.backbone(model=model), tiny.spec(guidance={"objective": objective}))


@pytest.mark.parametrize("objective", ["none", "mmd"])
@pytest.mark.parametrize("schedule", [tiny.COSINE, tiny.LINEAR], ids=["clipped", "unclipped"])
def test_float16_that_overflows_is_named_with_the_setting_to_change(objective, schedule):
    model = tiny.transformer()
    with torch.no_grad():
        model.proj_out_2.bias.fill_(60_000.0)
        model.proj_out_2.weight.fill_(60_000.0)
    half = tiny.backbone(model=model.to(torch.float16), schedule=schedule)
    with pytest.raises(BackboneRejected, match=r"float16 at step 1: .*set DAPPLE_DTYPE to bfloat16 or float32"):
        draw(half, tiny.spec(guidance={"objective": objective}))


@pytest.mark.parametrize(("objective", "hinted"), [("none", False), ("mmd", True)])
@pytest.mark.parametrize("schedule", [tiny.COSINE, tiny.LINEAR], ids=["clipped", "unclipped"])
def test_a_model_that_is_no_longer_finite_after_a_guided_step_may_be_due_to_the_scale(monkeypatch, objective, hinted, schedule):
    steps = []

    def infinite_at_step_3(*arguments):
        steps.append(0)
        state = tapped_pass(*arguments)
        return replace(state, prediction=state.prediction * torch.inf) if len(steps) == 3 else state

    monkeypatch.setattr(loop, "tapped_pass", infinite_at_step_3)
    with pytest.raises(BackboneRejected, match="it is not finite in float32") as refused:
        draw(tiny.backbone(schedule=schedule), tiny.spec(guidance={"objective": objective}))
    assert ("choose a smaller guidance.scale" in str(refused.value)) is hinted


def test_every_step_is_told_after_it_is_done(one):
    told = []
    draw(one, tiny.spec(), report=lambda done, steps: told.append((done, steps)))
    assert told == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


def test_an_exception_from_the_report_stops_at_that_step(one):
    told = []

    def stop_at_two(done, _steps):
        told.append(done)
        if done == 2:
            raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        draw(one, tiny.spec(), report=stop_at_two)
    assert told == [1, 2]


@pytest.mark.parametrize("objective", Objective)
def test_the_global_generator_and_the_weights_are_left_as_they_were(objective):
    model = tiny.transformer()
    one = tiny.backbone(model=model)
    weights = [weight.clone() for weight in model.parameters()]
    state = torch.random.get_rng_state()
    draw(one, tiny.spec(guidance={"objective": objective}))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(weight, before) for weight, before in zip(model.parameters(), weights, strict=True))
    assert all(weight.grad is None and not weight.requires_grad for weight in model.parameters())


def test_the_latents_carry_no_graph(one):
    assert not draw(one, tiny.spec()).latents.requires_grad


@pytest.mark.parametrize("scale", [{"scale_mode": "relative", "scale": 1.0}, {"scale_mode": "paper", "scale": 20.0}], ids=str)
@pytest.mark.parametrize("objective", [objective for objective in Objective if objective is not Objective.NONE])
def test_guided_images_are_nearer_to_the_real_ones_than_unguided_images(one, objective, scale):
    sampling = Sampling(scheduler=Scheduler.DDIM, steps=10)

    def features(latents):
        return one.hidden(latents, torch.tensor(0), one.conditions([1] * len(latents)), (1,))[0].flatten(1)

    def discrepancy(guidance):
        wanted = tiny.spec(ipc=6, guidance=guidance)
        synthetic, real = features(draw(one, wanted, (1,), sampling=sampling).latents), features(REFERENCES[1])
        return mmd2_biased(kernel_for(wanted.kernel_choice, real, (real.shape[1],)), synthetic, real).item()

    assert discrepancy({"objective": objective, **scale}) < 0.8 * discrepancy({"objective": "none"})
