from dataclasses import replace

import numpy as np
import pytest
import torch

from app.domain.errors import DeviceOutOfMemory
from app.domain.job import TaskKind
from app.domain.spec.bandwidth import Kernel
from app.domain.spec.evaluation import Arm
from app.domain.spec.guidance import Objective
from tests.unit.worker import tiny
from tests.unit.worker.numbers import noise
from worker.backbones.dit import DiTBackbone
from worker.sampling.class_set import sample_class_set
from worker.stages.job_plans import class_set_plan
from worker.stages.prepare import prepare
from worker.stages.sample import sample_classes
from worker.stages.stored_samples import columns_of

pytestmark = pytest.mark.slow

ONE_GREY = 1  # of 255: rounding to pixels may fall either way


class CrampedBackbone(DiTBackbone):
    """Runs out of memory on more than `room` images at once."""

    room: int

    def denoise(self, x_t, t, conditions, cfg_scale, block_numbers):
        if len(x_t) > self.room:
            raise torch.OutOfMemoryError("no room")
        return super().denoise(x_t, t, conditions, cfg_scale, block_numbers)


class CrampedRegistry:
    """Has one backbone, whatever the name."""

    def __init__(self, room):
        model = tiny.transformer()
        self.one = CrampedBackbone(tiny.info(model), revision="0", transformer=model, vae=None, scheduler_config=tiny.COSINE)
        self.one.room = room

    def get(self, _name):
        return self.one


def sampled(job, backbones=None, *, arm=Arm.GUIDED, classes=("7", "3"), **fields):
    """All images of a job whose classes are one task."""
    one = job(**fields)
    if backbones is not None:
        one.worker = replace(one.worker, backbones=backbones)
    one.run(prepare, TaskKind.PREPARE)
    one.run(sample_classes, TaskKind.SAMPLE, arm=arm, classes=list(classes))
    (columns,) = columns_of(one.context(TaskKind.PACKAGE), one.worker, arm, lambda: None)
    return columns


def test_every_image_comes_with_its_label_index_seed_rank_and_distance(job):
    columns = sampled(job, ipc=3)
    assert (columns["images"].shape, columns["images"].dtype) == ((6, 8, 8, 1), np.uint8)
    assert columns["label"].tolist() == [0, 0, 0, 1, 1, 1]
    assert columns["index"].tolist() == [0, 1, 2, 0, 1, 2]
    assert sorted(columns["rank"][:3]) == sorted(columns["rank"][3:]) == [0, 1, 2]
    assert len(set(columns["seed"])) == 6
    assert (columns["distance"] > 0).all()


def test_each_step_is_reported(job):
    one = job(steps=3)
    one.run(prepare, TaskKind.PREPARE)
    done = one.run(sample_classes, TaskKind.SAMPLE, arm=Arm.GUIDED, classes=["3"])
    assert [tick for tick in one.reports if tick[0]] == [(1, 3), (2, 3), (3, 3)]
    assert done.output.guidance_ratio == pytest.approx([one.spec.guidance.scale] * 3, rel=1e-5)


def test_the_same_job_gives_the_same_bytes_and_another_seed_gives_others(job):
    first, again, other = (sampled(job, seed=seed, scheduler="ddpm") for seed in (1, 1, 2))
    assert all(first[name].tobytes() == again[name].tobytes() for name in first)
    assert not np.array_equal(first["images"], other["images"])


def test_the_unguided_arm_is_the_job_with_guidance_off(job):
    unguided = sampled(job, arm=Arm.UNGUIDED)
    assert np.array_equal(unguided["images"], sampled(job, guidance={"objective": "none"})["images"])
    assert not np.array_equal(unguided["images"], sampled(job)["images"])


def test_guidance_of_scale_zero_changes_no_byte(job):
    assert np.array_equal(sampled(job, guidance={"scale": 0})["images"], sampled(job, guidance={"objective": "none"})["images"])


@pytest.mark.parametrize("ipc", [1, 2])
@pytest.mark.parametrize("fields", [{"kernel": kernel} for kernel in Kernel] + [{"kernel_bandwidth": [1.0, 4.0]}], ids=str)
def test_every_kernel_guides_ranks_and_measures_a_class_of_two_real_images(fields, ipc):
    wanted = tiny.spec(ipc=ipc, **fields, sampling={"scheduler": "ddim", "steps": 2})
    one = tiny.backbone()
    aims = tiny.targets(one, wanted, (1,), {1: noise(2, 1, 8, 8).clamp(-1, 1)})
    sampled = sample_class_set(class_set_plan(wanted, one), one, aims, batch=8)
    assert sorted(sampled.columns["rank"]) == list(range(ipc))
    assert np.isfinite(sampled.columns["distance"]).all()
    assert sampled.guidance_ratio == pytest.approx([wanted.guidance.scale] * 2, rel=1e-5)


@pytest.mark.parametrize("ipc", [1, 3])
def test_modes_guide_a_job_and_its_images_are_ranked_by_the_kernel(job, ipc):
    guided = sampled(job, ipc=ipc, guidance={"objective": "mode"}, kernel="laplacian")
    assert sorted(guided["rank"][:ipc]) == list(range(ipc))
    assert not np.array_equal(guided["images"], sampled(job, ipc=ipc, guidance={"objective": "none"})["images"])


def test_an_image_keeps_its_seed_when_more_are_asked_for(job):
    assert set(sampled(job, ipc=2)["seed"]) < set(sampled(job, ipc=4)["seed"])


def test_classes_in_tasks_of_their_own_are_those_of_one_task(job):
    one = job()
    one.run(prepare, TaskKind.PREPARE)
    for name in ("7", "3"):
        one.run(sample_classes, TaskKind.SAMPLE, arm=Arm.GUIDED, classes=[name])
    apart = list(columns_of(one.context(TaskKind.PACKAGE), one.worker, Arm.GUIDED, lambda: None))
    images = np.concatenate([part["images"] for part in apart]).astype(int)
    assert np.abs(images - sampled(job)["images"]).max() <= ONE_GREY


def test_the_set_is_measured_class_by_class_among_its_references(job):
    one = job(ipc=3, reference={"count": 8})
    one.run(prepare, TaskKind.PREPARE)
    first, second = one.run(sample_classes, TaskKind.SAMPLE, arm=Arm.GUIDED, classes=["7", "3"]).output.set_metrics
    assert (first.class_name, first.real, second.class_name) == ("7", 8, "3")
    assert 0 <= first.coverage <= 1


def test_a_class_of_few_references_is_not_measured(job):
    one = job(reference={"count": 5})
    one.run(prepare, TaskKind.PREPARE)
    assert one.run(sample_classes, TaskKind.SAMPLE, arm=Arm.GUIDED, classes=["7", "3"]).output.set_metrics == ()


@pytest.mark.parametrize("objective", Objective)
@pytest.mark.parametrize("room", [1, 2, 3])
def test_what_does_not_fit_at_once_is_sampled_in_parts_with_the_same_images(job, room, objective):
    whole, parts = (sampled(job, CrampedRegistry(room=size), guidance={"objective": objective}) for size in (10, room))
    assert np.abs(whole["images"].astype(int) - parts["images"]).max() <= ONE_GREY
    assert np.allclose(whole["distance"], parts["distance"], atol=1e-4)
    assert all(np.array_equal(whole[name], parts[name]) for name in ("index", "seed", "rank"))


def test_images_that_cannot_be_decoded_at_once_are_not_sampled_again(job):
    backbones, decoded = CrampedRegistry(room=10), []
    whole = backbones.one.decode

    def decode(latents):
        decoded.append(len(latents))
        if len(latents) > 1:
            raise torch.OutOfMemoryError("no room")
        return whole(latents)

    backbones.one.decode = decode
    images = sampled(job, backbones, classes=("7",))["images"]
    assert decoded == [2, 1, 1]
    assert np.array_equal(images, sampled(job, CrampedRegistry(room=10), classes=("7",))["images"])


def test_a_device_without_room_for_one_image_is_named(job):
    with pytest.raises(DeviceOutOfMemory, match="one image at a time on cpu"):
        sampled(job, CrampedRegistry(room=0))
