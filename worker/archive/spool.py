"""Images on their way into an archive."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Self

import numpy as np
from jaxtyping import UInt8
from PIL import Image

Pixels = UInt8[np.ndarray, "height width channels"]


@dataclass(frozen=True)
class StoredPng:
    """Where a PNG file lies in the spool, and the SHA-256 of its bytes."""

    offset: int
    size_bytes: int
    sha256: str


class PngSpool:
    """Images of one size as PNG files, one behind another in a file on disk: no more than one is in
    memory.

    An archive names the hash of every image before the first of them, in an order of its own, while
    images come in the order in which they were sampled, one task's at a time.
    """

    def __init__(self, stream: IO[bytes], stored: Sequence[StoredPng] = (), image_shape: tuple[int, ...] | None = None) -> None:
        self._stream = stream
        self._stored = list(stored)
        self._image_shape = image_shape

    def append(self, pixels: Pixels) -> None:
        """Add an image, after all others.

        Raises ValueError for one of another size, OSError where the disk is full.
        """
        if self._image_shape not in (None, pixels.shape):
            raise ValueError(f"an image of {pixels.shape} among images of {self._image_shape}")
        self._image_shape = pixels.shape
        content = png_bytes(to_pil(pixels))
        offset = self._stream.seek(0, io.SEEK_END)
        self._stream.write(content)
        self._stored.append(StoredPng(offset, len(content), hashlib.sha256(content).hexdigest()))

    def __len__(self) -> int:
        return len(self._stored)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number, height, width and channels of the images. Raises ValueError while there is none."""
        if self._image_shape is None:
            raise ValueError("there are no images yet")
        return len(self), *self._image_shape

    def stored(self, row: int) -> StoredPng:
        return self._stored[row]

    def content(self, row: int) -> bytes:
        """The bytes of a PNG file."""
        found = self._stored[row]
        self._stream.seek(found.offset)
        return self._stream.read(found.size_bytes)

    def __getitem__(self, row: int) -> Pixels:
        pixels = np.asarray(Image.open(io.BytesIO(self.content(row))))
        return pixels.reshape(self.shape[1:])

    def in_order(self, rows: Sequence[int] | np.ndarray) -> Self:
        """These images in this order, without a copy."""
        return type(self)(self._stream, [self._stored[row] for row in rows], self._image_shape)


def png_bytes(image: Image.Image) -> bytes:
    """A PNG file, whose bytes follow from the pixels alone."""
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=6)
    return stream.getvalue()


def to_pil(pixels: Pixels) -> Image.Image:
    """A grey or RGB image of 1 or 3 channels."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[-1] == 1 else pixels)
