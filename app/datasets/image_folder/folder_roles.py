"""What a folder is by its name and by what it holds: a class, a split, or a wrapper around either."""

from collections.abc import Sequence

from app.datasets.image_folder.names import Role, is_bag, split_name
from app.datasets.image_folder.tree import Folder
from app.datasets.image_folder.words import slashed
from app.domain.errors import DatasetRejected


def class_like(folder: Folder) -> list[Folder]:
    """The folders in it that may be classes: all with images, but for one that is only a bag of images."""
    return [one for one in folder.live if one.live or not is_bag(one.name)]


def is_wrapper(folder: Folder) -> bool:
    """Whether a folder that stands alone is no class and no split, but lies around them."""
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
    """The folder with the classes of a split: seg_train/ in seg_train/seg_train/, images/ in train/images/class/."""
    while len(split.live) == 1 and not split.count:
        only = split.live[0]
        if not class_like(only) or not (is_bag(only.name) or split_name(only.name) or len(only.live) > 1):
            break
        split = only
    return split


def splits_among(tops: Sequence[Folder]) -> "tuple[dict[Folder, Role], list[Folder]]":
    """Which folders are splits by name, and the others. `flowers_train` needs another such as `flowers_test` beside it."""
    named = {top: split_name(top.name) for top in tops}
    rests = {found[1] for found in named.values() if found is not None}
    together = len(tops) > 1 and len(rests) == 1 and None not in named.values()
    splits = {top: found[0] for top, found in named.items() if found is not None and (together or not found[1])}
    return splits, [top for top in tops if top not in splits]


def has_splits(top: Folder) -> bool:
    splits, others = splits_among(top.live)
    return not others and Role.TRAIN in splits.values()
