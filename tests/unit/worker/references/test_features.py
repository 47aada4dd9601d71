import numpy as np
import pytest
import torch

from app.domain.errors import BackboneRejected
from app.domain.spec.reference import ReferenceSelection
from tests.unit.worker import tiny
from tests.unit.worker.references.class_images import SIDE, Formula, class_images, known, plan_of, steps
from worker.references.features import COMPARED, PROBE_IMAGES, RealFeatures, encoded, spread
from worker.references.selection import MOST_CANDIDATES, choose, noise

STEPS = steps(900, 600, 300)


def real(backbone, of, *, timesteps=STEPS, taps=(2,), batch=8, heartbeat=lambda: None, **fields):
    return RealFeatures(plan_of(tiny.spec(**fields), timesteps, taps), backbone, of, batch, heartbeat)


def many_images(count):
    """A class of so many images that are only drawn when they are read; and how many were read."""
    read = []

    def pixels(positions):
        read.append(len(positions))
        return np.repeat((positions % 251).astype(np.uint8), SIDE * SIDE).reshape(-1, SIDE, SIDE, 1)

    return class_images(count, read=pixels), read


@pytest.mark.parametrize(
    ("n", "positions"), [(0, []), (1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (4, [0, 2, 3]), (50, [8, 25, 41]), (51, [8, 25, 42])]
)
def test_probes_are_spread_evenly(n, positions):
    timesteps = steps(*range(1000, 1000 - n, -1))
    assert [t.item() for t in spread(timesteps, 3)] == [1000 - position for position in positions]


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_nothing_larger_than_a_batch_is_computed_and_each_batch_ticks(batch):
    ticks = []
    backbone = Formula()
    work = real(
        backbone, class_images(), batch=batch, heartbeat=lambda: ticks.append(0), reference={"count": 7, "probes": True}
    )
    blocks = [*work.references(), *work.probes()]
    assert [len(block) for block in blocks] == [7] * 4 + [20] * 3
    assert max(backbone.passes + backbone.encoded) <= batch
    assert len(ticks) == len(backbone.passes) + len(backbone.encoded)


def test_features_do_not_depend_on_the_batch():
    blocks = [[*real(Formula(), class_images(), batch=batch).references()] for batch in (1, 7)]
    assert all(torch.equal(one, other) for one, other in zip(*blocks, strict=True))


def test_each_image_is_encoded_once_for_the_choice_the_references_and_the_probes():
    backbone = Formula()
    work = real(backbone, class_images(), reference={"count": 7, "selection": "kmeans", "probes": True})
    for _ in (*work.references(), *work.probes(), work.projection_error(), work.widths()):
        pass
    assert sum(backbone.encoded) == 20


@pytest.mark.parametrize("selection", ReferenceSelection)
def test_the_references_are_those_that_are_chosen_and_their_noise_is_kept(selection):
    of, backbone = class_images(), Formula()
    work = real(backbone, of, reference={"count": 7, "selection": selection})
    latents = encoded(backbone, of.split, range(20), batch=20, heartbeat=lambda: None)
    chosen = latents[choose(latents, 7, selection, class_name="cat")]
    *_, clean = work.references()
    for t, (seen_t, x_t) in zip(STEPS, backbone.seen, strict=False):
        assert seen_t == t.item()
        assert torch.equal(x_t, backbone.add_noise(chosen, noise(chosen.shape, "cat", t.item()), t))
    assert torch.equal(backbone.seen[3][1], chosen)
    assert backbone.seen[3][0] == 0
    assert clean.shape == (7, 48)


@pytest.mark.parametrize("count", [20, 30])
def test_a_class_that_is_its_own_reference_has_no_probes(count):
    work = real(Formula(), class_images(), reference={"count": count, "probes": True})
    assert [len(block) for block in work.references()] == [20] * 4
    assert work.reference_count == 20
    assert work.probe_count == 0
    assert list(work.probes()) == []


def test_a_class_is_probed_only_where_a_job_asks():
    work = real(Formula(), class_images(), reference={"count": 7})
    assert list(work.probes()) == []


def test_two_images_are_enough():
    work = real(Formula(), class_images(2))
    assert [len(block) for block in work.references()] == [2] * 4
    assert work.projection_error() is not None


def test_without_timesteps_there_are_clean_features_only():
    work = real(Formula(), class_images(), timesteps=[], reference={"count": 7, "probes": True})
    assert [len(block) for block in work.references()] == [7]
    assert list(work.probes()) == []


@pytest.mark.parametrize(("selection", "most"), [("random", 8 + PROBE_IMAGES), ("kmeans", MOST_CANDIDATES + PROBE_IMAGES)])
def test_a_class_of_any_size_costs_no_more_than_its_candidates_and_probes(selection, most):
    of, read = many_images(50_000)
    work = real(Formula(), of, timesteps=STEPS[:1], batch=512, reference={"count": 8, "selection": selection, "probes": True})
    assert [len(block) for block in work.references()] == [8, 8]
    assert [len(block) for block in work.probes()] == [PROBE_IMAGES]
    assert PROBE_IMAGES <= sum(read) <= most


def test_probes_have_noise_of_their_own():
    backbone = Formula()
    work = real(backbone, class_images(), batch=100, reference={"count": 19, "probes": True})
    (at_900, *_), (probed, *_) = work.references(), work.probes()
    images = encoded(backbone, work.class_images.split, range(20), batch=20, heartbeat=lambda: None)
    eps = noise(images.shape, "cat", 900, use="probe-noise")
    assert len(at_900) == 19
    assert len(probed) == 20
    assert torch.equal(backbone.seen[-3][1], backbone.add_noise(images, eps, STEPS[0]))


@pytest.mark.parametrize("features", ["tokens", "pooled"])
def test_what_is_not_projected_has_no_error(features):
    assert real(Formula(), class_images(), guidance={"features": features}).projection_error() is None


def test_what_is_narrow_enough_is_projected_without_error():
    assert real(Formula(), class_images(), guidance={"projection": 64}, taps=(1, 2)).projection_error() == (0.0, 0.0)


def test_the_error_of_the_projection_is_measured_between_some_of_the_references():
    backbone = Formula(width=8)
    work = real(backbone, class_images(100), guidance={"projection": 64}, taps=(1, 3), batch=100, reference={"count": 50})
    error = work.projection_error()
    assert error is not None
    assert 0 < error[0] < error[1] < 1
    assert max(backbone.passes) == COMPARED
    assert work.widths() == (64, 64)


def test_flow_matching_counts_in_fractions():
    backbone = Formula(info=known(flow=True))
    list(real(backbone, class_images(), timesteps=steps(937.5)).references())
    assert [t for t, _ in backbone.seen] == [937.5] * 3 + [0.0] * 3


@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_hidden_states_that_are_no_numbers_are_refused_by_name(scale):
    with pytest.raises(BackboneRejected, match=r"'formula'.*not finite in float32 for 'cat' after block two at timestep 900"):
        list(real(Formula(scale=scale), class_images()).references())
