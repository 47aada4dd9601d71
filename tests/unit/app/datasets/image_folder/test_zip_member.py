import zipfile

import pytest

from app.datasets.image_folder.zip_member import UTF8_FLAG, is_guessed, member_name


def info(raw: bytes, *, marked: bool) -> zipfile.ZipInfo:
    """A member as `zipfile` reads it."""
    found = zipfile.ZipInfo(raw.decode("utf-8" if marked else "cp437"))
    found.flag_bits = UTF8_FLAG if marked else 0
    return found


@pytest.mark.parametrize("marked", [True, False])
def test_a_name_in_utf_8_is_read_as_such_with_or_without_its_mark(marked: bool) -> None:
    assert member_name(info("café/1.png".encode(), marked=marked)) == "café/1.png"


def test_a_name_in_an_old_code_page_stays_readable() -> None:
    assert member_name(info(b"caf\x82/1.png", marked=False)) == "café/1.png"
    assert member_name(info("grün/1.png".encode("latin-1"), marked=False)) == "grⁿn/1.png"


@pytest.mark.parametrize(
    ("raw", "marked", "guessed"),
    [
        (b"cat/1.png", False, False),
        ("café/1.png".encode(), False, False),
        ("café/1.png".encode(), True, False),
        (b"caf\x82/1.png", False, True),
        ("猫狗/1.png".encode("gbk"), False, True),
    ],
)
def test_letters_in_an_old_code_page_are_a_guess(raw: bytes, marked: bool, guessed: bool) -> None:
    assert is_guessed(info(raw, marked=marked)) is guessed
