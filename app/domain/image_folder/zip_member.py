"""What a member of a zip is called."""

import zipfile

UTF8_FLAG = 0x800


def member_name(info: zipfile.ZipInfo) -> str:
    """The member's name as UTF-8 if it can be read so, else as code page 437.

    `zipfile` reads all names as the latter that are not marked as UTF-8, but many programs write UTF-8 without the mark. A name
    in another code page has wrong letters, but stays readable.
    """
    if info.flag_bits & UTF8_FLAG:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename
