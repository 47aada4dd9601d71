"""The protocol between a process and the child that decodes images for it.

A request is a batch of files. The parent sends it completely before it reads the first answer, so
neither end waits for the other. An answer is pixels or a reason. Nothing is unpickled: a
compromised decoder can only send wrong pixels.
"""

import socket
import struct
from collections.abc import Sequence

import numpy as np

from worker.datasets.decode import Picture, Pixels

READY = b"+"
MOST_WORDS = 2000

_COUNT = struct.Struct("<I")
_FILE = struct.Struct("<QIBQ?")  # bytes of the file, side, channels, max_pixels, thumbnail
_ANSWER = struct.Struct("<?III8s")  # whether pixels follow, how many bytes, width and height of the file's image, its mode


class Closed(Exception):
    """The other end has closed the connection."""


def send_batch(connection: socket.socket, contents: Sequence[bytes], pixels: Pixels) -> None:
    """Send the files to decode."""
    form = (pixels.size, pixels.channels, pixels.max_pixels, pixels.thumbnail)
    files = (part for content in contents for part in (_FILE.pack(len(content), *form), content))
    connection.sendall(b"".join([_COUNT.pack(len(contents)), *files]))


def receive_batch(connection: socket.socket) -> list[tuple[bytes, Pixels]]:
    """The files to decode; empty if the other end has closed."""
    try:
        (count,) = _COUNT.unpack(receive(connection, _COUNT.size))
    except Closed:
        return []
    return [_receive_file(connection) for _ in range(count)]


def send_picture(connection: socket.socket, picture: Picture) -> None:
    payload = picture.pixels.tobytes()
    connection.sendall(_ANSWER.pack(True, len(payload), picture.width, picture.height, picture.mode.encode()[:8]) + payload)


def send_refusal(connection: socket.socket, reason: str) -> None:
    payload = reason.encode("utf-8", "backslashreplace")[:MOST_WORDS]
    connection.sendall(_ANSWER.pack(False, len(payload), 0, 0, b"") + payload)


def receive_answer(connection: socket.socket, pixels: Pixels) -> Picture | str:
    """The decoded image, or the reason why there is none.

    Raises Closed, also for an invalid answer.
    """
    decoded, size, width, height, mode = _ANSWER.unpack(receive(connection, _ANSWER.size))
    if size != pixels.bytes_per_image if decoded else size > MOST_WORDS:
        raise Closed
    payload = receive(connection, size)
    if not decoded:
        return payload.decode(errors="replace")
    array = np.frombuffer(payload, np.uint8).reshape(pixels.size, pixels.size, pixels.channels)
    return Picture(array, width, height, mode.rstrip(b"\0").decode("ascii", "replace"))


def receive(connection: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes. Raises Closed."""
    received = bytearray(size)
    view, place = memoryview(received), 0
    while place < size:
        count = connection.recv_into(view[place:])
        if not count:
            raise Closed
        place += count
    return bytes(received)


def _receive_file(connection: socket.socket) -> tuple[bytes, Pixels]:
    size, *form = _FILE.unpack(receive(connection, _FILE.size))
    return receive(connection, size), Pixels(*form)
