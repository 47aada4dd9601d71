"""Find the training and the test split among groups of images, by the names of the groups."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.datasets.image_folder.names import TESTING, Role, split_name
from app.datasets.image_folder.words import and_more
from app.domain.errors import DatasetRejected

TRAIN, TEST = "train", "test"
OF_MNIST = "t10k"  # how MNIST calls its test split


@dataclass(frozen=True)
class Splits:
    """`of` maps each group that is read to "train" or "test"; None if the source has no splits."""

    of: Mapping[str, str | None]
    left_out: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def tested(self) -> bool:
        return TEST in self.of.values()


def splits_among(groups: Mapping[str, int]) -> Splits:
    """The splits of groups of images. `groups` maps names to numbers of labelled images.

    A group's name is a path such as `data/train-00000-of-00002.parquet`, or a word. Raises
    DatasetRejected if it is unclear which group is what.
    """
    roles = {name: role_of(name) for name in groups}
    found = set(roles.values())
    if found == {None}:
        return Splits(dict.fromkeys(groups))
    if None in found:
        unknown, known = _named(roles, None), sorted(name for name, role in roles.items() if role)
        raise DatasetRejected(f"{unknown} stands beside {and_more(known)}: which split is it? Name it after train or test")
    if len(found) == 1 and Role.UNLABELLED not in found:
        (role,) = found
        doubts = () if role is Role.TRAIN else (f"there is only the {role} split: its images are read as the training images",)
        return Splits(dict.fromkeys(groups), doubts=doubts)
    if Role.TRAIN not in found:
        raise DatasetRejected(f"there is {and_more(sorted(roles))} but no training split")
    return _with_test_split(groups, roles)


def role_of(name: str) -> Role | None:
    """The split that a path means; its last part with such a meaning counts."""
    for piece in reversed(name.split("/")):
        stem = piece.split(".")[0]
        if OF_MNIST in stem:
            return Role.TEST
        if named := split_name(stem):
            return named[0]
    return None


def _with_test_split(groups: Mapping[str, int], roles: Mapping[str, Role | None]) -> Splits:
    labelled = {role: sum(groups[name] for name, its in roles.items() if its is role) for role in TESTING}
    tested = next((role for role in TESTING if labelled[role]), None)
    of: dict[str, str | None] = {}
    left_out: list[str] = []
    for role in [*TESTING, Role.UNLABELLED]:
        count = sum(1 for its in roles.values() if its is role)
        if count and role is not tested:
            why = f"another split than {tested}" if labelled.get(role) else "a split without labels"
            left_out.append(f"{why}: {_named(roles, role)}")
    for name, role in roles.items():
        if role in (Role.TRAIN, tested):
            of[name] = TRAIN if role is Role.TRAIN else TEST
    return Splits(of, tuple(left_out))


def _named(roles: Mapping[str, Role | None], wanted: Role | None) -> str:
    return and_more(sorted(name for name, role in roles.items() if role is wanted))
