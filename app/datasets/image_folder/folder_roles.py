"""The role of a folder, by its name and content: a class, a split, or a wrapper around them."""

from collections.abc import Sequence

from app.datasets.image_folder.names import Role, is_bag, split_name
from app.datasets.image_folder.tree import Folder
from app.datasets.image_folder.words import slashed
from app.domain.errors import DatasetRejected


def class_like(folder: Folder) -> list[Folder]:
    """The sub-folders with images that may be classes.

    Leaves out a folder without such sub-folders if its name, such as `images`, names no class.
    """
    return [one for one in folder.live if one.live or not is_bag(one.name)]


def is_wrapper(folder: Folder) -> bool:
    """Whether a folder that stands alone is a wrapper around classes or splits.

    Raises DatasetRejected if it may be a class: it holds most of its images directly.
    """
    named = split_name(folder.name)
    if named is not None and not named[1] and Role.TRAIN not in splits_among(folder.live)[0].values():
        return False
    if not class_like(folder):
        return False
    if 2 * folder.count > folder.total:
        raise DatasetRejected(
            f"{folder.name}/ holds {folder.count:,} images of its own and the folders {slashed(folder.live)}: "
            "is it a class, or are they? Move its own images elsewhere, or all images into it"
        )
    return True


def without_wrappers(split: Folder) -> Folder:
    """The folder that holds the classes of a split, such as images/ in train/images/class/."""
    while len(split.live) == 1 and not split.count:
        only = split.live[0]
        if not class_like(only) or not (is_bag(only.name) or split_name(only.name) or len(only.live) > 1):
            break
        split = only
    return split


def splits_among(tops: Sequence[Folder]) -> "tuple[dict[Folder, Role], list[Folder]]":
    """The folders that are splits by name, and the others.

    `flowers_train` is a split only beside another one such as `flowers_test`.
    """
    named = {top: split_name(top.name) for top in tops}
    rests = {found[1] for found in named.values() if found is not None}
    together = len(tops) > 1 and len(rests) == 1 and None not in named.values()
    splits = {top: found[0] for top, found in named.items() if found is not None and (together or not found[1])}
    return splits, [top for top in tops if top not in splits]


def has_splits(top: Folder) -> bool:
    splits, others = splits_among(top.live)
    return not others and Role.TRAIN in splits.values()
