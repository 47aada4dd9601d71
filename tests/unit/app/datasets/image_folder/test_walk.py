import os
from pathlib import Path

import pytest

from app.datasets.image_folder import LimitReached, Limits, Listing, walk
from app.domain.errors import DatasetRejected


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).touch()
    return tmp_path / "set"


def paths(listing: Listing) -> list[str]:
    return sorted(listing.root.everything())


def test_every_file_is_listed_by_its_path(root: Path) -> None:
    assert paths(walk(root, [root])) == ["cat/1.jpg", "cat/2.jpg", "dog/1.jpg"]


def test_a_folder_is_listed_under_its_own_name_and_not_under_a_links(root: Path) -> None:
    (root / "a_link_that_comes_first").symlink_to(root / "cat")
    listing = walk(root, [root])
    assert paths(listing) == ["cat/1.jpg", "cat/2.jpg", "dog/1.jpg"]
    assert "a_link_that_comes_first" in listing.left_out.phrases()[0]


def test_a_link_to_a_folder_around_the_dataset_is_not_followed(root: Path) -> None:
    (root / "up").symlink_to(root.parent)
    assert paths(walk(root, [root.parent])) == ["cat/1.jpg", "cat/2.jpg", "dog/1.jpg"]


def test_relative_links_and_links_to_links_are_followed(root: Path) -> None:
    (root.parent / "emus").mkdir()
    (root.parent / "emus" / "1.jpg").touch()
    (root.parent / "alias").symlink_to("emus")
    (root / "emu").symlink_to("../alias")
    (root / "dog" / "2.jpg").symlink_to("../../alias/1.jpg")
    assert paths(walk(root, [root.parent]))[2:] == ["dog/1.jpg", "dog/2.jpg", "emu/1.jpg"]


def test_links_that_lead_nowhere_and_pipes_are_left_out_by_name(root: Path) -> None:
    (root / "cat" / "gone.jpg").symlink_to(root / "nothing.jpg")
    (root / "cat" / "circle.jpg").symlink_to("circle.jpg")
    os.mkfifo(root / "cat" / "pipe")
    listing = walk(root, [root])
    assert len(paths(listing)) == 3
    assert listing.left_out.phrases() == (
        "links that lead nowhere: 2 (cat/circle.jpg, cat/gone.jpg)",
        "neither files nor folders: 1 (cat/pipe)",
    )


def test_hidden_and_system_folders_are_not_entered(root: Path) -> None:
    for name in (".git", "@eaDir"):
        (root / name).mkdir()
        (root / name / "1.jpg").touch()
    walked: list[str] = []
    walk(root, [root], walked=walked)
    assert [Path(folder).name for folder in walked] == ["set", "cat", "dog"]


def test_a_file_with_backslashes_in_its_name_lies_in_folders(root: Path) -> None:
    (root / "emu\\1.jpg").touch()
    listing = walk(root, [root])
    assert listing.root.folders["emu"].images == ["emu\\1.jpg"]
    assert listing.doubts


@pytest.mark.parametrize("limits", [Limits(entries=4), Limits(folders=2), Limits(seconds=-1)])
def test_a_walk_ends_at_its_limits(root: Path, limits: Limits) -> None:
    with pytest.raises(LimitReached):
        walk(root, [root], limits)


def test_no_more_names_are_kept_than_asked_for(root: Path) -> None:
    cats = walk(root, [root], Limits(kept=1)).root.folders["cat"]
    assert (cats.count, cats.images) == (2, ["cat/1.jpg"])


def test_folders_too_deep_are_refused(root: Path) -> None:
    (root / "/".join("x" * 17)).mkdir(parents=True)
    with pytest.raises(DatasetRejected, match="nested more than 16 deep"):
        walk(root, [root])
