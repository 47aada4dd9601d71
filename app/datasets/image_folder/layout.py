"""Find the class folders and the splits in a listing.

Refuses ambiguous layouts, and reports what it leaves out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.datasets.image_folder.ambiguities import (
    EXPECTED,
    refuse_alike,
    refuse_bags,
    refuse_splits_in_names,
    refuse_twice,
    refuse_wrappers,
)
from app.datasets.image_folder.folder_roles import class_like, has_splits, is_wrapper, splits_among, without_wrappers
from app.datasets.image_folder.names import TESTING, Role
from app.datasets.image_folder.tree import Folder, LeftOut, Listing
from app.datasets.image_folder.words import and_more, slashed
from app.domain.errors import DatasetRejected

TRAIN, TEST = "train", "test"

LOOSE = "images outside class folders"
EMPTY = "folders without images"
UNLABELLED = "images without labels"


@dataclass(frozen=True)
class ClassFolder:
    """A folder whose images, at any depth, are of one class. `split` is None without splits."""

    folder: Folder
    class_name: str
    split: str | None = None


@dataclass(frozen=True)
class AnnotatedFolder:
    """A test split whose labels are in a list at `annotations`, as in Tiny-ImageNet."""

    folder: Folder
    annotations: str


@dataclass(frozen=True)
class Layout:
    """The interpretation of a listing.

    `wrappers`: number of folders around everything. `left_out` and `doubts` are phrases for the
    user: what is not read, and which of several interpretations was chosen.
    """

    class_folders: tuple[ClassFolder, ...]
    annotated: AnnotatedFolder | None
    wrappers: int
    left_out: tuple[str, ...]
    doubts: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Every class, sorted."""
        return tuple(sorted({one.class_name for one in self.class_folders}))

    @property
    def tested(self) -> bool:
        """Whether there is a test split, so that no images are held out."""
        return self.annotated is not None or any(one.split == TEST for one in self.class_folders)

    @property
    def untrained(self) -> tuple[str, ...]:
        """The classes that only the test split has."""
        trained = {one.class_name for one in self.class_folders if one.split != TEST}
        return tuple(name for name in self.classes if name not in trained)


def refuse_untrained(untrained: Sequence[str], chosen: Sequence[str] | None) -> None:
    """Raises DatasetRejected if only the test split has one of the chosen classes (None: all)."""
    missing = untrained if chosen is None else sorted(set(untrained).intersection(chosen))
    if missing:
        told = f"class {missing[0]!r} has 0 training images: only the test split has it; leave it out with `classes`"
        raise DatasetRejected(told)


def arrange(listing: Listing) -> Layout:
    """The layout of a listing.

    It may be class/…/file, train/class/…/file or class/train/…/file, with any usual spelling of the
    splits, and with wrapper folders around it. Raises DatasetRejected if there are no class
    folders, or if there are two interpretations; it names both.
    """
    return _Arranging(listing).layout()


class _Arranging:
    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._left_out = LeftOut()
        self._doubts = list(listing.doubts)
        self._found: list[ClassFolder] = []
        self._annotated: AnnotatedFolder | None = None

    def layout(self) -> Layout:
        inner, wrappers = self._unwrapped(self._listing.root)
        self._top(inner)
        refuse_alike(sorted({one.class_name for one in self._found}))
        self._note_empty(self._listing.root, "")
        left_out = (*self._left_out.phrases(), *self._listing.left_out.phrases())
        return Layout(tuple(self._found), self._annotated, wrappers, left_out, tuple(self._doubts))

    def _unwrapped(self, folder: Folder) -> tuple[Folder, int]:
        """The folder that holds the class folders or splits, and the number of its wrappers."""
        wrappers = 0
        while len(folder.live) == 1 and is_wrapper(folder.live[0]):
            self._note_loose(folder)
            folder = folder.live[0]
            wrappers += 1
        self._note_loose(folder)
        return folder, wrappers

    def _top(self, inner: Folder) -> None:
        tops = inner.live
        if not tops:
            raise DatasetRejected(f"no class folders with images: {EXPECTED}")
        splits, others = splits_among(tops)
        if not splits:
            self._classes(tops)
        elif not others:
            self._splits(splits)
        else:
            self._beside_classes(splits, others, tops)

    def _classes(self, tops: Sequence[Folder]) -> None:
        inside = [top for top in tops if has_splits(top)]
        if inside and len(inside) < len(tops):
            other = next(top for top in tops if top not in inside)
            raise DatasetRejected(
                f"{inside[0].name}/ holds splits ({slashed(inside[0].live)}) and {other.name}/ does not: "
                "are they classes, or is the one a dataset beside something else? Give each class its splits, or none"
            )
        if inside:
            self._splits_in_classes(tops)
            return
        refuse_bags(tops)
        refuse_wrappers(tops)
        refuse_splits_in_names(tops)
        nested = [top for top in tops if len(class_like(top)) > 1]
        if nested:
            self._doubts.append(
                f"{slashed(nested)} {'holds' if len(nested) == 1 else 'hold'} folders of images "
                f"({slashed(class_like(nested[0]))}): each outer folder is read as one class"
            )
        self._found += [ClassFolder(top, top.name) for top in tops]

    def _beside_classes(self, splits: "dict[Folder, Role]", others: Sequence[Folder], tops: Sequence[Folder]) -> None:
        """Read a folder named like a training or validation split as a class.

        Raises DatasetRejected if it holds class folders, or is named like another split.
        """
        names, roles = slashed(list(splits)), set(splits.values())
        if any(class_like(top) for top in splits):
            raise DatasetRejected(
                f"{names} stands beside {slashed(others)}, which is no split: are they all classes, or is {slashed(others)} "
                "no part of the dataset? Expected class folders only, or train/ and test/ (or val/) only"
            )
        if len(roles) > 1 or not roles <= {Role.TRAIN, Role.VALIDATION}:
            raise DatasetRejected(
                f"{names} beside {slashed(others)} may be a class, or a split whose images have no class folders. "
                "Rename it if it is a class; else move it elsewhere"
            )
        self._doubts.append(f"{names} is read as a class, as it stands beside {slashed(others)}")
        self._classes(tops)

    def _splits(self, splits: "dict[Folder, Role]") -> None:
        train = self._the_train_split(splits)
        inner = without_wrappers(train)
        if not class_like(inner):
            raise DatasetRejected(
                f"{slashed(list(splits))} look like splits, but {train.name}/ holds images without class folders: {EXPECTED}"
            )
        self._note_loose(inner, train)
        known = {folder.name for folder in inner.live}
        self._found += [ClassFolder(folder, folder.name, TRAIN) for folder in inner.live]
        test = self._test_split(splits, known)
        for folder, role in splits.items():
            if role is Role.UNLABELLED:
                self._left_out.add(UNLABELLED, f"{folder.name}/", folder.total)
            elif folder not in (train, test) and role in TESTING and test is not None and self._labelled(folder, known):
                self._left_out.add(f"another split than {test.name}/, which is the test split", f"{folder.name}/", folder.total)

    def _the_train_split(self, splits: "dict[Folder, Role]") -> Folder:
        for role in Role:
            same = [folder for folder, its in splits.items() if its is role]
            if len(same) > 1 and role is not Role.UNLABELLED:
                raise DatasetRejected(f"{slashed(same)} are both a {role} split by their names: which is it? Keep one of them")
        train = next((folder for folder, role in splits.items() if role is Role.TRAIN), None)
        if train is None:
            raise DatasetRejected(f"there is {slashed(list(splits))} but no train/")
        return train

    def _test_split(self, splits: "dict[Folder, Role]", known: set[str]) -> Folder | None:
        """Add and return the first labelled split in the order of TESTING, if there is one."""
        candidates = sorted(
            (folder for folder in splits if splits[folder] in TESTING), key=lambda one: TESTING.index(splits[one])
        )
        chosen: Folder | None = None
        for folder in candidates:
            if not self._labelled(folder, known):
                self._left_out.add(UNLABELLED, f"{folder.name}/", folder.total)
            elif chosen is None:
                chosen = folder
        if chosen is not None:
            self._add_test(chosen, known)
        elif candidates:
            self._doubts.append(f"{slashed(candidates)} has no labels: a part of the training images is held out in its place")
        return chosen

    def _labelled(self, folder: Folder, known: set[str]) -> bool:
        """Whether the images of a split have classes.

        Raises DatasetRejected if it has several classes and train/ has none of them.
        """
        classes = class_like(without_wrappers(folder))
        if known & {one.name for one in classes} or folder.annotations is not None:
            return True
        if len(classes) > 1:
            raise DatasetRejected(
                f"{folder.name}/ has the classes {slashed(classes)}, and train/ has {and_more(sorted(known))}: "
                "are they two datasets, or one class under two names?"
            )
        return False

    def _add_test(self, folder: Folder, known: set[str]) -> None:
        inner = without_wrappers(folder)
        if not known & {one.name for one in inner.live} and folder.annotations is not None:
            self._annotated = AnnotatedFolder(folder, folder.annotations)
            return
        self._note_loose(inner, folder)
        self._found += [ClassFolder(one, one.name, TEST) for one in inner.live]

    def _splits_in_classes(self, tops: Sequence[Folder]) -> None:
        splits = [(top, splits_among(top.live)[0]) for top in tops]
        tested = next((role for role in TESTING if any(role in those.values() for _, those in splits)), None)
        for top, those in splits:
            refuse_twice(top, list(those.values()))
            self._note_loose(top)
            for folder, role in those.items():
                if role in (Role.TRAIN, tested):
                    self._found.append(ClassFolder(folder, top.name, TRAIN if role is Role.TRAIN else TEST))
                else:
                    self._left_out.add(f"another split than {tested}", f"{top.name}/{folder.name}/", folder.total)

    def _note_loose(self, folder: Folder, shown: Folder | None = None) -> None:
        if folder.count:
            self._left_out.add(LOOSE, folder.images[0] if folder.images else f"{(shown or folder).name}/", folder.count)

    def _note_empty(self, folder: Folder, prefix: str) -> None:
        for one in folder.folders.values():
            if not one.total:
                self._left_out.add(EMPTY, f"{prefix}{one.name}/")
            else:
                self._note_empty(one, f"{prefix}{one.name}/")
