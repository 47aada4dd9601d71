import numpy as np

from worker.datasets.split import held_out

NAMES = [f"cat/{i}.png" for i in range(40)] + [f"dog/{i}.png" for i in range(20)]
CLASS_OF = np.array([0] * 40 + [1] * 20)


def test_the_fraction_holds_in_every_class():
    chosen = held_out(NAMES, CLASS_OF, 0.25)
    assert [int(chosen[np.equal(CLASS_OF, label)].sum()) for label in (0, 1)] == [10, 5]


def test_the_choice_does_not_depend_on_the_order_of_the_images():
    order = np.random.default_rng(0).permutation(len(NAMES))
    shuffled = held_out([NAMES[i] for i in order], CLASS_OF[order], 0.25)
    assert np.array_equal(shuffled, held_out(NAMES, CLASS_OF, 0.25)[order])


def test_the_choice_is_the_same_on_every_machine():
    chosen = held_out([f"digits/{i}" for i in range(12)], np.zeros(12, dtype=int), 0.25)
    assert np.flatnonzero(chosen).tolist() == [8, 9, 11]


def test_another_salt_makes_another_choice():
    assert not np.array_equal(held_out(NAMES, CLASS_OF, 0.25), held_out(NAMES, CLASS_OF, 0.25, salt="validation"))


def test_no_class_loses_all_its_training_images():
    names, labels = ["a/1", "b/1", "b/2"], np.array([0, 1, 1])
    chosen = held_out(names, labels, 0.5)
    assert not chosen[0]
    assert chosen[1:].sum() == 1


def test_a_class_of_two_still_has_a_test_image_at_a_small_fraction():
    assert held_out(["a/1", "a/2"], np.array([0, 0]), 0.01).sum() == 1
