"""The names of a backbone's labels, and the search for the label of a name."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence


class Labels(Mapping[str, int]):
    """A mapping from each unambiguous name to its label.

    `find` also knows ambiguous names and other spellings. `shown` has one name for each label, in
    order of the labels, for lists.
    """

    def __init__(self, ranks: Sequence[Iterable[tuple[str, int]]], shown: Sequence[str] = ()) -> None:
        """`ranks`: pairs of name and label. A name in an earlier rank hides it in later ones."""
        self.shown = tuple(shown)
        self._named: dict[str, tuple[int, ...]] = {}
        self._folded: dict[str, tuple[int, ...]] = {}
        for rank in ranks:
            pairs = list(rank)
            self._named = _grouped(pairs) | self._named
            self._folded = _grouped([*_pairs(self._folded), *((folded(name), label) for name, label in pairs)])
        self._single = {name: labels[0] for name, labels in self._named.items() if len(labels) == 1}

    @classmethod
    def of_texts(cls, texts: Sequence[str]) -> "Labels":
        """Labels 0, 1, ... from texts that may be lists of synonyms, as ImageNet's are.

        Commas separate the synonyms. The whole text ranks before its first synonym, and that
        before the others.
        """
        synonyms = [[word for part in text.split(",") if (word := part.strip())] for text in texts]
        whole = [(text, label) for label, text in enumerate(texts)]
        first = [(words[0], label) for label, words in enumerate(synonyms) if words]
        others = [(word, label) for label, words in enumerate(synonyms) for word in words[1:]]
        made = cls((whole, first, others))
        made.shown = tuple(
            words[0] if ", " in text and words and made.get(words[0]) == label else text
            for label, (text, words) in enumerate(zip(texts, synonyms, strict=True))
        )
        return made

    def __getitem__(self, name: str) -> int:
        return self._single[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._single)

    def __len__(self) -> int:
        return len(self._single)

    def find(self, name: str) -> int | None:
        """The label of this name, or None.

        If no name is equal, names that differ only in case, underscores, hyphens or blanks count.
        Raises ValueError with the numbers of all labels if the name is ambiguous.
        """
        labels = self._named.get(name) or self._folded.get(folded(name), ())
        if len(labels) > 1:
            numbers = f"{', '.join(map(str, labels[:-1]))} and {labels[-1]}"
            raise ValueError(f"{name!r} may mean the labels {numbers}: give the number of one of them in class_map")
        return labels[0] if labels else None


def folded(name: str) -> str:
    """The name without differences of case, Unicode form, underscores, hyphens and blanks."""
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", name)).strip().casefold()


def _grouped(pairs: Iterable[tuple[str, int]]) -> dict[str, tuple[int, ...]]:
    labels: dict[str, dict[int, None]] = {}
    for name, label in pairs:
        labels.setdefault(name, {})[label] = None
    return {name: tuple(sorted(each)) for name, each in labels.items() if name}


def _pairs(labels: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[str, int]]:
    return ((name, label) for name, each in labels.items() for label in each)
