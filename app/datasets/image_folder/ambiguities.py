"""Refuse folders that have two interpretations. Every error names both, and says what to do."""

from collections.abc import Sequence

from app.datasets.image_folder.folder_roles import class_like
from app.datasets.image_folder.names import Role, is_no_class, split_name
from app.datasets.image_folder.tree import Folder
from app.datasets.image_folder.words import slashed
from app.domain.errors import DatasetRejected

EXPECTED = "expected class/image.png, or train/class/image.png"


def refuse_twice(top: Folder, roles: Sequence[Role]) -> None:
    if len(set(roles)) < len(roles):
        raise DatasetRejected(f"{top.name}/ holds one split twice ({slashed(top.live)}): which is it? Keep one of them")


def refuse_bags(tops: Sequence[Folder]) -> None:
    if all(is_no_class(top.name) for top in tops):
        raise DatasetRejected(f"{slashed(tops)} by name hold images, but of which class? {EXPECTED}")


def refuse_wrappers(tops: Sequence[Folder]) -> None:
    """Refuse folders that contain classes but stand beside each other or beside other images."""
    around = [top for top in tops if not top.count and len(class_like(top)) > 1]
    if len(around) == 1 and len(tops) > 1 and not any(top.live for top in tops if top not in around):
        others = [top for top in tops if top not in around]
        raise DatasetRejected(
            f"{around[0].name}/ holds the folders {slashed(around[0].live)} and stands beside {slashed(others)}: "
            "is it one class, or a folder around classes? Keep one of the two layouts"
        )
    inside = {tuple(one.name for one in class_like(top)) for top in tops}
    if len(around) == len(tops) > 1 and len(inside) == 1:
        raise DatasetRejected(
            f"{slashed(tops)} hold the same folders ({slashed(class_like(tops[0]))}): which are the classes? "
            "Put all images of a class directly into its folder, and all these folders beside each other"
        )


def refuse_splits_in_names(tops: Sequence[Folder]) -> None:
    """Refuse folders such as cat_train/ and cat_test/ beside dog_train/."""
    trained: dict[tuple[str, ...], Folder] = {}
    for top in tops:
        named = split_name(top.name)
        if named is not None and named[0] is Role.TRAIN:
            trained[named[1]] = top
    for top in tops:
        named = split_name(top.name)
        if named is not None and named[0] is not Role.TRAIN and named[1] in trained:
            raise DatasetRejected(
                f"are {trained[named[1]].name}/ and {top.name}/ two classes, or splits of one? Put them below train/ and test/"
            )


def refuse_alike(names: Sequence[str]) -> None:
    """Refuse two names that differ only in case or outer blanks, except single letters."""
    seen: dict[str, str] = {}
    for name in names:
        key = name.strip().casefold() if len(name) > 1 else name
        if key in seen:
            raise DatasetRejected(f"are {seen[key]!r} and {name!r} one class or two? Rename or join them")
        seen[key] = name
