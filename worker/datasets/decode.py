"""A decoder for untrusted files: known formats, bounded sizes, and a reason for every failure.

It runs in a child process (`decode_pool.py`), which bounds the time and the memory that one file
may cost.
"""

import io
import struct
import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps, JpegImagePlugin

from app.domain.errors import DatasetRejected
from app.domain.text import printable
from worker.datasets.image_limits import structural_fault

# The first image of an animation or a file with several pages counts. The list omits formats
# without a signature (TGA), containers of other formats (ICO, EPS, PDF), and rarely used formats.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "PPM")
MAX_FILE_BYTES = 64 << 20
MAX_PIXELS = 1 << 24
MAX_SIDE = 1 << 15
DRAFT = 2  # a JPEG is decoded at an eighth, a quarter or half of its size if that is this many times the wanted one
MODES = {1: "L", 3: "RGB"}
UNKNOWN = f"not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image (convert others to PNG)"

_TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # tags of a TIFF


class BadImage(DatasetRejected):
    """A file is no usable image. The message is "name: reason", without control characters."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{printable(name)}: {printable(reason)}")


class Undecodable(Exception):
    """A file is no usable image; the message is the reason."""


@dataclass(frozen=True)
class Pixels:
    """The form of decoded images: `size` pixels a side and 1 or 3 `channels`. Files with more than
    `max_pixels` are refused. A `thumbnail` is made faster, and less exactly.
    """

    size: int
    channels: int
    max_pixels: int = MAX_PIXELS
    thumbnail: bool = False

    @property
    def bytes_per_image(self) -> int:
        return self.size * self.size * self.channels


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded image [size, size, channels], and its file's width and height in pixels, upright or
    not, and mode as Pillow names it.
    """

    pixels: UInt8[np.ndarray, "size size channels"]
    width: int
    height: int
    mode: str


def decode(content: bytes, pixels: Pixels) -> Picture:
    """The image in a file, upright, with the short side resized to `pixels.size`, cropped at the
    centre.

    Raises Undecodable for a truncated or corrupt file, another format, or an image that is too
    large by its header, before it decompresses anything.
    """
    if len(content) > MAX_FILE_BYTES:
        raise Undecodable(f"larger than {MAX_FILE_BYTES >> 20} MiB")
    if fault := structural_fault(content):
        raise Undecodable(fault)
    try:
        return _picture(content, pixels)
    except Undecodable:
        raise
    except MemoryError as error:
        raise Undecodable("needs more memory to decode than one image may use") from error
    except Image.UnidentifiedImageError as error:
        raise Undecodable(UNKNOWN) from error
    except Exception as error:  # hostile bytes can cause any exception
        raise Undecodable(f"cannot be decoded ({error})") from error


def fit(image: Image.Image, image_size: int) -> Image.Image:
    """The centre square of `image` at `image_size` pixels a side (bicubic, antialiased when it
    shrinks).
    """
    if image.size == (image_size, image_size):
        return image
    return ImageOps.fit(image, (image_size, image_size), Image.Resampling.BICUBIC)


def to_array(image: Image.Image, channels: int) -> UInt8[np.ndarray, "height width channels"]:
    """The image's pixels in 1 (grey) or 3 (RGB) channels; transparency becomes white."""
    pixels = np.asarray(_opaque(image).convert(MODES[channels]))
    return pixels.reshape(image.height, image.width, channels)


def _picture(content: bytes, pixels: Pixels) -> Picture:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of bombs and odd metadata; the limits below count instead
        with _opened(content) as image:
            (width, height), mode = image.size, image.mode
            _check_size(width, height, pixels.max_pixels)
            image.draft(None, (DRAFT * pixels.size, DRAFT * pixels.size))
            image.load()
            upright = _opaque(_upright(image))
            if pixels.thumbnail and (factor := min(upright.size) // pixels.size) > 1:
                upright = upright.reduce(factor)
            array = to_array(fit(upright, pixels.size), pixels.channels)
            return Picture(array, width, height, mode)


def _opened(content: bytes) -> Image.Image:
    if content.startswith(b"\xff\xd8\xff"):  # Image.open would search for further images of a stereo or phone photo
        return JpegImagePlugin.JpegImageFile(io.BytesIO(content))
    return Image.open(io.BytesIO(content), formats=FORMATS)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise Undecodable(f"{width} x {height} pixels; at most {max_pixels:,} are read")
    if max(width, height) > MAX_SIDE:
        raise Undecodable(f"{width} x {height} pixels; a side of at most {MAX_SIDE:,} is read")


def _upright(image: Image.Image) -> Image.Image:
    """The image, rotated by its EXIF orientation.

    ImageOps.exif_transpose also rewrites the metadata, and so fails on odd ones.
    """
    method = _TRANSPOSED.get(_orientation(image))
    return image if method is None else image.transpose(method)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 if the metadata are unreadable."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (ArithmeticError, AttributeError, LookupError, OSError, SyntaxError, TypeError, ValueError, struct.error):
        return 1
    return found if isinstance(found, int) else 1


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):
        raise Undecodable("pixels of 32 bits or with a sign have no known range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        return _sixteen_bit_to_eight(image)
    if not image.has_transparency_data:
        return image if image.mode in ("L", "RGB") else image.convert("L" if image.mode == "1" else "RGB")
    layered = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")


def _sixteen_bit_to_eight(image: Image.Image) -> Image.Image:
    tags = getattr(image, "tag_v2", {})
    most = (1 << tags.get(_BITS_PER_SAMPLE, (16,))[0]) - 1
    values = np.asarray(image)
    grey = (np.clip(values, 0, most) // (most // 255)).clip(max=255).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    if isinstance(clear := image.info.get("transparency"), int):
        grey[values == clear] = 255
    return Image.fromarray(grey)
