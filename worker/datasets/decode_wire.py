"""The protocol between a process and the child that decodes images for it.

A request is a batch of files. The parent sends it completely before it reads the first answer, so
neither end waits for the other. An answer is pixels or a reason. Nothing is unpickled: a
compromised decoder can only send wrong pixels.
"""

import socket
import struct
from collections.abc import Sequence

from worker.datasets.decode import Pixels

READY = b"+"
MOST_WORDS = 2000

_COUNT = struct.Struct("<I")
_FILE = struct.Struct("<QIBQ")  # bytes of the file, side, channels, max_pixels
_ANSWER = struct.Struct("<?I")  # whether pixels follow, and how many bytes


class Closed(Exception):
    """The other end has closed the connection."""


def send_batch(connection: socket.socket, contents: Sequence[bytes], pixels: Pixels) -> None:
    """Send the files to decode."""
    connection.sendall(_COUNT.pack(len(contents)))
    for content in contents:
        connection.sendall(_FILE.pack(len(content), pixels.size, pixels.channels, pixels.max_pixels))
        connection.sendall(content)


def receive_batch(connection: socket.socket) -> list[tuple[bytes, Pixels]]:
    """The files to decode; empty if the other end has closed."""
    try:
        (count,) = _COUNT.unpack(receive(connection, _COUNT.size))
    except Closed:
        return []
    return [_receive_file(connection) for _ in range(count)]


def send_answer(connection: socket.socket, decoded: bool, payload: bytes) -> None:
    connection.sendall(_ANSWER.pack(decoded, len(payload)) + payload)


def receive_answer(connection: socket.socket, pixels: Pixels) -> tuple[bool, bytes]:
    """Whether the image was decoded, and its bytes or the reason.

    Raises Closed, also for an invalid answer.
    """
    decoded, size = _ANSWER.unpack(receive(connection, _ANSWER.size))
    if size != pixels.bytes_per_image if decoded else size > MOST_WORDS:
        raise Closed
    return decoded, receive(connection, size)


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
    size, side, channels, max_pixels = _FILE.unpack(receive(connection, _FILE.size))
    return receive(connection, size), Pixels(side, channels, max_pixels)
