"""A spool on disk for images, before they go into an archive."""

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
    """The place of a PNG file in the spool, and the SHA-256 of its bytes."""

    offset: int
    size_bytes: int
    sha256: str


class PngSpool:
    """Images of one size as PNG files, concatenated in a file on disk. At most one is in memory.

    Images arrive task by task, in the order of sampling. An archive needs them in another order,
    and needs the hashes of all images before the first image.
    """

    def __init__(self, stream: IO[bytes], stored: Sequence[StoredPng] = (), image_shape: tuple[int, ...] | None = None) -> None:
        self._stream = stream
        self._stored = list(stored)
        self._image_shape = image_shape

    def append(self, pixels: Pixels) -> None:
        """Append an image.

        Raises ValueError if its size differs, OSError if the disk is full.
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
        """Number, height, width and channels of the images. Raises ValueError if there are none."""
        if self._image_shape is None:
            raise ValueError("there are no images yet")
        return len(self), *self._image_shape

    def stored(self, row: int) -> StoredPng:
        return self._stored[row]

    def content(self, row: int) -> bytes:
        """The bytes of the PNG file at `row`."""
        found = self._stored[row]
        self._stream.seek(found.offset)
        return self._stream.read(found.size_bytes)

    def __getitem__(self, row: int) -> Pixels:
        pixels = np.asarray(Image.open(io.BytesIO(self.content(row))))
        return pixels.reshape(self.shape[1:])

    def in_order(self, rows: Sequence[int] | np.ndarray) -> Self:
        """A view of these images in this order, without a copy."""
        return type(self)(self._stream, [self._stored[row] for row in rows], self._image_shape)


def png_bytes(image: Image.Image) -> bytes:
    """A PNG file. Its bytes depend only on the pixels."""
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=6)
    return stream.getvalue()


def to_pil(pixels: Pixels) -> Image.Image:
    """A grey image from 1 channel, or an RGB image from 3."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[-1] == 1 else pixels)
