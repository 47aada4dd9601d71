"""From the class name of a dataset to the label or prompt that conditions the backbone."""

from app.domain.backbone import BackboneInfo
from app.domain.errors import InvalidSpec
from app.domain.imagenet import is_wordnet_id, synsets
from app.domain.spec.job_spec import DistillationSpec
from app.domain.suggestions import nearest

Condition = int | str  # the number of a label, or a prompt

PLACEHOLDER = "{class}"
DEFAULT_PROMPT = f"a photo of a {PLACEHOLDER}"


def condition_of(class_name: str, spec: DistillationSpec, info: BackboneInfo) -> Condition:
    """The label of the class, below `label_count`; for a prompted model, its prompt.

    An entry in the spec's class map precedes the class's own name. Either may be a WordNet id. A
    string in the class map is the name of a label, or its number if no label has that name.

    Raises InvalidSpec that names `class_map.NAME` or `classes`, and the nearest known names.
    """
    mapped = spec.class_map.get(class_name)
    field = "classes" if mapped is None else f"class_map.{class_name}"
    try:
        if info.prompted:
            prompt = DEFAULT_PROMPT if spec.sampling.prompt is None else spec.sampling.prompt
            return prompt.replace(PLACEHOLDER, _words(class_name, mapped, info))
        return _label(class_name, info) if mapped is None else _mapped(mapped, info)
    except ValueError as error:
        raise InvalidSpec.of(field, str(error)) from error


def _words(class_name: str, mapped: Condition | None, info: BackboneInfo) -> str:
    if isinstance(mapped, int):
        raise ValueError(f"{info.name} takes words and has no labels: give words in place of {mapped}")  # noqa: TRY004 - a value of the spec
    name = mapped or class_name
    if name in synsets():
        return synsets()[name].words
    if is_wordnet_id(name):
        raise ValueError(f"the WordNet id {name!r} is none of ImageNet-1K's; put its words into class_map")
    return mapped or class_name.replace("_", " ")


def _numbered(label: int, info: BackboneInfo) -> int:
    if label >= info.label_count:
        raise ValueError(f"{info.name} has the labels 0 to {info.label_count - 1} and no label {label}")
    return label


def _mapped(given: Condition, info: BackboneInfo) -> int:
    """The label that an entry of the class map gives: a number, a name, or a number as a string."""
    if isinstance(given, int):
        return _numbered(given, info)
    label = _find(given, info)
    if label is None and given.isascii() and given.isdecimal():
        return _numbered(int(given), info)
    if label is None:
        raise ValueError(_unknown(given, info))
    return label


def _label(name: str, info: BackboneInfo) -> int:
    """The label of a class by its own name. Raises ValueError that explains class_map."""
    label = _find(name, info)
    if label is None:
        hint = "; or say in class_map which label it is" if info.labels else "; give its label's number in class_map"
        raise ValueError(f"{_unknown(name, info)}{hint}")
    return label


def _find(name: str, info: BackboneInfo) -> int | None:
    """The label of a name, an alias or a WordNet id.

    A WordNet id is found by its index if the labels are ImageNet-1K's, else by its words.
    """
    label, synset = info.labels.find(name), synsets().get(name)
    if label is not None or synset is None:
        return label
    return synset.label if info.wordnet else info.labels.find(synset.words)


def _unknown(name: str, info: BackboneInfo) -> str:
    if not info.labels:
        return f"{info.name} has no names for its labels 0 to {info.label_count - 1}, so no class {name!r}"
    synset = synsets().get(name)
    meaning = f" ({synset.words})" if synset else ""
    return f"class {name!r}{meaning} is unknown to {info.name}; {nearest(synset.words if synset else name, info.labels)}"
