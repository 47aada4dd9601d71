"""Tell whether the files of a dataset have changed, without reading them."""

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

from app.datasets.image_folder import walk
from app.fingerprints import SETTLED_SECONDS, fingerprint
from worker.progress import Heartbeat, no_heartbeat

BEAT_FILES = 4096


def source_fingerprint(path: Path, roots: Sequence[Path], heartbeat: Heartbeat = no_heartbeat) -> str | None:
    """A digest of the names, sizes and times of the file at `path`, or of all files below it.

    None if a file changed so recently that a further change might not show. Raises DatasetRejected
    if a folder cannot be listed.
    """
    before_ns = time.time_ns() - int(SETTLED_SECONDS * 1e9)
    paths: Sequence[str] = [""]
    if path.is_dir():
        listing = walk(path, roots)
        paths = sorted({*listing.root.everything(), *listing.others})
    digest = hashlib.sha256()
    for number, name in enumerate(paths):
        if number % BEAT_FILES == 0:
            heartbeat()
        try:
            mark = fingerprint((path / name).stat())
        except OSError:  # deleted meanwhile: the import says so
            return None
        if mark.mtime_ns >= before_ns or mark.ctime_ns >= before_ns:
            return None
        digest.update(f"{name}\0{mark.inode} {mark.size} {mark.mtime_ns} {mark.ctime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
