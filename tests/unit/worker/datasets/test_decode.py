import io
import struct

import numpy as np
import pytest
from PIL import Image

from worker.datasets import decode as decoder
from worker.datasets.decode import BadImage, decode

RED, WHITE = [255, 0, 0], [255, 255, 255]


def encoded(image: Image.Image, form: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def decoded(content: bytes, size: int = 4, channels: int = 3) -> np.ndarray:
    return decode(content, "cat/1.png", image_size=size, channels=channels)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP"])
def test_every_supported_format_is_read(form):
    assert decoded(encoded(Image.new("RGB", (8, 8), "white"), form)).tolist() == [[WHITE] * 4] * 4


@pytest.mark.parametrize("form", ["GIF", "TIFF", "PPM", "ICO"])
def test_other_formats_are_refused_by_name(form):
    with pytest.raises(BadImage, match=r"cat/1\.png: not a PNG"):
        decoded(encoded(Image.new("RGB", (16, 16)), form))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_pixel_layout_becomes_grey_or_rgb(mode, channels):
    form = "JPEG" if mode == "CMYK" else "PNG"
    image = Image.new(mode, (6, 4)) if mode == "I;16" else Image.new("RGB", (6, 4)).convert(mode.replace("PA", "P"))
    assert decoded(encoded(image, form), channels=channels).shape == (4, 4, channels)


def test_transparent_pixels_become_white():
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert decoded(encoded(clear)).tolist() == [[WHITE] * 4] * 4


def test_sixteen_bit_grey_keeps_its_range():
    image = Image.fromarray(np.array([[0, 65535], [32896, 257]], dtype=np.uint16))
    assert decoded(encoded(image), size=2, channels=1).ravel().tolist() == [0, 255, 128, 1]


def test_exif_orientation_is_honoured():
    image = Image.new("RGB", (2, 2), "white")
    image.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise by a quarter
    assert decoded(encoded(image, exif=exif), size=2).tolist() == [[WHITE, RED], [WHITE, WHITE]]


def test_the_short_side_fits_and_the_centre_is_kept():
    image = Image.new("L", (12, 4))
    image.paste(255, (4, 0, 8, 4))
    assert decoded(encoded(image), channels=1).min() == 255


@pytest.mark.parametrize("keep", [0, 1, 20, 60, 100])
def test_a_truncated_file_is_refused_by_name(keep):
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    with pytest.raises(BadImage, match=r"^cat/1\.png: "):
        decoded(encoded(Image.fromarray(noise))[:keep])


def test_too_many_pixels_are_refused_from_the_header_alone():
    png = bytearray(encoded(Image.new("L", (8, 8))))
    png[16:24] = struct.pack(">II", 30_000, 30_000)
    with pytest.raises(BadImage, match=r"^cat/1\.png: "):
        decoded(bytes(png))


def test_the_pixel_limit_is_ours(monkeypatch):
    monkeypatch.setattr(decoder, "MAX_PIXELS", 63)
    with pytest.raises(BadImage, match=r"8 x 8 pixels; at most 63"):
        decoded(encoded(Image.new("L", (8, 8))))


def test_a_file_over_the_size_limit_is_not_decoded(monkeypatch):
    monkeypatch.setattr(decoder, "MAX_FILE_BYTES", 10)
    with pytest.raises(BadImage, match="larger than"):
        decoded(encoded(Image.new("L", (8, 8))))
