"""The tree of folders in a folder or zip, with the number of possible images in each."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from app.datasets.image_folder.names import is_annotation, is_image_name, is_side_file, is_system, readable
from app.domain.errors import DatasetRejected

MAX_DEPTH = 16
MOST_OTHERS = 10_000  # names of files without the suffix of an image
NAMED = 3  # examples for each reason
NAMED_CHARACTERS = 200

SYSTEM = "hidden or system files and folders"
SIDE_FILES = "files that are no images by their name"
BACKSLASHES = "backslashes in names are read as separators of folders, as tools on Windows write them"


class LeftOut:
    """Entries that are not read: for each reason, their number and the first names."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, list[str]]] = {}

    def add(self, reason: str, name: str, count: int = 1) -> None:
        """Record `count` entries with this name."""
        before, names = self._found.get(reason, (0, []))
        if len(names) <= NAMED:
            names.append(readable(name[:NAMED_CHARACTERS]))
        self._found[reason] = before + count, names

    def phrases(self) -> tuple[str, ...]:
        """One phrase for each reason: "files that are no images by their name: 18 (cat/0.xml,
        cat/1.xml, …)".
        """
        return tuple(_phrase(reason, count, names) for reason, (count, names) in self._found.items())


def _phrase(reason: str, count: int, names: list[str]) -> str:
    return f"{reason}: {count:,} ({', '.join(names[:NAMED])}{', …' if len(names) > NAMED else ''})"


@dataclass(eq=False)
class Folder:
    """A folder with its sub-folders. Must be complete before the first use of `live` and `total`.

    `count`: number of possible images directly in it. `images`: the paths of all these images, or
    of the first ones only. `annotations`: path of a list of labels in it.
    """

    name: str
    count: int = 0
    images: list[str] = field(default_factory=list[str])
    annotations: str | None = None
    folders: "dict[str, Folder]" = field(default_factory=dict[str, "Folder"])

    def below(self, name: str) -> "Folder":
        """The sub-folder with this name; creates it if it is missing."""
        return self.folders.setdefault(name, Folder(readable(name)))

    @cached_property
    def total(self) -> int:
        """Number of images in it, at any depth."""
        return self.count + sum(folder.total for folder in self.folders.values())

    @cached_property
    def live(self) -> "list[Folder]":
        """Its sub-folders with images at any depth, sorted by name."""
        return sorted((folder for folder in self.folders.values() if folder.total), key=lambda folder: folder.name)

    def everything(self) -> "Iterator[str]":
        """The paths of all images in it, at any depth."""
        yield from self.images
        for folder in self.folders.values():
            yield from folder.everything()


@dataclass
class Listing:
    """A tree of folders, the entries left out, and doubts about the decoding of names.

    `others`: the paths of the first MOST_OTHERS files without the suffix of an image.
    """

    root: Folder = field(default_factory=lambda: Folder(""))
    left_out: LeftOut = field(default_factory=LeftOut)
    doubts: dict[str, None] = field(default_factory=dict[str, None])
    others: list[str] = field(default_factory=list[str])

    def add(self, folder: Folder, name: str, path: str, kept: int | None = None) -> None:
        r"""Add a file to `folder`, which keeps at most `kept` paths.

        `\` in `name` separates folders.
        """
        if "\\" in name:
            self.doubts[BACKSLASHES] = None
            *parents, name = pieces_of(name)
            if any(map(is_system, parents)):
                self.left_out.add(SYSTEM, path)
                return
            for parent in parents:
                folder = folder.below(parent)
        if is_system(name):
            self.left_out.add(SYSTEM, path)
            return
        if len(self.others) < MOST_OTHERS and not is_image_name(name):
            self.others.append(path)
        if is_side_file(name):
            folder.annotations = path if is_annotation(name) else folder.annotations
            self.left_out.add(SIDE_FILES, path)
        else:
            folder.count += 1
            if kept is None or len(folder.images) < kept:
                folder.images.append(path)


def pieces_of(path: str) -> list[str]:
    r"""The names of a path with `/` or `\` between them."""
    return [piece for piece in path.replace("\\", "/").split("/") if piece not in ("", ".")] or [path]


def check_depth(depth: int, folder: str) -> None:
    """Raises DatasetRejected for a folder that is nested too deeply."""
    if depth > MAX_DEPTH:
        raise DatasetRejected(f"{readable(folder[:NAMED_CHARACTERS])}: folders are nested more than {MAX_DEPTH} deep")


def listing_of(paths: Iterable[str], *, kept: int | None = None) -> Listing:
    r"""The tree of `paths`. `/` or `\` separates folders; a path that ends with it is a folder."""
    listing = Listing()
    folders: dict[str, Folder | None] = {"": listing.root}
    for path in sorted(paths):
        if "\\" in path:
            listing.doubts[BACKSLASHES] = None
        if path.endswith(("/", "\\")):
            continue
        *parents, name = pieces_of(path)
        parent = "/".join(parents)
        check_depth(len(parents), parent)
        folder = _folder_at(parent, folders)
        if folder is None:
            listing.left_out.add(SYSTEM, path)
        else:
            listing.add(folder, name, path, kept)
    return listing


def _folder_at(path: str, folders: dict[str, Folder | None]) -> Folder | None:
    """The folder at `path`; None if it is in a system folder."""
    if path not in folders:
        parent, _, name = path.rpartition("/")
        above = _folder_at(parent, folders)
        folders[path] = None if above is None or is_system(name) else above.below(name)
    return folders[path]
