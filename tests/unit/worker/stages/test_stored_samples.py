import errno
import io
import os
from contextlib import contextmanager

import pytest

from app.domain.errors import Cancelled, SamplesDamaged
from app.domain.job import TaskKind
from app.domain.spec.evaluation import Arm
from worker.stages.evaluate import training_sets
from worker.stages.package import package
from worker.stages.prepare import dataset_of, prepare
from worker.stages.sample import sample_classes
from worker.stages.stored_samples import columns_of

pytestmark = pytest.mark.slow

GROUPS = ((Arm.GUIDED, "7"), (Arm.GUIDED, "3"), (Arm.UNGUIDED, "7"))


@pytest.fixture
def one(job):
    """A job whose classes were sampled in tasks of their own."""
    new = job(evaluation={})
    new.run(prepare, TaskKind.PREPARE)
    for arm, name in GROUPS:
        new.run(sample_classes, TaskKind.SAMPLE, arm=arm, classes=[name])
    return new


def path_of(one, number):
    return one.worker.settings.artifacts_dir / one.finished[TaskKind.SAMPLE][number].output["key"]


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def flip(path):
    """One bit, in the middle of an image."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def link(path):
    elsewhere = path.with_name("elsewhere")
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


DAMAGE = [lambda path: path.unlink(), lambda path: path.write_bytes(b""), cut, link, flip]


def read(one, arm=Arm.GUIDED, heartbeat=lambda: None):
    return columns_of(one.context(TaskKind.PACKAGE), one.worker, arm, heartbeat)


def test_the_tasks_of_an_arm_are_read_in_order_and_those_of_others_left_out(one):
    assert [part["label"].tolist() for part in read(one)] == [[0, 0], [1, 1]]
    assert [part["label"].tolist() for part in read(one, Arm.UNGUIDED)] == [[0, 0]]


@pytest.mark.parametrize("damage", DAMAGE, ids=["missing", "empty", "cut", "linked", "flipped"])
def test_every_damaged_or_missing_file_is_named(one, damage):
    for number in (0, 1):
        damage(path_of(one, number))
    with pytest.raises(SamplesDamaged) as refused:
        list(read(one))
    assert list(refused.value.keys) == [output.key for output in one.context(TaskKind.PACKAGE).sampled(Arm.GUIDED)]
    assert len(list(read(one, Arm.UNGUIDED))) == 1


@pytest.mark.parametrize("damage", DAMAGE[:4], ids=["missing", "empty", "cut", "linked"])
def test_what_an_earlier_version_stored_without_a_hash_is_checked_as_far_as_can_be(one, damage):
    for output in (task.output for task in one.finished[TaskKind.SAMPLE]):
        del output["sha256"]
    assert len(list(read(one))) == 2
    damage(path_of(one, 0))
    with pytest.raises(SamplesDamaged):
        list(read(one))


def test_the_stages_that_read_samples_name_the_damaged_ones(one):
    flip(path_of(one, 1))
    context = one.context(TaskKind.EVALUATE)
    with pytest.raises(SamplesDamaged):
        training_sets(Arm.GUIDED, context, one.worker, dataset_of(context, one.worker))
    with pytest.raises(SamplesDamaged):
        one.run(package, TaskKind.PACKAGE)


class BadBlock(io.BytesIO):
    """A file on a disk that cannot read it, for the reason of this number."""

    number = errno.EIO

    def read(self, *_):
        raise OSError(self.number, os.strerror(self.number))


class AwayBlock(BadBlock):
    number = errno.ESTALE


def opens_as(stream):
    @contextmanager
    def open_(_key):
        yield stream

    return open_


def test_a_file_that_its_disk_cannot_read_is_damaged(one, monkeypatch):
    monkeypatch.setattr(one.worker.store, "open", opens_as(BadBlock()))
    with pytest.raises(SamplesDamaged) as refused:
        list(read(one))
    assert len(refused.value.keys) == 2


def test_a_file_that_cannot_be_read_now_is_not_damaged(one, monkeypatch):
    monkeypatch.setattr(one.worker.store, "open", opens_as(AwayBlock()))
    with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
        list(read(one))


def test_reading_may_be_stopped(one):
    def stop():
        raise Cancelled("asked to stop")

    with pytest.raises(Cancelled):
        list(read(one, heartbeat=stop))
