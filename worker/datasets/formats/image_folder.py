"""Read folders, zips and tars with one folder of images per class."""

from collections.abc import Collection, Iterable

from app.datasets.image_folder import Item, Layout, items_of, refuse_untrained
from app.domain.text import storable
from worker.datasets.catalogue import Catalogue, refuse_missing
from worker.datasets.readers.files import Files


def image_folder_catalogue(files: Files, layout: Layout, chosen: Collection[str] | None = None) -> Catalogue:
    """The images of the class folders.

    Raises InvalidSpec for a chosen class that has no folder, and DatasetRejected if only the test
    split has a chosen class.
    """
    refuse_missing(None if chosen is None else list(chosen), layout.classes)
    refuse_untrained(layout.untrained, None if chosen is None else list(chosen))
    wanted = layout.classes if chosen is None else tuple(sorted(set(chosen)))
    found = items_of(layout, wanted, files.read)
    left_out, doubts = (*found.left_out, *layout.left_out), (*layout.doubts, *found.doubts)
    return Catalogue(files, found.items, layout.classes, layout.tested, left_out, doubts, _escaped(found.items))


def _escaped(items: Iterable[Item]) -> tuple[str, ...]:
    """The classes with a folder whose name is not UTF-8."""
    folders = {(item.class_name, item.path.rpartition("/")[0]) for item in items}
    return tuple(sorted({name for name, folder in folders if storable(folder) != folder}))
