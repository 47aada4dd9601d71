"""The condition of each class: the label of the backbone, or the prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.backbone import BackboneInfo
from app.domain.class_conditioning import condition_of
from app.domain.labels import folded
from app.domain.spec.job_spec import DistillationSpec
from worker.archive.markdown import code

MOST_ROWS = 100


@dataclass(frozen=True)
class DrawnAs:
    """A label's number with its name, if the backbone has one for it; or, for a backbone that takes
    words, the prompt.
    """

    label: int | None = None
    words: str | None = None
    prompt: str | None = None

    def __str__(self) -> str:
        if self.prompt is not None:
            return self.prompt
        return f"label {self.label}" if self.words is None else f"label {self.label} ({self.words})"

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the manifest."""
        return {"prompt": self.prompt} if self.prompt is not None else {"label": self.label, "words": self.words}


def drawn_as(classes: Sequence[str], spec: DistillationSpec, info: BackboneInfo) -> tuple[DrawnAs, ...]:
    """The condition of each class, in order. Raises InvalidSpec as `condition_of`."""
    names = info.labels.shown
    return tuple(_of_condition(condition_of(name, spec, info), names) for name in classes)


def _of_condition(condition: int | str, names: Sequence[str]) -> DrawnAs:
    if isinstance(condition, str):
        return DrawnAs(prompt=condition)
    return DrawnAs(label=condition, words=names[condition] if condition < len(names) else None)


def captions(classes: Sequence[str], drawn: Sequence[DrawnAs]) -> list[str]:
    """The class names, each with its condition if the name does not already say it."""
    if not drawn:
        return list(classes)
    texts = [each.prompt or each.words or str(each) for each in drawn]
    pairs = zip(classes, texts, strict=True)
    return [name if folded(words) == folded(name) else f"{name}: {words}" for name, words in pairs]


def section(classes: Sequence[str], drawn: Sequence[DrawnAs]) -> str:
    """The card's table of conditions, for the first classes if there are many; may be empty."""
    if not drawn:
        return ""
    rows = [f"| {code(name)} | {code(str(each))} |" for name, each in list(zip(classes, drawn, strict=True))[:MOST_ROWS]]
    rest = f"\n`manifest.json` has the other {len(drawn) - MOST_ROWS:,}.\n" if len(drawn) > MOST_ROWS else ""
    return "\n".join(["## Classes", "", "| Class | Drawn as |", "|---|---|", *rows, ""]) + rest
