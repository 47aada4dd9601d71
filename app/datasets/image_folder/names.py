"""Classify names of files and folders: system file, no image, split, generic, or other."""

import re
import unicodedata
from enum import StrEnum


class Role(StrEnum):
    """The split that a folder's name means."""

    TRAIN = "train"  # its images are the training images
    TEST = "test"  # the first choice for the test split
    EVALUATION = "evaluation"  # the second choice for the test split
    VALIDATION = "validation"  # the third choice for the test split
    DEVELOPMENT = "development"  # the last choice for the test split
    UNLABELLED = "unlabelled"  # its images have no classes; it is never the test split


TESTING = (Role.TEST, Role.EVALUATION, Role.VALIDATION, Role.DEVELOPMENT)  # most preferred first


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ROLES = {
    Role.TRAIN: "train training trn",
    Role.TEST: "test testing tst",
    Role.EVALUATION: "eval evaluation holdout heldout",
    Role.VALIDATION: "val valid validation validate",
    Role.DEVELOPMENT: "dev devel development",
    Role.UNLABELLED: "pred predict prediction predictions inference unlabeled unlabelled",
}
_ROLE_OF = {word: role for role, words in _ROLES.items() for word in words.split()}
_FILLERS = _words(
    "set sets split splits data dataset datasets image images img imgs picture pictures pic pics photo photos sample samples "
    "folder folders file files seg class classes jpg jpeg png x px"
)
_JOINED = {joined: word for word in _ROLE_OF for filler in _FILLERS for joined in (word + filler, filler + word)}
_BAGS = _words(
    "images image imgs img pictures picture pics photos photo jpegimages jpegs jpeg jpg pngs png data files all raw unknown "
    "unlabeled unlabelled"
)
_NO_CLASSES = _words("masks mask labels label annotations annotation gt groundtruth segmentation segmentations")

_SYSTEM = frozenset(
    name.casefold()
    for name in (
        *("__MACOSX", "$RECYCLE.BIN", "RECYCLER", "System Volume Information", "@eaDir", "#recycle", "#snapshot", "@tmp"),
        *("lost+found", "__pycache__", "Thumbs.db", "Thumbs.db:encryptable", "ehthumbs.db", "ehthumbs_vista.db"),
        *("desktop.ini", "Icon\r", "Network Trash Folder", "Temporary Items", "FOUND.000"),
    )
)
_TEXT_SUFFIXES = _words(  # and tables, annotations, documents, programs
    "txt text md markdown rst log csv tsv json jsonl ndjson geojson xml xmp yaml yml toml ini cfg conf properties html htm "
    "xhtml css pdf doc docx odt rtf tex bib xls xlsx ods ppt pptx odp lst list names labels dtd xsd url lnk webloc "
    "py pyc ipynb m r js ts sh bat ps1 c h cpp java md5 sha1 sha256 sfv license"
)
_SIDE_SUFFIXES = _TEXT_SUFFIXES | _words(
    # arrays, tables, models, databases
    "mat npy npz pkl pickle h5 hdf5 nc parquet feather arrow tfrecord tfrecords lmdb mdb rec idx pt pth ckpt safetensors onnx "
    "pb db sqlite sqlite3 "
    # binaries, archives
    "exe dll zip tar gz tgz bz2 xz zst 7z rar par2 torrent "
    # sound and video, which phones store beside photos
    "mp4 mov avi mkv webm wmv m4v mpg mpeg 3gp mp3 wav flac ogg m4a aac aae "
    # unfinished downloads, locks, backups of editors
    "tmp temp part partial crdownload download lock bak orig swp"
)
_IMAGE_SUFFIXES = _words("jpg jpeg jpe png webp bmp gif tif tiff JPG JPEG PNG WEBP BMP GIF TIF TIFF")
_SIDE_NAMES = re.compile(
    r"(readme|licen[cs]e|copying|notice|authors|citation|changelog|checksums|(md5|sha1|sha256)sums?)([-_.].*)?", re.I
)
_ANNOTATIONS = re.compile(r"[a-z]+_annotations\.txt", re.I)
_SIZE = re.compile(r"\d+x\d+")


def readable(name: str) -> str:
    r"""`name` as storable text: bytes that are not UTF-8 become `\xe9`; accents are composed."""
    if name.isascii():
        return name
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", text)


def is_system(name: str) -> bool:
    """Whether a system or program made the entry: hidden files, thumbnails, waste bins."""
    return name.startswith(".") or name.casefold() in _SYSTEM


def is_side_file(name: str) -> bool:
    """Whether a file of this name is no image: text, annotations, arrays, archives, films."""
    if is_image_name(name):  # the most common case is first, as there may be a million names
        return False
    return suffix_of(name).casefold() in _SIDE_SUFFIXES or name.endswith("~") or bool(_SIDE_NAMES.fullmatch(name))


def is_text(path: str) -> bool:
    """Whether a file is text or a document by its name."""
    return suffix_of(path).casefold() in _TEXT_SUFFIXES


def is_image_name(name: str) -> bool:
    """Whether the name has the suffix of an image."""
    return name.rpartition(".")[2] in _IMAGE_SUFFIXES


def suffix_of(path: str) -> str:
    """The text after the last dot of the last name in `path`; empty without a dot."""
    _, dot, suffix = path.rpartition("/")[2].rpartition(".")
    return suffix if dot else ""


def is_annotation(name: str) -> bool:
    """Whether a file is a list of labels, such as `val_annotations.txt` of Tiny-ImageNet."""
    return bool(_ANNOTATIONS.fullmatch(name))


def is_bag(name: str) -> bool:
    """Whether the name only says that the folder contains images."""
    return _letters(name) in _BAGS


def is_no_class(name: str) -> bool:
    """Whether the name says that the folder contains images or label maps, but names no class."""
    return is_bag(name) or _letters(name) in _NO_CLASSES


def split_name(name: str) -> tuple[Role, tuple[str, ...]] | None:
    """The split that a folder's name means, and its other words (`flowers_train`: train, flowers).

    Ignores case, numbers and words such as "set" or "images". None if the name has no word for a
    split, or several.
    """
    by_sign = re.split(
        r"[^a-z]+", _SIZE.sub(" ", name.casefold().replace("hold-out", "holdout").replace("held-out", "heldout"))
    )
    by_capital = [word.casefold() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", _SIZE.sub(" ", name))]
    return _split_of(by_sign) or _split_of(by_capital)


def _split_of(words: list[str]) -> tuple[Role, tuple[str, ...]] | None:
    cores = [_core(word) for word in words if word]
    roles = [_ROLE_OF[core] for core in cores if core in _ROLE_OF]
    if len(set(roles)) != 1:
        return None
    return roles[0], tuple(core for core in cores if core not in _ROLE_OF and core not in _FILLERS)


def _core(word: str) -> str:
    """The word for a split without its filler: `train` for `trainset`."""
    return _JOINED.get(word, word)


def _letters(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.casefold())
