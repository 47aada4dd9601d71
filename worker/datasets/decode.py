"""A decoder that is safe on files from strangers: few formats, bounded sizes, every failure names its file."""

import io
import warnings

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from app.domain.errors import DatasetRejected

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MAX_FILE_BYTES = 64 << 20
MAX_PIXELS = 64_000_000
MODES = {1: "L", 3: "RGB"}


class BadImage(DatasetRejected):
    """One file that is no usable image; the text is "name: reason"."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")


def decode(content: bytes, name: str, *, image_size: int, channels: int) -> UInt8[np.ndarray, "size size channels"]:
    """Pixels of an image file: upright, the short side resized to `image_size`, cropped at the centre.

    Raises BadImage naming `name` for a truncated or corrupt file, another format, or more than MAX_PIXELS pixels (known
    from the header, before anything is decompressed).
    """
    if len(content) > MAX_FILE_BYTES:
        raise BadImage(name, f"larger than {MAX_FILE_BYTES >> 20} MiB")
    try:
        return _pixels(content, name, image_size, channels)
    except (BadImage, MemoryError):
        raise
    except Image.UnidentifiedImageError as error:
        raise BadImage(name, f"not a {', '.join(FORMATS)} image") from error
    except Exception as error:  # decoders answer hostile bytes with nearly any exception
        raise BadImage(name, f"cannot be decoded ({error})") from error


def fit(image: Image.Image, image_size: int) -> Image.Image:
    """The centre square of `image` at `image_size` pixels a side (bicubic, antialiased when it shrinks)."""
    if image.size == (image_size, image_size):
        return image
    return ImageOps.fit(image, (image_size, image_size), Image.Resampling.BICUBIC)


def to_array(image: Image.Image, channels: int) -> UInt8[np.ndarray, "height width channels"]:
    """The image's pixels in 1 (grey) or 3 (RGB) channels; transparency becomes white."""
    pixels = np.asarray(_opaque(image).convert(MODES[channels]))
    return pixels.reshape(image.height, image.width, channels)


def _pixels(content: bytes, name: str, image_size: int, channels: int) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of bombs and odd metadata; the limit below is what counts
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise BadImage(name, f"{image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are read")
            upright = ImageOps.exif_transpose(image)
            return to_array(fit(_opaque(upright), image_size), channels)


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _sixteen_bit_to_eight(image)
    if not image.has_transparency_data:
        return image if image.mode in ("L", "RGB") else image.convert("L" if image.mode == "1" else "RGB")
    layered = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")


def _sixteen_bit_to_eight(image: Image.Image) -> Image.Image:
    return Image.fromarray((np.clip(np.asarray(image), 0, 65535) // 257).astype(np.uint8))
