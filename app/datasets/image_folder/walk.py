"""Walk a folder tree. Visits every folder once, even if links form loops."""

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from app.datasets.image_folder.names import is_system, readable
from app.datasets.image_folder.tree import SYSTEM, Folder, Listing, check_depth
from app.domain.errors import DatasetRejected

MAX_ENTRIES = 2_000_000
MAX_FOLDERS = 200_000
LOOK_AT_THE_CLOCK = 1024  # entries

BROKEN_LINKS = "links that lead nowhere"
LINKS_AGAIN = "links to folders that are read under another name, or that hold the dataset"
SPECIAL = "neither files nor folders"


class LimitReached(DatasetRejected):
    """The folder has more entries than may be listed, or the walk took too long."""


@dataclass(frozen=True)
class Limits:
    """Limits of a walk, and the number of image names to keep for each folder (None: all)."""

    entries: int = MAX_ENTRIES
    folders: int = MAX_FOLDERS
    seconds: float | None = None
    kept: int | None = None


def walk(root: Path, roots: Sequence[Path], limits: Limits | None = None, walked: list[str] | None = None) -> Listing:
    """The tree below `root`, a real path. Follows links whose targets are below `roots`.

    Lists each folder once: first the folders reached without a link, then the folders that links
    add. `walked` receives the real path of each. Raises LimitReached, or DatasetRejected that names
    a link out of `roots` or a folder that cannot be listed.
    """
    return _Walk(root, [os.path.realpath(root) for root in roots], limits or Limits(), [] if walked is None else walked).run()


@dataclass(frozen=True)
class _Link:
    """A link to a folder: its place in the tree, and the real path of its target."""

    parent: Folder
    name: str
    path: str
    target: str
    depth: int


class _Walk:
    def __init__(self, root: Path, roots: Sequence[str], limits: Limits, walked: list[str]) -> None:
        self._root = os.fspath(root)
        self._roots = tuple(roots)
        self._limits = limits
        self._deadline = None if limits.seconds is None else time.monotonic() + limits.seconds
        self._listing = Listing()
        self._entries = 0
        self._seen: set[tuple[int, int]] = set()
        self._links: deque[_Link] = deque()
        self._walked = walked
        self._real_parents: dict[str, str] = {}

    def run(self) -> Listing:
        self._list(self._root, "", self._listing.root, 0)
        while self._links:
            self._follow(self._links.popleft())
        return self._listing

    def _follow(self, link: _Link) -> None:
        if _is_below(self._root, link.target) or self._identity(link.target, link.path) in self._seen:
            self._listing.left_out.add(LINKS_AGAIN, link.path)
        else:
            self._list(link.target, f"{link.path}/", link.parent.below(link.name), link.depth)

    def _list(self, real: str, prefix: str, folder: Folder, depth: int) -> None:
        """Add the content of the folder at `real`. `prefix` begins its paths in the dataset."""
        check_depth(depth, prefix)
        self._seen.add(self._identity(real, prefix))
        self._walked.append(real)
        if len(self._seen) > self._limits.folders:
            raise LimitReached(f"more than {self._limits.folders:,} folders")
        for entry in self._sorted(real, prefix):
            path = prefix + entry.name
            if entry.is_file(follow_symlinks=False):
                self._listing.add(folder, entry.name, path, self._limits.kept)
            elif is_system(entry.name):
                self._listing.left_out.add(SYSTEM, path)
            elif entry.is_symlink():
                self._link(entry, folder, path, depth)
            elif entry.is_dir(follow_symlinks=False):
                self._list(entry.path, f"{path}/", folder.below(entry.name), depth + 1)
            else:
                self._listing.left_out.add(SPECIAL, path)

    def _link(self, entry: "os.DirEntry[str]", folder: Folder, path: str, depth: int) -> None:
        target = self._target(entry.path)
        if target is not None and not any(_is_below(target, root) for root in self._roots):
            raise DatasetRejected(f"{readable(path)} is a symbolic link that leads out of the folders that may be read")
        if target is not None and os.path.isdir(target):  # noqa: PTH112 - a Path for each of a million links is slow
            self._links.append(_Link(folder, entry.name, path, target, depth + 1))
        elif target is not None and os.path.isfile(target):  # noqa: PTH113 - the same
            self._listing.add(folder, entry.name, path, self._limits.kept)
        else:
            self._listing.left_out.add(BROKEN_LINKS if target is None else SPECIAL, path)

    def _target(self, path: str) -> str | None:
        """The real path of a link's target; None if it is missing. Resolves each parent once."""
        try:
            parent, name = os.path.split(os.path.join(os.path.dirname(path), os.readlink(path)))  # noqa: PTH115, PTH118, PTH120 - the same
        except OSError:  # deleted meanwhile
            return None
        if name in ("", ".", ".."):
            return self._existing(path)
        if parent not in self._real_parents:
            self._real_parents[parent] = os.path.realpath(parent)
        target = os.path.join(self._real_parents[parent], name)  # noqa: PTH118 - the same
        return self._existing(target) if os.path.islink(target) or not os.path.exists(target) else target  # noqa: PTH110, PTH114 - the same

    def _existing(self, path: str) -> str | None:
        """The real path; None if it is missing below the roots.

        Returns a missing path outside the roots, so that the caller refuses the link.
        """
        real = os.path.realpath(path)
        if os.path.exists(real) or not any(_is_below(real, root) for root in self._roots):  # noqa: PTH110 - the same
            return real
        return None

    def _sorted(self, real: str, prefix: str) -> "Sequence[os.DirEntry[str]]":
        try:
            with os.scandir(real) as entries:
                return sorted(self._counted(entries), key=attrgetter("name"))
        except OSError as error:
            raise DatasetRejected(f"{readable(prefix) or self._root} cannot be listed: {error.strerror}") from error

    def _counted(self, entries: "Iterator[os.DirEntry[str]]") -> "Iterator[os.DirEntry[str]]":
        for number, entry in enumerate(entries, start=self._entries + 1):
            if number > self._limits.entries:
                raise LimitReached(f"more than {self._limits.entries:,} files and folders")
            if number % LOOK_AT_THE_CLOCK == 0:
                self._look_at_the_clock()
            self._entries = number
            yield entry
        self._look_at_the_clock()

    def _look_at_the_clock(self) -> None:
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise LimitReached(f"listing it took longer than {self._limits.seconds:g} s")

    def _identity(self, real: str, path: str) -> tuple[int, int]:
        try:
            found = os.stat(real)  # noqa: PTH116 - the same
        except OSError as error:
            raise DatasetRejected(f"{readable(path) or real} cannot be listed: {error.strerror}") from error
        return found.st_dev, found.st_ino


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
