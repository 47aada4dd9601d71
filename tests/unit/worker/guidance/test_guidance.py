import pytest
import torch

from app.domain.spec.guidance import Guidance
from tests.unit.worker import tiny
from tests.unit.worker.numbers import noise
from worker.guidance.base import StepState
from worker.guidance.guidance import GuidanceTerm
from worker.guidance.scale import norms
from worker.stages.job_plans import tap_point


class Straight:
    """Always the same way."""

    tap = None

    def __call__(self, state):
        return 3 * torch.ones_like(state.x_t)


@pytest.mark.parametrize(
    ("start", "stop", "guided"),
    [(0.0, 1.0, range(10)), (0.5, 1.0, range(5, 10)), (0.0, 0.5, range(5)), (0.25, 0.31, range(3, 4))],
)
def test_guidance_is_active_from_start_up_to_stop(start, stop, guided):
    term = GuidanceTerm(Straight(), Guidance(start=start, stop=stop))
    assert [step for step in range(10) if term.active(step, 10)] == list(guided)


@pytest.mark.parametrize("guidance", [{"objective": "none"}, {"scale": 0}])
def test_there_is_no_guidance_where_none_is_asked_for(guidance):
    assert tiny.asked_guidance(tiny.backbone(), tiny.spec(guidance=guidance), []) is None


@pytest.mark.parametrize(("objective", "taps"), [("mmd", True), ("energy", True), ("mode", False)])
def test_only_a_direction_in_feature_space_has_a_tap(objective, taps):
    assert (tiny.guidance(tiny.backbone(), tiny.spec(guidance={"objective": objective}), []).tap is not None) is taps


@pytest.mark.parametrize(("asked", "blocks"), [(3, (3,)), (None, (1,)), ([3, 0.3], (1, 3)), ("transformer_blocks.1", (2,))])
def test_the_tap_is_the_one_asked_for_or_the_middle_of_the_depth(asked, blocks):
    assert tap_point(tiny.spec(guidance={"tap": asked}), tiny.backbone(blocks=3)).block_numbers == blocks


def test_the_direction_is_scaled():
    x, step = noise(2, 1, 4, 4), noise(2, 1, 4, 4, seed=1)
    state = StepState(x, torch.tensor(300), None, x)
    raw = GuidanceTerm(Straight(), Guidance.model_validate({"scale_mode": "paper", "scale": 2})).guidance(state, step)
    assert torch.equal(raw, torch.full_like(x, 6))
    relative = GuidanceTerm(Straight(), Guidance(scale=0.5)).guidance(state, step)
    assert torch.allclose(norms(relative), 0.5 * norms(step))


def test_images_without_a_gradient_are_noted_at_every_guided_step():
    class Halfway(Straight):
        def __call__(self, state):
            return super().__call__(state) * torch.tensor([1.0, 0.0])[:, None, None, None]

    term = GuidanceTerm(Halfway(), Guidance())
    x = noise(2, 1, 4, 4)
    for _ in range(3):
        term.guidance(StepState(x, torch.tensor(300), None, x), noise(2, 1, 4, 4, seed=1))
    assert [images.tolist() for images in term.without_gradient] == [[False, True]] * 3
