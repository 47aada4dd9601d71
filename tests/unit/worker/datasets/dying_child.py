"""A child that speaks as one that decodes does, and does what its files say: `kill`, `once FILE`, `busy`, `silent`, `lie`."""

import contextlib
import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path

import numpy as np

from worker.datasets import decode_wire as wire
from worker.datasets.decode import Picture


def main(connection: socket.socket) -> None:
    connection.sendall(wire.READY)
    while batch := wire.receive_batch(connection):
        for content, pixels in batch:
            word, _, rest = content.decode().partition(" ")
            act(word, rest, connection)
            if word == "bad":
                wire.send_refusal(connection, rest)
            else:
                sevens = np.full((pixels.size, pixels.size, pixels.channels), 7, np.uint8)
                wire.send_picture(connection, Picture(sevens, pixels.size, pixels.size, "RGB"))


def act(word: str, rest: str, connection: socket.socket) -> None:
    match word:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "once" if not Path(rest).exists():
            Path(rest).touch()
            os.kill(os.getpid(), signal.SIGSEGV)
        case "busy":
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.kill(os.getpid(), signal.SIGXCPU)
        case "silent":
            time.sleep(600)
        case "lie":
            connection.sendall(b"\1\xff\xff\xff\x7f")
        case _:
            pass


with contextlib.suppress(wire.Closed, OSError), socket.socket(fileno=int(sys.argv[1])) as ours:
    main(ours)
