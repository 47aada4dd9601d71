import json

import pytest
from typer.testing import CliRunner

from app.domain.dataset_uri import parse
from app.domain.errors import DatasetRejected
from app.settings import Settings
from tests.unit.worker.datasets import sources
from worker.inspect_command import report_of


def test_images_are_counted_by_split_and_class(tmp_path):
    path = sources.tarred(tmp_path / "animals")
    found = report_of(parse(path.as_uri()), Settings())
    assert (found["images"], found["classes"]) == (12, ["cat", "dog"])
    assert found["splits"] == {"train": {"cat": 4, "dog": 4}, "test": {"cat": 2, "dog": 2}}
    assert found["bytes"] == sum(map(len, sources.pictures().values()))
    assert found["sample"] == {"images": 12, "side": 8, "modes": ["RGB"], "bad_files": []}


def test_the_digits_are_known():
    found = report_of(parse("sklearn://digits"), Settings())
    assert (found["images"], sum(found["splits"]["test"].values())) == (1797, 450)


def test_damaged_files_of_the_sample_are_named_and_all_of_them_are_refused(tmp_path):
    root = sources.folder(tmp_path / "animals")
    (root / "train" / "cat" / "0.png").write_bytes(b"no image")
    (bad,) = report_of(parse(root.as_uri()), Settings())["sample"]["bad_files"]
    assert bad.startswith("train/cat/0.png: not a PNG")
    for path in root.rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(DatasetRejected, match="none of 12 images looked at can be used"):
        report_of(parse(root.as_uri()), Settings())


def test_the_command_prints_a_table_or_json(tmp_path, monkeypatch):
    import typer

    from worker import inspect_command

    root = sources.folder(tmp_path / "animals")
    command = typer.Typer()
    command.command()(inspect_command.inspect)
    printed = CliRunner().invoke(command, [str(root), "--json"])
    assert json.loads(printed.output)["images"] == 12
    monkeypatch.setattr(inspect_command, "output", inspect_command.Console(width=100))
    table = CliRunner().invoke(command, [str(root)]).output
    assert "12 images of 2 classes" in table
    assert [line.split() for line in table.splitlines()[-3:]] == [["cat", "4", "2"], ["dog", "4", "2"], ["together", "8", "4"]]
