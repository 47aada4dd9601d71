"""A zip as far as its names go: what its members are called, and what is said of a file that is none."""

import zipfile

UTF8_FLAG = 0x800
NEITHER = "neither a folder nor a whole zip file; copy or download it again if it should be one"


def member_name(info: zipfile.ZipInfo) -> str:
    """The member's name as UTF-8 if it can be read so, else as code page 437.

    `zipfile` reads all names as the latter that are not marked as UTF-8, but many programs write UTF-8 without the mark.
    """
    return _unmarked_utf8(info) or info.filename


def is_guessed(info: zipfile.ZipInfo) -> bool:
    """Whether the name is in an old code page, which the zip does not tell: if it is not 437, its letters are wrong."""
    return not info.flag_bits & UTF8_FLAG and _unmarked_utf8(info) is None


def _unmarked_utf8(info: zipfile.ZipInfo) -> str | None:
    if info.flag_bits & UTF8_FLAG:
        return None
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return None
