"""Statistics of the images of an import, for its report."""

import hashlib
from collections import Counter
from collections.abc import Iterable

import numpy as np

from worker.datasets.decode import Picture
from worker.datasets.shards.index import TEST

LEAST_DIFFERENCE = 16  # of 255 between two channels; JPEG makes grey images differ by less
DIGEST_BYTES = 16
HASHED_BYTES = 2047  # for more at once, hashlib gives the interpreter to other threads and waits to get it back
NAMED_LEAKS = 5


class ImportStatistics:
    """Collects what a report tells of the images. Some 40 bytes an image."""

    def __init__(self) -> None:
        self.images = 0
        self.size_bytes = 0
        self.colour = False
        self.modes: Counter[str] = Counter()
        self.smallest = self.largest = (0, 0)
        self._sides: Counter[int] = Counter()
        self._contents = bytearray()
        self._pictures = bytearray()
        self._tested = bytearray()

    def add(self, picture: Picture, size_bytes: int, sha256: bytes) -> None:
        """Count an image. `picture` is a thumbnail of it."""
        size = picture.width, picture.height
        self.smallest = min(self.smallest, size, key=_area) if self.images else size
        self.largest = max(self.largest, size, key=_area)
        self.images += 1
        self.size_bytes += size_bytes
        self.colour = self.colour or _difference(picture.pixels) > LEAST_DIFFERENCE
        self.modes[picture.mode] += 1
        self._sides[min(size)] += 1
        self._contents += sha256[:DIGEST_BYTES]
        self._pictures += picture_digest(picture)

    def add_splits(self, splits: Iterable[str]) -> None:
        """Tell the splits of the images added since the last call, in their order."""
        self._tested += bytes(split == TEST for split in splits)

    @property
    def side(self) -> int:
        """The median of the short sides in pixels."""
        before = 0
        for side in sorted(self._sides):
            before += self._sides[side]
            if 2 * before >= self.images:
                return side
        return 0

    @property
    def repeated(self) -> int:
        """The number of images whose bytes an earlier image has."""
        return self.images - len(np.unique(_rows(self._contents)))

    def leaked(self) -> np.ndarray:
        """Positions, in the order of `add`, of test images whose picture a training image has."""
        pictures, tested = _rows(self._pictures), np.frombuffer(self._tested, np.bool_)
        return np.flatnonzero(tested & np.isin(pictures, pictures[~tested]))


def _difference(pixels: np.ndarray) -> int:
    """The largest difference between two channels of a pixel."""
    return int((pixels.max(-1) - pixels.min(-1)).max())


def picture_digest(picture: Picture) -> bytes:
    """Equal for files with the same pixels, whatever their format.

    A digest of the thumbnail and the size: two different pictures have equal ones only if they look
    the same at the size of the thumbnail.
    """
    seen = hashlib.blake2b(f"{picture.width}x{picture.height}".encode(), digest_size=DIGEST_BYTES)
    pixels = picture.pixels.tobytes()
    for place in range(0, len(pixels), HASHED_BYTES):
        seen.update(pixels[place : place + HASHED_BYTES])
    return seen.digest()


def _rows(digests: bytearray) -> np.ndarray:
    return np.frombuffer(bytes(digests), np.dtype((np.void, DIGEST_BYTES)))


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]
