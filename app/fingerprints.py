"""What tells whether a file or folder has changed."""

from os import stat_result
from typing import NamedTuple

# A file system keeps times in ticks. Two changes within one tick give the same fingerprint.
# Remember nothing about a file that changed less than this before it was read.
SETTLED_SECONDS = 2.0


class Fingerprint(NamedTuple):
    """Equal while a file is unchanged; that of a folder also changes with the names in it."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int  # `cp -p` and `touch -r` preserve mtime, but not this


def fingerprint(stat: stat_result) -> Fingerprint:
    return Fingerprint(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
