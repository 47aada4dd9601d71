from dataclasses import replace

import pytest
import torch

from worker.evaluation.classifier import accuracy, augment, train_and_test
from worker.evaluation.protocols import PROTOCOLS, SMALL

QUICK = replace(SMALL, iterations=20, width=8, batch_size=16)


def halves(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """8 x 8 pixels whose upper (0) or left (1) half is bright, under noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    left = torch.tensor([1.0, -1.0]).repeat_interleave(4).expand(8, 8)
    images = torch.stack([left.T if label == 0 else left for label in labels])[:, None]
    return images + 0.5 * torch.randn(images.shape, generator=generator), labels


def trained(seed=0, protocol=QUICK, **options):
    return train_and_test(*halves(10, seed=1), *halves(60, seed=2), protocol=protocol, seed=seed, **options)


def test_a_separable_task_is_learnt():
    assert trained().last == 100


def test_the_same_seed_gives_the_same_score_and_another_another():
    curves = [trained(seed, replace(QUICK, evaluations=20)).curve for seed in (0, 0, 1)]
    assert curves[0] == curves[1] != curves[2]


def test_the_global_generator_is_neither_used_nor_changed():
    protocol = replace(QUICK, iterations=3)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = trained(protocol=protocol)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert trained(protocol=protocol) == first


def test_every_training_set_gets_the_same_number_of_iterations():
    seen = []
    train_and_test(
        *halves(4, seed=1),
        *halves(4, seed=2),
        protocol=QUICK,
        seed=0,
        report=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(done, 20) for done in range(1, 21)]


def test_the_headline_is_the_last_evaluation_and_the_best_is_beside_it():
    score = trained()
    assert [iteration for iteration, _ in score.curve] == [4, 8, 12, 16, 20]
    assert score.last == score.curve[-1][1]
    assert score.best == max(value for _, value in score.curve)


def test_the_caller_can_stop_the_training():
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        trained(report=stop)


def test_accuracy_is_the_share_of_right_answers_in_percent():
    logits = torch.eye(4)
    assert accuracy(torch.nn.Identity(), logits, torch.tensor([0, 1, 2, 0])) == 75


def shifts_of(image: torch.Tensor) -> list[torch.Tensor]:
    padded = torch.nn.functional.pad(image[None], (1, 1, 1, 1), mode="replicate")[0]
    return [padded[:, y : y + 8, x : x + 8] for y in range(3) for x in range(3)]


@pytest.mark.parametrize("may_flip", [False, True])
def test_augmentation_only_shifts_and_flips_only_where_allowed(may_flip):
    image = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(0))
    allowed = shifts_of(image)
    flipped = [shifted.flip(-1) for shifted in allowed]
    out = augment(image.expand(64, 2, 8, 8), SMALL, torch.Generator().manual_seed(0), may_flip=may_flip)
    kinds = [(any(torch.equal(x, y) for y in allowed), any(torch.equal(x, y) for y in flipped)) for x in out]
    assert all(shifted or flip for shifted, flip in kinds)
    assert any(flip for _, flip in kinds) == may_flip


def test_protocols_are_found_by_their_own_name():
    assert all(protocol.name == name for name, protocol in PROTOCOLS.items())
