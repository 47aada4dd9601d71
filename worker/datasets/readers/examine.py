"""Read and decode many files in parallel; results come in order."""

import hashlib
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np

from app.datasets.image_folder import Item
from app.domain.errors import DatasetRejected
from worker.datasets.decode import BadImage, Pixels
from worker.datasets.decode_pool import Decoded, DecodePool, Refused, decoders
from worker.datasets.readers.files import Files
from worker.progress import Heartbeat, no_heartbeat

PART_FILES = 8  # few, because a stopped reader waits for the parts being decoded
PART_BYTES = 8 << 20  # of one message to a child, and of its decoded images, unless a single one is larger
HEARTBEAT_SECONDS = 1.0
MOST_KILLED = 20  # children that a dataset may kill before it is refused


@dataclass(frozen=True, eq=False)
class Examined:
    """The image of a file, or the reason why there is none; its listed size, and the SHA-256 of its
    content if readable.
    """

    image: np.ndarray | None
    fault: BadImage | None
    size: int
    sha256: str


def examine(files: Files, items: Sequence[Item], pixels: Pixels, heartbeat: Heartbeat = no_heartbeat) -> Generator[Examined]:
    """One result per item, in order.

    Reads a few parts ahead, so memory does not grow with the number of files. Calls `heartbeat`
    every HEARTBEAT_SECONDS while it waits for a result; `heartbeat` may raise to stop.

    Raises DatasetRejected if more than MOST_KILLED files exceed a decoder's time or memory.
    """
    pool, killed = decoders(pixels.max_pixels), 0
    with ThreadPoolExecutor(pool.size, "decode") as threads:
        ahead: deque[Future[list[tuple[Examined, bool]]]] = deque()
        parts = _parts(files, items, pixels)
        try:
            while True:
                while len(ahead) < 2 * pool.size and (part := next(parts, None)):
                    ahead.append(threads.submit(_examine_part, pool, files, part, pixels))
                if not ahead:
                    return
                while not wait([ahead[0]], HEARTBEAT_SECONDS).done:
                    heartbeat()
                for examined, was_killed in ahead.popleft().result():
                    killed += was_killed
                    if killed > MOST_KILLED:
                        raise DatasetRejected(
                            f"more than {MOST_KILLED} files cannot be decoded in bounds, such as {examined.fault}"
                        )
                    yield examined
        finally:
            for future in ahead:
                future.cancel()


def images_of(files: Files, items: Sequence[Item], pixels: Pixels) -> Iterator[np.ndarray]:
    """The images of the items. Raises BadImage for one that is no longer readable."""
    for examined in examine(files, items, pixels):
        if examined.image is None:
            raise examined.fault or BadImage("", "")
        yield examined.image


def _parts(files: Files, items: Sequence[Item], pixels: Pixels) -> Iterator[list[tuple[Item, int]]]:
    """The items with their sizes, in parts."""
    most = max(1, min(PART_FILES, PART_BYTES // pixels.bytes_per_image))
    part: list[tuple[Item, int]] = []
    size_bytes = 0
    for item in items:
        size = files.size(item.path)
        if part and (len(part) == most or size_bytes + size > PART_BYTES):
            yield part
            part, size_bytes = [], 0
        part.append((item, size))
        size_bytes += size
    if part:
        yield part


def _examine_part(
    pool: DecodePool, files: Files, part: Sequence[tuple[Item, int]], pixels: Pixels
) -> list[tuple[Examined, bool]]:
    read = [_read(files, item) for item, _ in part]
    decoded = iter(pool.decode([content for content in read if isinstance(content, bytes)], pixels))
    return [_examined(item, size, content, decoded) for (item, size), content in zip(part, read, strict=True)]


def _read(files: Files, item: Item) -> bytes | BadImage:
    try:
        return files.read(item.path)
    except BadImage as error:
        return error


def _examined(item: Item, size: int, content: bytes | BadImage, decoded: Iterator[Decoded]) -> tuple[Examined, bool]:
    """The result for a file, and whether it killed a child."""
    if isinstance(content, BadImage):
        return Examined(None, content, size, hashlib.sha256(b"").hexdigest()), False
    result, sha256 = next(decoded), hashlib.sha256(content).hexdigest()
    if isinstance(result, Refused):
        return Examined(None, BadImage(item.name, result.reason), size, sha256), result.killed
    return Examined(result, None, size, sha256), False
