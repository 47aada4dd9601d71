"""Read and decode many files in parallel; results come in order."""

import hashlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from app.datasets.image_folder import Item
from app.domain.errors import DatasetRejected
from worker.datasets.decode import BadImage, Picture, Pixels, Undecodable
from worker.datasets.decode_pool import Decoded, DecodePool, Refused, decoders
from worker.datasets.readers.files import Files
from worker.progress import Heartbeat, no_heartbeat

PART_FILES = 16  # few, because a stopped reader waits for the parts being decoded
PART_BYTES = 8 << 20  # of one message to a child, and of its decoded images, unless a single one is larger
T = TypeVar("T")

HEARTBEAT_SECONDS = 1.0
MOST_KILLED = 20  # children that a dataset may kill before it is refused


@dataclass(frozen=True, eq=False)
class Examined:
    """The content of a file with its image and SHA-256, or the reason why there is no image."""

    content: bytes
    sha256: bytes
    picture: Picture | None
    fault: BadImage | None


def examine(files: Files, items: Iterable[Item], pixels: Pixels, heartbeat: Heartbeat = no_heartbeat) -> Generator[Examined]:
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
                for examined, was_killed in _awaited(ahead.popleft(), heartbeat):
                    killed += was_killed
                    if killed > MOST_KILLED:
                        raise DatasetRejected(
                            f"more than {MOST_KILLED} files cannot be decoded in bounds, such as {examined.fault}"
                        )
                    yield examined
        finally:
            for future in ahead:
                future.cancel()


def _awaited(part: Future[T], heartbeat: Heartbeat) -> T:
    while True:
        with suppress(FutureTimeout):
            return part.result(HEARTBEAT_SECONDS)
        heartbeat()


def _parts(files: Files, items: Iterable[Item], pixels: Pixels) -> Iterator[list[Item]]:
    most = max(1, min(PART_FILES, PART_BYTES // pixels.bytes_per_image))
    part: list[Item] = []
    size_bytes = 0
    for item in items:
        size = files.size(item.path)
        if part and (len(part) == most or size_bytes + size > PART_BYTES):
            yield part
            part, size_bytes = [], 0
        part.append(item)
        size_bytes += size
    if part:
        yield part


def _examine_part(pool: DecodePool, files: Files, part: Sequence[Item], pixels: Pixels) -> list[tuple[Examined, bool]]:
    read = [_read(files, item) for item in part]
    decoded = iter(pool.decode([content for content in read if isinstance(content, bytes)], pixels))
    return [_examined(item, content, decoded) for item, content in zip(part, read, strict=True)]


def _read(files: Files, item: Item) -> bytes | BadImage:
    try:
        return files.read(item.path)
    except BadImage as error:
        return error
    except Undecodable as error:
        return BadImage(item.name, str(error))


def _examined(item: Item, content: bytes | BadImage, decoded: Iterator[Decoded]) -> tuple[Examined, bool]:
    """The result for a file, and whether it killed a child."""
    if isinstance(content, BadImage):
        return Examined(b"", b"", None, content), False
    result, sha256 = next(decoded), hashlib.sha256(content).digest()
    if isinstance(result, Refused):
        return Examined(b"", sha256, None, BadImage(item.name, result.reason)), result.killed
    return Examined(content, sha256, result, None), False
