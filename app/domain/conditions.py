"""What a backbone is told to draw for a class of the dataset."""

from app.domain.errors import InvalidSpec
from app.domain.imagenet import is_wordnet_id, synsets
from app.domain.model import Model
from app.domain.nearest import nearest
from app.domain.spec import DistillationSpec

Condition = int | str  # the number of a label, or words

PLACEHOLDER = "{class}"
DEFAULT_PROMPT = f"a photo of a {PLACEHOLDER}"


def condition_of(class_name: str, spec: DistillationSpec, model: Model) -> Condition:
    """The model's label of the class, below `label_count`; for a model that takes words, the prompt with the class's in it.

    What the spec's class map says goes before the class's own name; either may be a WordNet id. Raises InvalidSpec naming
    `class_map.NAME` or `classes` and the nearest names there are.
    """
    mapped = spec.class_map.get(class_name)
    field = "classes" if mapped is None else f"class_map.{class_name}"
    try:
        if model.prompted:
            prompt = DEFAULT_PROMPT if spec.sampling.prompt is None else spec.sampling.prompt
            return prompt.replace(PLACEHOLDER, _words(class_name, mapped, model))
        return _numbered(mapped, model) if isinstance(mapped, int) else _label(mapped or class_name, model)
    except ValueError as error:
        raise InvalidSpec.of(field, str(error)) from error


def _words(class_name: str, mapped: Condition | None, model: Model) -> str:
    if isinstance(mapped, int):
        raise ValueError(f"{model.name} takes words and has no labels: give words in place of {mapped}")  # noqa: TRY004 - a value of the spec
    name = mapped or class_name
    if name in synsets():
        return synsets()[name].words
    if is_wordnet_id(name):
        raise ValueError(f"the WordNet id {name!r} is none of ImageNet-1K's; put its words into class_map")
    return mapped or class_name.replace("_", " ")


def _numbered(label: int, model: Model) -> int:
    if label >= model.label_count:
        raise ValueError(f"{model.name} has the labels 0 to {model.label_count - 1} and no label {label}")
    return label


def _label(name: str, model: Model) -> int:
    """The label of a name or alias, or of a WordNet id: by its place if the labels are ImageNet-1K's, else by its words."""
    if name in model.labels:
        return model.labels[name]
    synset = synsets().get(name)
    if synset is None:
        raise ValueError(f"class {name!r} is unknown to {model.name}; {nearest(name, model.labels)}")
    if model.wordnet:
        return synset.label
    if synset.words in model.labels:
        return model.labels[synset.words]
    raise ValueError(f"class {name!r} ({synset.words}) is unknown to {model.name}; {nearest(synset.words, model.labels)}")
