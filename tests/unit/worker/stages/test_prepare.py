from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from app.domain.errors import BackboneUnavailable, DatasetRejected, InvalidSpec
from app.domain.job import Progress, TaskKind, WarningCode
from app.domain.plan import later_tasks
from app.domain.spec.evaluation import Arm
from tests.unit.worker import tiny
from worker.stages.job_plans import class_images
from worker.stages.prepare import cache_warnings, dataset_of, least_images, prepare
from worker.training.model import save

pytestmark = pytest.mark.slow


def field_at_fault(refused):
    return refused.value.problems[0].field


def test_the_output_says_what_the_job_works_on(job):
    one = job(classes=None)
    output = one.run(prepare, TaskKind.PREPARE).output
    assert (output.train_images, output.test_images, output.bad_files) == (1347, 450, ())
    assert output.backbone_revision == one.worker.backbones.get("tiny").revision


def test_features_that_fit_into_the_cache_need_no_warning(job):
    done = job().run(prepare, TaskKind.PREPARE)
    assert done.warnings == []
    assert done.output.feature_bytes > 0


def test_features_beyond_the_cache_are_warned_of_with_what_helps(job):
    one = job()
    one.worker = replace(one.worker, settings=one.worker.settings.model_copy(update={"cache_bytes": 1000}))
    done = one.run(prepare, TaskKind.PREPARE)
    (warning,) = done.warnings
    assert warning.code is WarningCode.CACHE_TOO_SMALL
    assert "those of 0 of 2 classes stay" in warning.message
    assert "DAPPLE_CACHE_BYTES" in warning.message


def test_a_warning_counts_the_classes_that_fit():
    assert cache_warnings([10, 20], 30) == []
    (warning,) = cache_warnings([10, 20, 30], 40)
    assert "2 of 3 classes" in warning.message


def test_classes_keep_the_order_asked_for_and_the_labels_of_the_backbone(job):
    one = job(classes=["7", "3"])
    classes = one.run(prepare, TaskKind.PREPARE).output.classes
    context = one.context(TaskKind.SAMPLE)
    images = class_images(one.spec, context.backbone(one.worker), dataset_of(context, one.worker), classes)
    assert [(each.class_name, each.conditions.given[0].item()) for each in images] == [("7", 7), ("3", 3)]


def test_the_rest_of_the_job_is_planned_from_the_classes_found(job):
    one = job(classes=None, ipc=20, evaluation={})
    assert one.run(prepare, TaskKind.PREPARE).then == later_tasks(one.spec, [str(label) for label in range(10)])


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"guidance": {"tap": 4}}, "guidance.tap"),
        ({"classes": ["3", "cat"]}, "classes"),
        ({"backbone": "other"}, "backbone"),
        ({"dataset_uri": "file:///elsewhere"}, "dataset_uri"),
    ],
)
def test_what_cannot_be_distilled_is_refused_naming_the_field(job, fields, field):
    with pytest.raises(InvalidSpec) as refused:
        job(**fields).run(prepare, TaskKind.PREPARE)
    assert field_at_fault(refused) == field


@pytest.mark.parametrize("size", [4, 66])
def test_images_too_small_or_too_large_to_evaluate_are_refused_before_any_work(job, size):
    one = job(evaluation={}, backbone="odd")
    save(one.worker.settings.data_dir / "backbones" / "odd", tiny.transformer(size=size), [str(label) for label in range(10)])
    with pytest.raises(InvalidSpec, match=f"8 to 64 pixels; those of odd have {size}") as refused:
        one.run(prepare, TaskKind.PREPARE)
    assert field_at_fault(refused) == "evaluation.protocol"


def test_a_broken_backbone_is_unavailable(job):
    one = job()
    (one.worker.settings.data_dir / "backbones" / "tiny" / "scheduler" / "scheduler_config.json").unlink()
    with pytest.raises(BackboneUnavailable, match="tiny"):
        one.run(prepare, TaskKind.PREPARE)


@pytest.mark.parametrize(
    ("evaluation", "least"), [(None, 2), ({"arms": [Arm.GUIDED, Arm.FULL]}, 2), ({"arms": [Arm.KMEANS_REAL]}, 5), ({}, 5)]
)
def test_real_baselines_need_as_many_images_as_are_made(evaluation, least):
    assert least_images(tiny.spec(ipc=5, evaluation=evaluation)) == least


def test_a_single_image_is_enough_for_no_distance():
    assert least_images(tiny.spec(ipc=1, evaluation={})) == 2


def images_of(root, count, shade=0):
    for name in ("3", "7"):
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            Image.new("L", (8, 8), shade + index).save(root / name / f"{index}.png")


def test_of_two_images_none_is_held_out_so_that_an_evaluation_is_rejected(job, tmp_path):
    images_of(tmp_path / "few", 2)
    asked = {"dataset_uri": (tmp_path / "few").as_uri(), "classes": None}
    output = job(**asked).run(prepare, TaskKind.PREPARE).output
    assert (output.train_images, output.test_images) == (4, 0)
    with pytest.raises(DatasetRejected, match="no image of these classes to evaluate on"):
        job(**asked, evaluation={}).run(prepare, TaskKind.PREPARE)


def test_a_single_image_is_too_few(job, tmp_path):
    images_of(tmp_path / "one", 1)
    with pytest.raises(DatasetRejected, match="class '3' has 1 training images"):
        job(dataset_uri=(tmp_path / "one").as_uri(), classes=None).run(prepare, TaskKind.PREPARE)


def test_a_job_goes_on_with_the_images_that_it_imported_whatever_becomes_of_their_source(job, tmp_path):
    images_of(tmp_path / "images", 8)
    one = job(dataset_uri=(tmp_path / "images").as_uri(), classes=None)
    one.run(prepare, TaskKind.PREPARE)
    context = one.context(TaskKind.SAMPLE)
    before = dataset_of(context, one.worker).train.images(range(12))
    images_of(tmp_path / "images", 8, shade=100)
    another_process = replace(one.worker)
    assert np.array_equal(dataset_of(context, another_process).train.images(range(12)), before)
    one.worker.store.delete_prefix("datasets/")
    with pytest.raises(DatasetRejected, match=r"is gone .*; submit the job again"):
        dataset_of(context, replace(one.worker))


def test_a_backbone_that_changes_while_the_job_runs_is_refused(job):
    one = job()
    one.run(prepare, TaskKind.PREPARE)
    save(one.worker.settings.data_dir / "backbones" / "tiny", tiny.transformer(seed=1), [str(label) for label in range(10)])
    with pytest.raises(InvalidSpec, match="tiny changed while the job was running") as refused:
        one.context(TaskKind.SAMPLE).backbone(one.worker)
    assert field_at_fault(refused) == "backbone"


def test_an_evaluation_without_test_images_of_its_classes_is_rejected_before_any_work(job, tmp_path):
    images_of(tmp_path / "set" / "train", 8)
    images_of(tmp_path / "set" / "test", 2)
    for image in (tmp_path / "set" / "test" / "3").iterdir():
        image.unlink()
    asked = {"dataset_uri": (tmp_path / "set").as_uri(), "classes": ["3"]}
    assert job(**asked).run(prepare, TaskKind.PREPARE).output.test_images == 0
    with pytest.raises(DatasetRejected, match="no image of these classes"):
        job(**asked, evaluation={}).run(prepare, TaskKind.PREPARE)


def test_more_steps_than_the_schedule_has_are_refused_before_any_work(job):
    with pytest.raises(InvalidSpec, match="1000 different steps") as refused:
        job(scheduler="dpm-solver++", steps=1000).run(prepare, TaskKind.PREPARE)
    assert field_at_fault(refused) == "sampling.steps"
    assert job(scheduler="ddpm", steps=1000).run(prepare, TaskKind.PREPARE).then


def test_reading_again_leaves_the_planned_units_as_they_are(job, tmp_path):
    images_of(tmp_path / "images", 8)
    one = job(dataset_uri=(tmp_path / "images").as_uri(), classes=None)
    one.run(prepare, TaskKind.PREPARE)
    context = one.context(TaskKind.SAMPLE)
    planned = replace(context.lease.task, progress=Progress(0, 50))
    one.reports.clear()
    dataset_of(replace(context, lease=replace(context.lease, task=planned)), replace(one.worker)).train.images([0])
    assert set(one.reports) == {(0, 50)}


def test_a_test_split_that_lacks_a_class_is_a_warning_of_the_evaluation(job, tmp_path):
    images_of(tmp_path / "set" / "train", 8)
    images_of(tmp_path / "set" / "test", 2, shade=100)
    for image in (tmp_path / "set" / "test" / "3").iterdir():
        image.unlink()
    asked = {"dataset_uri": (tmp_path / "set").as_uri(), "classes": None}
    warnings = job(**asked, evaluation={}).run(prepare, TaskKind.PREPARE).warnings
    assert [warning.code for warning in warnings] == [WarningCode.DATASET_LEFT_OUT, WarningCode.EVALUATION_INCOMPLETE]
    assert warnings[1].message == "the test split has no image of 1 of 2 classes (3): the accuracies speak of the others only"
    assert [warning.code for warning in job(**asked).run(prepare, TaskKind.PREPARE).warnings] == [WarningCode.DATASET_LEFT_OUT]


def test_pictures_that_are_trained_and_tested_on_are_a_warning_of_the_evaluation(job, tmp_path):
    images_of(tmp_path / "set" / "train", 8)
    images_of(tmp_path / "set" / "test", 1)
    asked = {"dataset_uri": (tmp_path / "set").as_uri(), "classes": None}
    (warning,) = job(**asked, evaluation={}).run(prepare, TaskKind.PREPARE).warnings
    assert (warning.code, "training split: 2 (" in warning.message) == (WarningCode.TEST_LEAKED, True)
    assert not job(**asked).run(prepare, TaskKind.PREPARE).warnings


def test_what_was_left_out_is_one_warning_and_a_reading_that_was_chosen_another(job, tmp_path):
    images_of(tmp_path / "set" / "Training", 8)
    (tmp_path / "set" / "Training" / "3" / "0.xml").write_text("<annotation/>")
    (tmp_path / "set" / "Testing").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "set" / "Testing" / "0.png")
    done = job(dataset_uri=(tmp_path / "set").as_uri(), classes=None).run(prepare, TaskKind.PREPARE)
    left_out, doubtful = done.warnings
    assert (left_out.code, doubtful.code) == (WarningCode.DATASET_LEFT_OUT, WarningCode.DATASET_DOUBTFUL)
    assert "files that are no images by their name: 1 (Training/3/0.xml)" in left_out.message
    assert "images without labels: 1 (Testing/)" in left_out.message
    assert "a part of the training images is held out" in doubtful.message
    assert done.output.bad_files == ()


def test_a_class_that_is_mapped_but_not_chosen_is_known(job, tmp_path):
    images_of(tmp_path / "images", 8)
    one = job(dataset_uri=(tmp_path / "images").as_uri(), classes=["7"], class_map={"3": "3"})
    assert one.run(prepare, TaskKind.PREPARE).output.classes == ("7",)
