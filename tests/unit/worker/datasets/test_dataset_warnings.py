from dataclasses import replace

import numpy as np

from app.domain.job import WarningCode
from worker.datasets.base import Dataset, in_memory
from worker.datasets.dataset_warnings import dataset_warnings


def split(*labels: int):
    return in_memory(
        np.zeros((len(labels), 8, 8, 1), np.uint8), np.array(labels, dtype=np.int64), [str(i) for i in range(len(labels))]
    )


WHOLE = Dataset("file:///x", ("cat", "dog"), split(0, 1), split(0, 1), "digest")


def test_a_dataset_that_is_read_whole_is_no_warning():
    assert dataset_warnings(WHOLE, evaluated=True) == []


def test_all_that_is_left_out_is_one_warning_and_names_few_files():
    bad = tuple(f"cat/{i}.jpg: truncated" for i in range(7))
    (warning,) = dataset_warnings(replace(WHOLE, bad_files=bad, bad_count=7, left_out=("folders without images: 1 (emu/)",)))
    assert warning.code is WarningCode.DATASET_LEFT_OUT
    assert warning.message == (
        "left out of the dataset: files that cannot be used: 7 (cat/0.jpg: truncated; cat/1.jpg: truncated; "
        "cat/2.jpg: truncated; …); folders without images: 1 (emu/)"
    )


def test_classes_without_test_images_matter_to_an_evaluation_alone():
    lacking = replace(WHOLE, test=split(1))
    (warning,) = dataset_warnings(lacking, evaluated=True)
    assert (warning.code, "1 of 2 classes (cat)" in warning.message) == (WarningCode.EVALUATION_INCOMPLETE, True)
    assert dataset_warnings(lacking) == []


def test_pictures_of_the_test_split_that_are_trained_on_matter_to_an_evaluation_alone():
    leaking = replace(WHOLE, leaked=5, leaks=("a.png", "b.png", "c.png", "d.png"))
    (warning,) = dataset_warnings(leaking, evaluated=True)
    assert (warning.code, "5 (a.png, b.png, c.png, …)" in warning.message) == (WarningCode.TEST_LEAKED, True)
    assert dataset_warnings(leaking) == []


def test_the_evaluation_of_a_single_class_is_told_to_say_nothing():
    single = replace(WHOLE, classes=("cat",), train=split(0, 0), test=split(0))
    (warning,) = dataset_warnings(single, evaluated=True)
    assert (warning.code, "one class" in warning.message) == (WarningCode.EVALUATION_INCOMPLETE, True)
    assert dataset_warnings(single) == []
