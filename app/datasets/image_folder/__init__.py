"""List a folder or zip of images and find its classes: one policy for submission and worker."""

from app.datasets.image_folder.items import Item, Items, items_of
from app.datasets.image_folder.layout import TRAIN, Layout, arrange, refuse_untrained
from app.datasets.image_folder.tree import Listing, listing_of
from app.datasets.image_folder.walk import LimitReached, Limits, walk

__all__ = [
    "TRAIN",
    "Item",
    "Items",
    "Layout",
    "LimitReached",
    "Limits",
    "Listing",
    "arrange",
    "items_of",
    "listing_of",
    "refuse_untrained",
    "walk",
]
