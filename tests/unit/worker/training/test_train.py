import itertools
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from app.domain.errors import PermanentError
from tests.unit.worker.numbers import noise
from worker.seeds import generator
from worker.training.checkpoint import recorded
from worker.training.model import Architecture, build, noise_schedule
from worker.training.train import (
    Observer,
    TrainingConfig,
    TrainingStopped,
    epsilon_loss,
    learning_rate_factor,
    train,
)

pytestmark = pytest.mark.slow

SMALL = Architecture(image_size=4, channels=1, classes=3, heads=1, head_dim=8, blocks=1)
SHORT = TrainingConfig(steps=6, batch_size=8, warmup_steps=2, checkpoint_every=2)
IMAGES = noise(12, 1, 4, 4).clamp(-1, 1)
LABELS = torch.arange(12) % 3


def run(folder, config=SHORT, *, architecture=SMALL, labels=LABELS, on_step=lambda _step, _loss: None, **observed):
    folder.mkdir(exist_ok=True)
    return train(IMAGES, labels, architecture, config, folder=folder, observer=Observer(on_step=on_step, **observed))


def weights(trained):
    return torch.cat([weight.flatten() for weight in trained.model.parameters()])


class Interrupted(Exception):
    pass


def interrupt_at(last):
    def on_step(step, _loss):
        if step == last:
            raise Interrupted

    return on_step


@pytest.mark.parametrize("last", [1, 4, 5, 6])
def test_a_resumed_run_ends_with_the_weights_of_an_undisturbed_one(tmp_path, last):
    with pytest.raises(Interrupted):
        run(tmp_path / "disturbed", on_step=interrupt_at(last))
    steps = []
    resumed = run(tmp_path / "disturbed", on_step=lambda step, _loss: steps.append(step))
    assert steps[0] == {1: 1, 4: 3, 5: 5, 6: 5}[last]
    assert torch.equal(weights(resumed), weights(run(tmp_path / "undisturbed")))


def test_a_finished_run_is_not_trained_further(tmp_path):
    first = run(tmp_path)
    again = run(tmp_path, on_step=interrupt_at(1))
    assert torch.equal(weights(first), weights(again))


@pytest.mark.parametrize(
    ("architecture", "config"),
    [(SMALL, replace(SHORT, seed=1)), (SMALL, replace(SHORT, steps=8)), (replace(SMALL, blocks=2), SHORT)],
)
def test_a_checkpoint_of_other_settings_is_refused(tmp_path, architecture, config):
    run(tmp_path)
    with pytest.raises(PermanentError, match="other settings"):
        run(tmp_path, config, architecture=architecture)


def test_a_request_to_stop_is_obeyed_after_the_step_and_loses_none(tmp_path):
    seen = []
    config = replace(SHORT, checkpoint_every=1000)
    with pytest.raises(TrainingStopped, match="after step 3"):
        run(tmp_path / "cut", config, on_step=lambda step, _loss: seen.append(step), stop_requested=lambda: len(seen) == 3)
    resumed = run(tmp_path / "cut", config, on_step=lambda step, _loss: seen.append(step))
    assert seen == [1, 2, 3, 4, 5, 6]
    whole = run(tmp_path / "whole", config)
    assert torch.equal(weights(resumed), weights(whole))
    assert resumed.curve.rows == whole.curve.rows


def test_a_checkpoint_is_written_when_its_seconds_are_over(tmp_path):
    config = replace(SHORT, checkpoint_every=1000, checkpoint_seconds=20.0)
    now = itertools.count(0.0, 10.0)
    with pytest.raises(Interrupted):
        run(tmp_path, config, on_step=interrupt_at(4), clock=lambda: next(now))
    steps = []
    run(tmp_path, config, on_step=lambda step, _loss: steps.append(step))
    assert steps[0] == 3


def test_samples_are_drawn_when_their_seconds_are_over_from_weights_that_are_saved(tmp_path):
    config = replace(SHORT, checkpoint_every=1000, samples_seconds=20.0)
    now, drawn = itertools.count(0.0, 10.0), []

    def on_samples(_averaged, curve):
        assert (tmp_path / "checkpoint.pt").exists()
        drawn.append(curve.rows[-1][0])

    run(tmp_path, config, on_samples=on_samples, clock=lambda: next(now))
    assert drawn
    assert drawn[0] == 2


def test_neither_samples_nor_checkpoints_change_the_weights(tmp_path):
    often = replace(SHORT, checkpoint_seconds=0.0, samples_seconds=0.0)
    assert torch.equal(weights(run(tmp_path / "often", often)), weights(run(tmp_path / "plain")))


def test_a_checkpoint_of_other_images_is_refused(tmp_path):
    run(tmp_path)
    with pytest.raises(PermanentError, match="the images or their labels have changed"):
        run(tmp_path, labels=(LABELS + 1) % 3)


@pytest.mark.parametrize("lacking", ["threads", "losses"])
def test_a_checkpoint_of_an_earlier_version_is_refused_with_what_to_do(tmp_path, lacking):
    run(tmp_path, SHORT)
    path = tmp_path / "checkpoint.pt"
    saved = torch.load(path, weights_only=True)
    (saved["fingerprint"] if lacking == "threads" else saved).pop(lacking)
    torch.save(saved, path)
    told = re.escape(f"{path} is of an earlier version; remove {path} to begin anew")
    for read in (lambda: run(tmp_path, SHORT), lambda: recorded(path)):
        with pytest.raises(PermanentError, match=told):
            read()


def test_a_damaged_checkpoint_is_refused_by_name(tmp_path):
    run(tmp_path)
    content = (tmp_path / "checkpoint.pt").read_bytes()
    (tmp_path / "checkpoint.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(PermanentError, match=r"checkpoint\.pt is damaged .* remove it to begin anew"):
        run(tmp_path)


def test_a_training_that_diverges_is_given_up_and_not_saved(tmp_path):
    config = replace(SHORT, learning_rate=1e30, warmup_steps=0, checkpoint_every=1000)
    with pytest.raises(PermanentError, match=r"diverged; .* choose a smaller --learning-rate"):
        run(tmp_path, config)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_the_loss_falls_on_a_set_that_can_be_learnt(tmp_path):
    losses = []
    config = replace(SHORT, steps=80, learning_rate=1e-2, batch_size=16, checkpoint_every=80)
    trained = run(tmp_path, config, on_step=lambda _step, loss: losses.append(loss))
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    assert trained.loss == pytest.approx(sum(losses[-8:]) / 8)


def test_every_step_sees_images_noise_and_timesteps_of_its_own(tmp_path):
    losses = []
    run(tmp_path, replace(SHORT, learning_rate=0.0), on_step=lambda _step, loss: losses.append(loss))
    assert len(set(losses)) == SHORT.steps


def null_rows(model):
    return torch.cat([block.norm1.emb.class_embedder.embedding_table.weight[-1:] for block in model.transformer_blocks])


def test_dropped_labels_become_the_null_label(tmp_path):
    config = replace(SHORT, label_dropout=1.0)
    trained = run(tmp_path / "a", config)
    assert torch.equal(weights(trained), weights(run(tmp_path / "b", config, labels=(LABELS + 1) % 3)))
    assert not torch.allclose(null_rows(trained.model), null_rows(build(SMALL, 0)), rtol=1e-3)


def test_without_label_dropout_the_null_label_only_decays(tmp_path):
    trained = run(tmp_path, replace(SHORT, label_dropout=0.0))
    assert torch.allclose(null_rows(trained.model), null_rows(build(SMALL, 0)), rtol=1e-3)


def test_the_weights_returned_are_the_averaged_ones_and_frozen(tmp_path):
    fast, slow = (weights(run(tmp_path / str(decay), replace(SHORT, ema_decay=decay))) for decay in (0.0, 0.9995))
    assert not torch.equal(fast, slow)
    assert not any(weight.requires_grad for weight in run(tmp_path / "0.0", replace(SHORT, ema_decay=0.0)).model.parameters())


def test_training_leaves_the_global_generator_as_it_was(tmp_path):
    state = torch.random.get_rng_state()
    run(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_learning_rate_rises_in_a_line_and_falls_along_half_a_cosine_to_zero():
    config = TrainingConfig(steps=100, warmup_steps=20)
    factors = [learning_rate_factor(step, config) for step in range(101)]
    assert factors[:20] == pytest.approx([(step + 1) / 20 for step in range(20)])
    assert (factors[20], factors[60], factors[100]) == pytest.approx((1.0, 0.5, 0.0))
    assert factors[20:] == sorted(factors[20:], reverse=True)


def test_the_loss_of_a_model_that_predicts_nothing_is_the_variance_of_the_noise():
    assert epsilon_loss(
        build(SMALL, 0), IMAGES.repeat(50, 1, 1, 1), LABELS.repeat(50), generator("loss")
    ).item() == pytest.approx(1, abs=0.05)


def test_the_model_sees_images_noised_to_timesteps_spread_evenly_over_the_schedule():
    seen = {}

    def model(x_t, *, timestep, class_labels):
        seen.update(x_t=x_t, t=timestep, labels=class_labels)
        return SimpleNamespace(sample=torch.zeros_like(x_t))

    epsilon_loss(model, IMAGES, LABELS, generator("loss"))
    gaps = seen["t"].sort().values.diff()
    assert ((gaps - 1000 / 12).abs() <= 1).all()
    alphas = noise_schedule().alphas_cumprod[seen["t"]][:, None, None, None]
    eps = (seen["x_t"] - alphas.sqrt() * IMAGES) / (1 - alphas).sqrt()
    assert eps.std().item() == pytest.approx(1, abs=0.15)
    assert torch.equal(seen["labels"], LABELS)
