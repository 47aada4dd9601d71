"""Writes files that exist whole or not at all, even after a power failure."""

import io
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from safetensors import SafetensorError

from app.domain.errors import PermanentError


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file beside `path`, force it to the disk, and rename it to `path`.

    After a failure `path` is as it was.
    """
    beside = path.with_name(f"{path.name}.part")
    try:
        beside.write_bytes(content)
        sync(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write text in UTF-8, as `write_bytes` does.

    Characters that cannot be encoded (of a file name in another encoding) appear as `\\udce9`.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_image(path: Path, image: Image.Image) -> None:
    """Write a picture as `write_bytes` does, in the format of the file name's ending."""
    stream = io.BytesIO()
    image.save(stream, path.suffix.removeprefix("."))
    write_bytes(path, stream.getbuffer())


def sync_all(folder: Path) -> None:
    """Force every file below `folder`, and the names of these files, to the disk."""
    for path in [*folder.rglob("*"), folder]:
        sync(path)


def sync(path: Path) -> None:
    """Force a file's content, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def reported_failures(folder: Path) -> Generator[None]:
    """Raises PermanentError if the system refuses to write below `folder`.

    The error says what to do.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        text = f"{folder} cannot be written: {reason or error}; mend that and repeat the command, which then goes on"
        raise PermanentError(f"{text} from the last checkpoint") from error
