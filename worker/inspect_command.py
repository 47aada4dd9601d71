"""`dapple inspect`: what a dataset holds, without importing it."""

import json as json_text
import statistics
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from app.datasets.image_folder import Item
from app.domain.dataset_uri import BUNDLED, DatasetUri, parse, uri_of
from app.domain.errors import DatasetRejected
from app.domain.text import printable
from app.settings import Settings, settings_from
from worker.datasets.catalogue import Catalogue
from worker.datasets.decode import Pixels
from worker.datasets.examine import examine
from worker.datasets.importing import THUMBNAIL
from worker.datasets.readers import digits
from worker.datasets.remote.remote import remote_source
from worker.datasets.source import catalogue_of
from worker.progress import no_heartbeat

ANYWHERE = (Path("/"),)  # a command of the user may read every file that the user may read
MOST_DECODED = 64
SHOWN_CLASSES = 20
UNDIVIDED = "all"  # the images of a source without splits

output = Console(highlight=False, soft_wrap=True)


def inspect(
    dataset: Annotated[str, typer.Argument(help="A path, or a URI: file://, https://, s3:// or hf://.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what a dataset holds: images per split and class, sizes, and what would not be read.

    Lists everything and decodes a sample of 64 images. Nothing is imported. A dataset from
    elsewhere is downloaded first.
    """
    found = report_of(parse(uri_of(dataset)), settings_from())
    if json:
        typer.echo(json_text.dumps(found, ensure_ascii=False))
        return
    sample = found["sample"]
    output.print(
        f"{found['images']:,} images of {len(found['classes']):,} classes, {found['bytes'] / 1e6:,.1f} MB; of a sample of "
        f"{sample['images']}: short side {sample['side']} pixels (median), modes {', '.join(sample['modes'])}",
        markup=False,
    )
    for told in (*found["left_out"], *found["doubts"], *sample["bad_files"]):
        output.print(printable(told), markup=False)
    output.print(_table(found))


def report_of(uri: DatasetUri, settings: Settings) -> dict[str, Any]:
    """The report as JSON. Raises DatasetRejected if the dataset cannot be understood."""
    if uri.scheme == "sklearn":
        return _digits(uri)
    with TemporaryDirectory() as folder:
        scratch, fetched = Path(folder) / "scratch", Path(folder) / "fetched"
        scratch.mkdir()
        fetched.mkdir()
        path = uri.path or remote_source(uri, settings).fetch(fetched, no_heartbeat)
        found = catalogue_of(path.resolve(), ANYWHERE, scratch)
        return {
            "uri": uri.text,
            "images": len(found.items),
            "bytes": sum(found.files.size(item.path) for item in found.items),
            "classes": list(found.classes),
            "splits": _counts(found.items),
            "sample": _sample(found, settings.max_image_pixels),
            "left_out": list(found.left_out),
            "doubts": list(found.doubts),
        }


def _counts(items: Sequence[Item]) -> dict[str, dict[str, int]]:
    """The number of images of each class in each split."""
    counted = Counter((item.split or UNDIVIDED, item.class_name) for item in items)
    splits = sorted({split for split, _ in counted}, reverse=True)
    return {split: {name: n for (of, name), n in sorted(counted.items()) if of == split} for split in splits}


def _sample(found: Catalogue, max_pixels: int) -> dict[str, Any]:
    """Sizes and modes of a sample, evenly spread, and the files of it that cannot be decoded."""
    places = np.linspace(0, len(found.items) - 1, min(len(found.items), MOST_DECODED)).round().astype(int)
    items = [found.items[i] for i in sorted(set(places.tolist()))]
    with closing(examine(found.files, items, Pixels(THUMBNAIL, 3, max_pixels, thumbnail=True))) as results:
        examined = list(results)
    pictures = [each.picture for each in examined if each.picture is not None]
    bad = [str(each.fault) for each in examined if each.fault is not None]
    if not pictures:
        raise DatasetRejected(f"none of {len(items)} images looked at can be used: {'; '.join(bad[:5])}")
    sides = [min(picture.width, picture.height) for picture in pictures]
    modes = sorted({picture.mode for picture in pictures})
    return {"images": len(items), "side": round(statistics.median(sides)), "modes": modes, "bad_files": bad}


def _digits(uri: DatasetUri) -> dict[str, Any]:
    found = digits.read(image_size=digits.SIDE, channels=1)
    splits = {
        name: dict(zip(found.classes, np.bincount(split.labels).tolist(), strict=True))
        for name, split in (("train", found.train), ("test", found.test))
    }
    images = len(found.train) + len(found.test)
    return {
        "uri": uri.text,
        "images": images,
        "bytes": images * digits.SIDE**2,
        "classes": list(BUNDLED[uri.name]),
        "splits": splits,
        "sample": {"images": images, "side": digits.SIDE, "modes": ["L"], "bad_files": []},
        "left_out": [],
        "doubts": [],
    }


def _table(found: dict[str, Any]) -> Table:
    table = Table("class", *found["splits"], box=None, pad_edge=False)
    for name in found["classes"][:SHOWN_CLASSES]:
        table.add_row(printable(name), *(f"{split.get(name, 0):,}" for split in found["splits"].values()))
    if len(found["classes"]) > SHOWN_CLASSES:
        table.add_row(f"… {len(found['classes']) - SHOWN_CLASSES:,} more")
    table.add_row("together", *(f"{sum(split.values()):,}" for split in found["splits"].values()))
    return table
