"""Send an open file, also if it is renamed or deleted meanwhile."""

import os
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import IO

import structlog
from anyio.to_thread import run_sync
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.domain.errors import ArtifactDamaged

CHUNK_BYTES = 256 << 10

log = structlog.get_logger()


class OpenFileResponse(StreamingResponse):
    """Sends the file, or only `part` of it. Closes the file in every case."""

    def __init__(
        self, file: IO[bytes], size_bytes: int, part: range | None, *, media_type: str, headers: Mapping[str, str]
    ) -> None:
        whole = range(size_bytes)
        sent = whole if part is None else part
        lengths = {"Accept-Ranges": "bytes", "Content-Length": str(len(sent))}
        if part is not None:
            lengths["Content-Range"] = f"bytes {sent.start}-{sent.stop - 1}/{size_bytes}"
        super().__init__(self._chunks(sent), 200 if part is None else 206, {**headers, **lengths}, media_type)
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["method"] == "HEAD":
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                await send({"type": "http.response.body"})
            else:
                await super().__call__(scope, receive, send)
        finally:
            self._file.close()

    async def _chunks(self, sent: range) -> AsyncIterator[bytes]:
        position = sent.start
        while position < sent.stop:
            read = partial(os.pread, self._file.fileno(), min(CHUNK_BYTES, sent.stop - position), position)
            chunk = await run_sync(read)
            if not chunk:
                log.error("artifact.damaged", reason="a file became shorter while it was sent", at_byte=position)
                raise ArtifactDamaged("the file became shorter while it was sent")
            position += len(chunk)
            yield chunk
