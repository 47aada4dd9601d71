"""Checks of a file's structure before decompression: a small file could cost much time."""

import re

MAX_SCANS = 64  # a progressive JPEG has about 10; each is a pass over the image
MAX_CHUNKS = 65_536  # of a PNG; encoders write a few kilobytes into each

_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")  # neither a stuffed FF nor a restart marker
_PNG = b"\x89PNG\r\n\x1a\n"
_LEAST_CHUNK = 12  # bytes
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9


def structural_fault(content: bytes) -> str | None:
    """The reason not to decode the file, or None."""
    if content.startswith(b"\xff\xd8") and content.count(b"\xff\xda") > MAX_SCANS:  # most files need no closer look
        return _beyond(scans_of(content), MAX_SCANS, "JPEG scans")
    if content.startswith(_PNG) and len(content) > MAX_CHUNKS * _LEAST_CHUNK:
        return _beyond(chunks_of(content), MAX_CHUNKS, "PNG chunks")
    return None


def scans_of(jpeg: bytes) -> int:
    """The number of scans of the first image, counted up to MAX_SCANS + 1. Ignores markers in
    metadata.
    """
    scans, place = 0, 2
    while scans <= MAX_SCANS and (marker := _MARKER.search(jpeg, place)):
        kind = marker[1][0]
        if kind == _END_OF_IMAGE:
            break
        scans += kind == _START_OF_SCAN
        place = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2])
    return scans


def chunks_of(png: bytes) -> int:
    """The number of chunks of the file, counted up to MAX_CHUNKS + 1."""
    chunks, place = 0, len(_PNG)
    while chunks <= MAX_CHUNKS and place + 8 <= len(png):
        chunks += 1
        place += 12 + int.from_bytes(png[place : place + 4])
    return chunks


def _beyond(count: int, most: int, what: str) -> str | None:
    return f"more than {most:,} {what}" if count > most else None
