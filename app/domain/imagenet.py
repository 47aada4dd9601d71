"""ImageNet-1K's classes (Russakovsky et al., arXiv 1409.0575): WordNet 3.0 ids, in the order of their labels."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Synset:
    """What a WordNet id means, in words that no other of the 1000 has, and its label."""

    words: str
    label: int


@cache
def synsets() -> Mapping[str, Synset]:
    """By WordNet id. The words are the synset's first lemma, but for two cranes, a dog and a swimsuit, which share theirs."""
    lines = Path(__file__).with_name("imagenet.txt").read_text(encoding="utf-8").splitlines()
    return {line.split(" ", 1)[0]: Synset(line.split(" ", 1)[1], label) for label, line in enumerate(lines)}


def is_wordnet_id(name: str) -> bool:
    """Whether it is written like one, of ImageNet-1K or not."""
    return re.fullmatch(r"n[0-9]{8}", name) is not None
