"""The names of a zip's members."""

import zipfile

UTF8_FLAG = 0x800


def member_name(info: zipfile.ZipInfo) -> str:
    """The member's name, decoded as UTF-8 if possible, else as code page 437.

    `zipfile` decodes names without the UTF-8 flag as code page 437, but many programs write UTF-8
    without the flag.
    """
    return _unmarked_utf8(info) or info.filename


def is_guessed(info: zipfile.ZipInfo) -> bool:
    """Whether the name is in an unknown old code page.

    Unless that is 437, the letters that `member_name` returns are wrong.
    """
    return not info.flag_bits & UTF8_FLAG and _unmarked_utf8(info) is None


def _unmarked_utf8(info: zipfile.ZipInfo) -> str | None:
    if info.flag_bits & UTF8_FLAG:
        return None
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return None
