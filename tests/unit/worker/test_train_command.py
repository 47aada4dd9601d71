import os
import signal
from pathlib import Path

import pytest
import torch
import typer
from PIL import Image

from app.backbones.catalog import find
from app.domain.errors import DatasetRejected, InvalidSpec, PermanentError
from worker import train_command
from worker.train_command import train
from worker.training.checkpoint import CHECKPOINT

pytestmark = pytest.mark.slow


def train_briefly(data_dir: Path, dataset: str = "sklearn://digits", **changes: object) -> None:
    options = {"name": "tiny", "heads": 1, "blocks": 1, "steps": 2, "batch_size": 4, "threads": 1, "device": "cpu"}
    train(dataset, data_dir=data_dir, **{**options, **changes})  # pyright: ignore[reportArgumentType]


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def class_folders(root: Path, *names: bytes) -> str:
    for name in names:
        folder = os.path.join(os.fsencode(root), name)  # noqa: PTH118 - pathlib takes no bytes
        os.makedirs(folder)  # noqa: PTH103 - the same
        for i in range(4):
            with open(os.path.join(folder, b"%d.png" % i), "wb") as file:  # noqa: PTH118, PTH123 - the same
                Image.new("RGB", (20, 16), (60 * i, 0, 0)).save(file, "PNG")
    return str(root)


def test_a_trained_backbone_is_a_folder_with_a_card_samples_and_no_checkpoint(tmp_path: Path) -> None:
    train_briefly(tmp_path)
    folder = tmp_path / "backbones" / "tiny"
    assert names_in(folder) == {"README.md", "model_index.json", "scheduler", "transformer", "training"}
    assert names_in(folder / "training") == {"samples.png", "loss.csv", "loss.png"}
    assert "450 held-out images never seen" in (folder / "README.md").read_text()


def test_samples_and_loss_curve_are_no_part_of_the_backbones_revision(tmp_path: Path) -> None:
    train_briefly(tmp_path)
    roots = [("", tmp_path / "backbones")]
    before = find(roots, "tiny").revision()
    for path in (tmp_path / "backbones" / "tiny" / "training").iterdir():
        path.write_bytes(b"other")
    assert find(roots, "tiny").revision() == before


def test_size_channels_and_patch_follow_from_the_images_and_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_briefly(tmp_path, class_folders(tmp_path / "set", b"coffee", b"tea"), heads=None)
    folder = find([("", tmp_path / "backbones")], "tiny")
    assert (folder.info.image_size, folder.info.channels) == (16, 3)
    said = capsys.readouterr().err
    assert "16 x 16 pixels in colour" in said
    assert "16 tokens of 4 x 4 x 3 = 48 numbers, 128 wide" in said
    assert "reading images: 8 of 8" in said
    assert "training: 2 of 2" in said


def test_a_finished_backbone_is_refused_before_the_data_are_looked_at(tmp_path: Path) -> None:
    train_briefly(tmp_path)
    with pytest.raises(InvalidSpec, match="already"):
        train_briefly(tmp_path, "file:///nowhere")


def test_class_names_that_cannot_be_written_are_refused_before_the_first_step(tmp_path: Path) -> None:
    dataset = class_folders(tmp_path / "set", b"caf\xe9", b"tea")
    for _ in range(2):
        with pytest.raises(DatasetRejected, match=r"class names that are not UTF-8: 1 \(caf\\xe9\)"):
            train_briefly(tmp_path, dataset, heads=None)
    assert not (tmp_path / "backbones" / "tiny").exists()


def test_a_model_that_cannot_draw_is_refused_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="8 x 8 x 1 = 64 numbers in a model 32 wide"):
        train_briefly(tmp_path, patch_size=8, steps=100)


def test_a_patch_that_does_not_fit_and_two_channels_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="patch_size"):
        train_briefly(tmp_path, image_size=8, patch_size=3)
    with pytest.raises(InvalidSpec, match="channels"):
        train_briefly(tmp_path, channels=2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_between_two_steps_and_the_same_command_goes_on(
    tmp_path: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_briefly(tmp_path / "whole", steps=4)
    with monkeypatch.context() as patched, pytest.raises(typer.Exit) as ended:
        patched.setattr(train_command, "train_model", interrupted(number))
        train_briefly(tmp_path / "cut", steps=4)
    cut = tmp_path / "cut" / "backbones" / "tiny"
    assert ended.value.exit_code == 128 + number
    assert names_in(cut) == {CHECKPOINT, "training"}
    train_briefly(tmp_path / "cut", steps=4)
    for file in ("transformer/diffusion_pytorch_model.safetensors", "model_index.json", "training/loss.csv"):
        assert (cut / file).read_bytes() == (tmp_path / "whole" / "backbones" / "tiny" / file).read_bytes()


def interrupted(number: signal.Signals):
    """The training, during whose second step the process gets a signal."""
    original = train_command.train_model

    def train_interrupted(*arguments, observer, **options):
        def on_step(step: int, loss: float) -> None:
            if step == 2:
                signal.raise_signal(number)
            observer.on_step(step, loss)

        return original(*arguments, observer=train_command.replace(observer, on_step=on_step), **options)

    return train_interrupted


def test_an_unfinished_run_is_refused_with_other_settings_before_the_training_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_unfinished(tmp_path, monkeypatch)
    monkeypatch.setattr(train_command, "_run", None)
    with pytest.raises(PermanentError, match=r"batch_size was 4, now 5; learning_rate was 0\.001, now 0\.5"):
        train_briefly(tmp_path, batch_size=5, learning_rate=0.5)


def test_a_result_that_could_not_be_written_is_written_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_unfinished(tmp_path, monkeypatch)
    folder = tmp_path / "backbones" / "tiny"
    (folder / "model_index.json").touch()  # as a write that was cut short leaves it
    train_briefly(tmp_path)
    assert names_in(folder) == {"README.md", "model_index.json", "scheduler", "transformer", "training"}


def leave_unfinished(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is at its end, all but the files of the backbone, as the disk is full."""

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(PermanentError, match="No space left on device; mend that and repeat"):
        patched.setattr(train_command, "save", full)
        train_briefly(data_dir)
    assert (data_dir / "backbones" / "tiny" / CHECKPOINT).exists()


def test_threads_are_those_of_the_environment_or_of_the_unfinished_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setenv("DAPPLE_THREADS", "2")
    leave_unfinished(tmp_path / "explicit", monkeypatch)  # --threads 1 is stronger
    train_briefly(tmp_path / "environment", threads=None)
    assert "| CPU threads | 2 |" in (tmp_path / "environment" / "backbones" / "tiny" / "README.md").read_text()
    monkeypatch.delenv("DAPPLE_THREADS")
    train_briefly(tmp_path / "explicit", threads=None)
    assert "| CPU threads | 1 |" in (tmp_path / "explicit" / "backbones" / "tiny" / "README.md").read_text()
    torch.set_num_threads(before)


def test_what_is_left_out_of_the_images_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("Training", "Testing"):
        for name in ("cat", "dog"):
            (tmp_path / "set" / split / name).mkdir(parents=True)
            Image.new("L", (8, 8)).save(tmp_path / "set" / split / name / "1.png")
    (tmp_path / "set" / "Training" / "cat" / "1.xml").touch()
    train_briefly(tmp_path, dataset=str(tmp_path / "set"))
    assert "files that are no images by their name: 1 (Training/cat/1.xml)" in capsys.readouterr().err
