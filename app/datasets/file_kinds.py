"""Tell the kinds of files by their first bytes."""

from collections.abc import Callable, Iterable
from enum import StrEnum

from app.datasets.image_folder.names import is_text

HEAD_BYTES = 512
LISTS = ("csv", "tsv", "jsonl", "ndjson")  # suffixes of lists of files and labels
UNKNOWN = (
    "no dataset is recognised in it: a dataset is a folder, zip or tar of class folders, WebDataset shards, parquet, npz, "
    "IDX, the binary version of CIFAR, or images beside a list (CSV, JSON Lines) of files and labels; copy or download it "
    "again if it should be one"
)
MOST_HEADS = 1000  # files that are looked into; a dataset has few beside its images


class FileKind(StrEnum):
    """What a file is, by its content."""

    ZIP = "zip"  # also npz
    TAR = "tar"
    GZIP = "gzip"
    ZSTD = "zstd"
    BZIP2 = "bzip2"
    XZ = "xz"
    PARQUET = "parquet"
    IDX = "IDX"  # of the MNIST family
    PICKLE = "pickle"  # never read: it can run any code
    HDF5 = "HDF5"
    ARROW = "Arrow"
    NPY = "npy"
    RAR = "RAR"
    SEVEN_ZIP = "7z"


COMPRESSED = (FileKind.GZIP, FileKind.ZSTD, FileKind.BZIP2)

# Kinds that Dapple does not read, with what to do instead.
REFUSED = {
    FileKind.PICKLE: "Python pickles are not read, because they can run any code: download the binary version of CIFAR "
    "(cifar-10-binary.tar.gz, cifar-100-binary.tar.gz), or save the images as files or as parquet",
    FileKind.HDF5: "HDF5 files are not read: save the images as files, as npz or as parquet",
    FileKind.ARROW: "Arrow files are not read: save the dataset with Dataset.to_parquet",
    FileKind.NPY: "a single npy file has no labels: save images and labels together with numpy.savez",
    FileKind.XZ: "xz files are not read, because they may ask for 4 GiB of memory: pack it as tar.gz, tar.zst or zip",
    FileKind.RAR: "RAR files are not read: unpack it, or pack it as zip or tar",
    FileKind.SEVEN_ZIP: "7z files are not read: unpack it, or pack it as zip or tar",
}

_MAGIC = (
    (b"PK\x03\x04", FileKind.ZIP),
    (b"PK\x05\x06", FileKind.ZIP),
    (b"\x1f\x8b", FileKind.GZIP),
    (b"\x28\xb5\x2f\xfd", FileKind.ZSTD),
    (b"BZh", FileKind.BZIP2),
    (b"\xfd7zXZ\x00", FileKind.XZ),
    (b"PAR1", FileKind.PARQUET),
    (b"\x89HDF\r\n\x1a\n", FileKind.HDF5),
    (b"ARROW1", FileKind.ARROW),
    (b"\x93NUMPY", FileKind.NPY),
    (b"Rar!\x1a\x07", FileKind.RAR),
    (b"7z\xbc\xaf\x27\x1c", FileKind.SEVEN_ZIP),
)
_IDX_TYPES = (0x08, 0x09, 0x0B, 0x0C, 0x0D, 0x0E)
_MOST_IDX_DIMENSIONS = 4
_PICKLE_PROTOCOLS = (2, 3, 4, 5)
_CHECKSUM = slice(148, 156)  # of a tar header


def kind_of(head: bytes) -> FileKind | None:
    """The kind of a file that begins with `head`, its first HEAD_BYTES bytes; None for others."""
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if len(head) >= 2 and head[0] == 0x80 and head[1] in _PICKLE_PROTOCOLS:
        return FileKind.PICKLE
    if len(head) >= 8 and head[:2] == b"\0\0" and head[2] in _IDX_TYPES and 1 <= head[3] <= _MOST_IDX_DIMENSIONS:
        return FileKind.IDX
    return FileKind.TAR if is_tar(head) else None


def is_tar(head: bytes) -> bool:
    """Whether `head` is a tar header with a right checksum. An empty tar begins with zeros."""
    if len(head) < HEAD_BYTES:
        return False
    try:
        stored = int(head[_CHECKSUM].split(b"\0")[0].strip() or b"-", 8)
    except ValueError:
        return False
    blank = head[: _CHECKSUM.start] + b" " * 8 + head[_CHECKSUM.stop :]
    return stored == sum(blank)


def kinds_among(paths: Iterable[str], head: Callable[[str], bytes]) -> dict[str, FileKind]:
    """The kind of each file that has one; `head(path)` returns its first bytes.

    Text files, told by their names, and files after the first MOST_HEADS are not looked into.
    """
    binary = [path for path in paths if not is_text(path)][:MOST_HEADS]
    kinds = {path: kind_of(head(path)) for path in binary}
    return {path: kind for path, kind in kinds.items() if kind is not None}
