"""The classes of ImageNet-1K (Russakovsky et al., arXiv 1409.0575): WordNet 3.0 ids by label."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Synset:
    """The words of a WordNet id, which are unique among the 1,000, and its label."""

    words: str
    label: int


@cache
def synsets() -> Mapping[str, Synset]:
    """The 1,000 synsets by WordNet id.

    The words are the first lemma of the synset, except where two synsets share it (two cranes, a
    dog and a swimsuit).
    """
    lines = Path(__file__).with_name("imagenet.txt").read_text(encoding="utf-8").splitlines()
    return {line.split(" ", 1)[0]: Synset(line.split(" ", 1)[1], label) for label, line in enumerate(lines)}


def is_wordnet_id(name: str) -> bool:
    """Whether the name has the form of a WordNet id, also if ImageNet-1K does not have it."""
    return re.fullmatch(r"n[0-9]{8}", name) is not None
