import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from worker.datasets import decode as decoder
from worker.datasets.decode import BadImage, Pixels, Undecodable, decode

RED, WHITE = [255, 0, 0], [255, 255, 255]


def encoded(image: Image.Image, form: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def decoded(content: bytes, size: int = 4, channels: int = 3) -> np.ndarray:
    return decode(content, Pixels(size, channels)).pixels


@pytest.mark.parametrize("form", ["PNG", "JPEG", "MPO", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "PPM"])
def test_every_supported_format_is_read(form):
    assert decoded(encoded(Image.new("RGB", (8, 8), "white"), form)).tolist() == [[WHITE] * 4] * 4


@pytest.mark.parametrize("form", ["ICO", "TGA", "JPEG2000", "PCX"])
def test_other_formats_are_refused_by_name(form):
    with pytest.raises(Undecodable, match=r"not a PNG, JPEG, .* or PPM image"):
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
    with pytest.raises(Undecodable):
        decoded(encoded(Image.fromarray(noise))[:keep])


def test_too_many_pixels_are_refused_from_the_header_alone():
    png = bytearray(encoded(Image.new("L", (8, 8))))
    png[16:24] = struct.pack(">II", 30_000, 30_000)
    with pytest.raises(Undecodable):
        decoded(bytes(png))


def test_the_pixel_limit_is_a_setting():
    content = encoded(Image.new("L", (8, 8)))
    assert decode(content, Pixels(4, 1, max_pixels=64)).pixels.shape == (4, 4, 1)
    with pytest.raises(Undecodable, match=r"8 x 8 pixels; at most 63"):
        decode(content, Pixels(4, 1, max_pixels=63))


@pytest.mark.parametrize("size", [(decoder.MAX_SIDE + 1, 1), (1, decoder.MAX_SIDE + 1)])
def test_a_side_has_a_limit_too(size):
    with pytest.raises(Undecodable, match="a side of at most 32,768"):
        decoded(encoded(Image.new("1", size)))


def test_a_file_over_the_size_limit_is_not_decoded(monkeypatch):
    monkeypatch.setattr(decoder, "MAX_FILE_BYTES", 10)
    with pytest.raises(Undecodable, match="larger than"):
        decoded(encoded(Image.new("L", (8, 8))))


BLUE, BLACK = [0, 0, 255], [0, 0, 0]


def test_a_bad_image_is_named_readably():
    name = b"caf\xe9\x1b.jpg".decode("utf-8", "surrogateescape")
    assert str(BadImage(name, "cut\0off")) == r"caf\xe9\x1b.jpg: cut\x00off"


@pytest.mark.parametrize("form", ["GIF", "TIFF", "WEBP", "AVIF", "PNG", "MPO"])
def test_of_several_images_the_first_is_read(form):
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    options = {"lossless": True} if form == "WEBP" else {}
    pixels = decoded(encoded(first, form, save_all=True, append_images=[second], **options)).astype(int)
    assert np.abs(pixels - RED).max() <= 3


def test_an_ink_of_cmyk_is_its_colour():
    assert np.abs(decoded(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")).astype(int) - RED).max() <= 2
    assert decoded(encoded(Image.new("CMYK", (8, 8), (0, 0, 0, 255)), "TIFF")).tolist() == [[BLACK] * 4] * 4


@pytest.mark.parametrize(
    ("mode", "colour", "grey"),
    [("1", 1, 255), ("L", 77, 77), ("LA", (77, 255), 77), ("LA", (77, 0), 255), ("LA", (0, 128), 127)],
)
def test_grey_of_every_kind_keeps_its_value(mode, colour, grey):
    assert decoded(encoded(Image.new(mode, (4, 4), colour)), channels=1).ravel().tolist() == [grey] * 16


def test_a_transparent_colour_of_a_palette_is_white_and_the_others_are_kept():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    square = image.resize((4, 4), Image.Resampling.NEAREST)
    assert decoded(encoded(square, "GIF", transparency=0)).tolist() == [[WHITE, WHITE, BLUE, BLUE]] * 4
    assert decoded(encoded(square, "PNG", transparency=0)).tolist() == [[WHITE, WHITE, BLUE, BLUE]] * 4


def tiff(rows: list[list[int]], *, bits: int = 16, white_is_zero: bool = False, kind: int = 1) -> bytes:
    """An uncompressed grey TIFF, little-endian, whose samples take `bits` each."""
    width, height = len(rows[0]), len(rows)
    if bits == 12:
        data = b"".join(
            bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for row in rows for a, b in zip(row[::2], row[1::2], strict=True)
        )
    else:
        data = np.array(rows, dtype=f"<u{bits // 8}").tobytes()
    tags = [
        (256, width), (257, height), (258, bits), (259, 1), (262, 0 if white_is_zero else 1), (273, 8), (277, 1), (278, height),
        (279, len(data)), (339, kind),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize(
    ("content", "grey"),
    [
        (tiff([[0, 65535], [32896, 257]]), [0, 255, 128, 1]),
        (tiff([[0, 65535], [32896, 257]], white_is_zero=True), [255, 0, 127, 254]),
        (tiff([[0, 4095], [2048, 16]], bits=12), [0, 255, 128, 1]),
    ],
    ids=["16 bits", "white is zero", "12 bits"],
)
def test_grey_of_many_bits_keeps_its_range(content, grey):
    assert decoded(content, size=2, channels=1).ravel().tolist() == grey


def test_a_grey_value_of_sixteen_bits_may_stand_for_transparency():
    png = encoded(Image.fromarray(np.array([[0, 65535], [32896, 257]], dtype=np.uint16)))
    chunk = b"tRNS" + struct.pack(">H", 32896)
    place = png.index(b"IDAT") - 4
    clear = png[:place] + struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[place:]
    assert decoded(clear, size=2, channels=1).ravel().tolist() == [0, 255, 255, 1]


def test_a_pgm_of_sixteen_bits_keeps_its_range():
    assert decoded(b"P5 2 1 65535\n" + struct.pack(">HH", 65535, 32896), size=1, channels=1).size == 1
    assert decoded(b"P5 2 2 65535\n" + struct.pack(">4H", 0, 65535, 32896, 257), size=2, channels=1).ravel().tolist() == [
        0,
        255,
        128,
        1,
    ]


@pytest.mark.parametrize(
    "content", [tiff([[0, 1], [2, 3]], bits=32), tiff([[0, 1], [2, 3]], kind=2), b"Pf 2 1 -1.0\n" + bytes(8)]
)
def test_numbers_without_a_known_range_are_refused(content):
    with pytest.raises(Undecodable, match="no known range"):
        decoded(content)


def entry(tag: int, kind: int, count: int, value: bytes) -> bytes:
    return struct.pack(">HHI", tag, kind, count) + value.ljust(4, b"\0")


def exif_of(*entries: bytes) -> bytes:
    return b"Exif\0\0MM\0*" + struct.pack(">IH", 8, len(entries)) + b"".join(entries) + bytes(4)


UPRIGHT, TURNED = entry(0x0112, 3, 1, b"\0\1"), entry(0x0112, 3, 1, b"\0\6")
ODD_ENTRIES = {
    "a text where a number belongs": entry(0x011A, 2, 4, b"abc"),
    "a number where a text belongs": entry(0x010F, 3, 2, b"\0\1\0\2"),
    "a fraction that lies outside": entry(0x011A, 5, 1, b"\xff\xff\xff\xff"),
    "an unknown type": entry(0x9999, 99, 1, b"abcd"),
    "more values than there are bytes": entry(0x9999, 4, 0x7FFFFFFF, b"\0\0\0\1"),
    "a folder that lies outside": entry(0x8769, 4, 1, b"\xff\xff\xff\xff"),
    "a folder that is no offset": entry(0x8825, 2, 4, b"abc"),
    "a folder that is the first": entry(0x8769, 4, 1, b"\0\0\0\x08"),
    "no value at all": entry(0x010E, 2, 0, b""),
    "a float": entry(0x9998, 11, 1, b"\x7f\xc0\0\0"),
}


def photo(exif: bytes, form: str = "JPEG") -> bytes:
    image = Image.new("RGB", (16, 16), "white")
    image.paste("red", (0, 0, 8, 8))
    return encoded(image, form, exif=exif)


def corner(content: bytes) -> str:
    """Where the red quarter is."""
    pixels = decoded(content, size=16).astype(int)
    return {(1, 1): "top left", (1, 14): "top right"}[
        next(at for at in ((1, 1), (1, 14)) if np.abs(pixels[at] - RED).max() < 8)
    ]


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "PNG", "MPO"])
@pytest.mark.parametrize("odd", ODD_ENTRIES.values(), ids=ODD_ENTRIES)
def test_a_photo_with_an_odd_tag_is_upright_all_the_same(odd, form):
    assert corner(photo(exif_of(TURNED, odd), form)) == "top right"
    assert corner(photo(exif_of(UPRIGHT, odd), form)) == "top left"


@pytest.mark.parametrize(
    "exif",
    [
        exif_of(TURNED)[:12],
        exif_of(TURNED)[:20],
        b"Exif\0\0",
        b"Exif\0\0garbage",
        exif_of(entry(0x0112, 2, 2, b"6")),
        exif_of(entry(0x0112, 3, 1, b"\0\x63")),
        exif_of(entry(0x0112, 5, 1, b"\0\0\0\0")),
        exif_of(entry(0x0112, 11, 1, b"\x40\xc0\0\0")),
        exif_of(*[entry(0x9000 + number, 3, 1, b"\0\1") for number in range(4000)]),
    ],
)
def test_a_photo_whose_metadata_do_not_say_how_it_was_held_is_read_as_it_is(exif):
    assert corner(photo(exif)) == "top left"


def test_a_photo_with_a_damaged_index_of_further_images_is_its_first():
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    content = encoded(first, "MPO", save_all=True, append_images=[second])
    place = content.index(b"MPF\0") + 4
    for damage in range(place, place + 60):
        damaged = content[:damage] + b"\xff" + content[damage + 1 :]
        assert np.abs(decoded(damaged).astype(int) - RED).max() <= 3


def test_a_tiff_is_turned_once():
    image = Image.new("RGB", (2, 2), "white")
    image.putpixel((0, 0), (255, 0, 0))
    assert decoded(encoded(image, "TIFF", tiffinfo={0x0112: 6}), size=2).tolist() == [[WHITE, RED], [WHITE, WHITE]]
