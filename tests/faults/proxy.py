"""A TCP proxy whose network can fail: cut (refused and reset), half-open (accepted, then silence), slow."""

import asyncio
import socket
import struct
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from enum import StrEnum

CHUNK_BYTES = 1 << 16
SLOW_SECONDS = 0.1  # for each chunk, in each direction
_RESET = struct.pack("ii", 1, 0)  # the SO_LINGER with which a close sends RST


class Network(StrEnum):
    WHOLE = "whole"
    CUT = "cut"
    HALF_OPEN = "half-open"
    SLOW = "slow"


class Proxy:
    """Passes bytes between `port` and `target` of this machine, on the event loop of `proxies`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, port: int, target: int) -> None:
        self._loop = loop
        self._port = port
        self._target = target
        self._network = Network.WHOLE
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._reset = asyncio.Event()
        self.set(Network.WHOLE)

    def set(self, network: Network) -> None:
        """Change the network; what was half-open is reset by the next change, as by a host that has forgotten it."""
        asyncio.run_coroutine_threadsafe(self._set(network), self._loop).result(10)

    async def _set(self, network: Network) -> None:
        before, self._network = self._network, network
        if network is Network.CUT or before is Network.HALF_OPEN:
            self._reset_all()
        if network is Network.CUT and self._server is not None:
            self._server.close()
            self._server = None
        if network is not Network.CUT and self._server is None:
            self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self._port, reuse_address=True)

    def _reset_all(self) -> None:
        for writer in list(self._writers):
            with suppress(OSError):  # closed by the other end meanwhile
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
        self._writers.clear()
        self._reset.set()
        self._reset = asyncio.Event()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        if self._network is Network.HALF_OPEN:
            return  # says nothing until the network is whole again
        with suppress(OSError, asyncio.CancelledError):  # asyncio's own callback stumbles over a cancelled one
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(far_writer)
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
            self._writers.discard(far_writer)
        self._writers.discard(writer)
        writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if self._network is Network.SLOW:
                    await asyncio.sleep(SLOW_SECONDS)
                if self._network is Network.HALF_OPEN:
                    await self._reset.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


@contextmanager
def running_loop() -> Generator[asyncio.AbstractEventLoop]:
    """An event loop for proxies, in a thread of its own while the block runs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="proxies")
    thread.start()
    try:
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
