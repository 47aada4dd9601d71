import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.backbone import BackboneInfo
from app.domain.class_conditioning import condition_of
from app.domain.errors import InvalidSpec
from app.domain.imagenet import is_wordnet_id, synsets
from app.domain.labels import Labels
from tests.unit.app.domain.models import labelled, prompted, spec

IMAGENET = labelled(name="imagenet", labels=Labels([[("tench", 0), ("goldfish", 1), ("toilet tissue", 999)]]), wordnet=True)
NAMES = st.text(min_size=1, max_size=20).filter(lambda name: not is_wordnet_id(name))


def refused(class_name: str, model: BackboneInfo, **class_map: object) -> tuple[str, str]:
    with pytest.raises(InvalidSpec) as caught:
        condition_of(class_name, spec(class_map=class_map), model)
    (problem,) = caught.value.problems
    return problem.field, problem.message


@pytest.mark.parametrize(
    ("class_map", "label"),
    [({}, 1), ({"dog": "tabby cat"}, 281), ({"dog": 0}, 0), ({"dog": 999}, 999), ({"dog": "n01440764"}, 7), ({"cat": 3}, 1)],
)
def test_a_class_is_what_it_is_mapped_to_or_else_its_name(class_map: dict[str, object], label: int) -> None:
    assert condition_of("dog", spec(class_map=class_map), labelled()) == label


def test_a_wordnet_id_is_found_by_its_place_where_the_labels_are_imagenets_and_else_by_its_words() -> None:
    for wordnet_id, synset in synsets().items():
        assert condition_of(wordnet_id, spec(), IMAGENET) == synset.label
    assert condition_of("n01440764", spec(), labelled()) == 7


def test_a_name_goes_before_a_wordnet_id() -> None:
    assert condition_of("n01440764", spec(), labelled(labels=Labels([[("n01440764", 5)]]), wordnet=True)) == 5


def test_an_unknown_class_is_told_with_the_nearest() -> None:
    told = "class 'tabby' is unknown to m; nearest: tabby cat; or say in class_map which label it is"
    assert refused("tabby", labelled()) == ("classes", told)


def test_a_wordnet_id_that_is_unknown_is_told_with_its_meaning() -> None:
    field, message = refused("n02123045", labelled(labels=Labels([[("tabby cat", 281)]])))
    told = "class 'n02123045' (tabby) is unknown to m; nearest: tabby cat; or say in class_map which label it is"
    assert (field, message) == ("classes", told)


def test_a_mapping_at_fault_is_named() -> None:
    assert refused("a", labelled(), a="dgo") == ("class_map.a", "class 'dgo' is unknown to m; nearest: dog")
    assert refused("a", labelled(label_count=10), a=10) == ("class_map.a", "m has the labels 0 to 9 and no label 10")


@pytest.mark.parametrize(
    ("class_name", "class_map", "prompt"),
    [
        ("dog", {}, "a photo of a dog"),
        ("french_horn", {}, "a photo of a french horn"),
        ("n03394916", {}, "a photo of a French horn"),
        ("7", {"7": "seven_7"}, "a photo of a seven_7"),
        ("7", {"7": "n03394916"}, "a photo of a French horn"),
    ],
)
def test_a_prompt_has_the_words_of_the_class(class_name: str, class_map: dict[str, str], prompt: str) -> None:
    assert condition_of(class_name, spec(class_map=class_map), prompted()) == prompt


@given(NAMES, st.text(max_size=20), st.text(max_size=20))
def test_a_prompt_of_ones_own_is_kept_around_the_class(name: str, before: str, after: str) -> None:
    asked = spec(sampling={"prompt": before + "{class}" + after}, class_map={name: name})
    assert condition_of(name, asked, prompted()) == (before + "{class}" + after).replace("{class}", name)


def test_a_model_of_words_takes_no_label_and_no_id_without_known_words() -> None:
    assert refused("a", prompted(), a=0) == ("class_map.a", "m takes words and has no labels: give words in place of 0")
    field, message = refused("n99999999", prompted())
    assert field == "classes"
    assert "put its words into class_map" in message


@pytest.mark.parametrize(("asked", "label"), [("1", 0), ("10", 1), ("2", 2), (1, 1), ("11", 11), ("011", 11)])
def test_a_text_is_a_name_first_and_a_number_where_no_label_has_that_name(asked: str | int, label: int) -> None:
    sorted_as_text = labelled(labels=Labels.of_texts(["1", "10", "2"]), label_count=12)
    assert condition_of("one", spec(class_map={"one": asked}), sorted_as_text) == label


def test_the_number_of_a_label_is_taken_from_a_class_map_only_and_must_be_there() -> None:
    model = labelled(labels=Labels.of_texts(["cat"]), label_count=3)
    assert refused("1", model)[0] == "classes"
    assert refused("a", model, a="3") == ("class_map.a", "m has the labels 0 to 2 and no label 3")


def test_labels_without_names_are_asked_for_by_number() -> None:
    model = labelled(labels=Labels.of_texts([]), label_count=2)
    field, message = refused("cat", model)
    assert (field, message) == (
        "classes",
        "m has no names for its labels 0 to 1, so no class 'cat'; give its label's number in class_map",
    )
    assert condition_of("cat", spec(class_map={"cat": 1}), model) == 1


def test_two_labels_of_one_name_are_refused_with_both_numbers() -> None:
    model = labelled(labels=Labels.of_texts(["crane", "dog", "crane"]))
    told = "'crane' may mean the labels 0 and 2: give the number of one of them in class_map"
    assert refused("crane", model) == ("classes", told)
    assert refused("a", model, a="crane") == ("class_map.a", told)
    assert condition_of("crane", spec(class_map={"crane": 2}), model) == 2


def test_a_folder_spelled_with_underscores_is_found() -> None:
    model = labelled(labels=Labels.of_texts(["tench, Tinca tinca", "English springer, English springer spaniel"]))
    assert condition_of("English_springer", spec(), model) == 1
    assert condition_of("english-springer_spaniel", spec(), model) == 1
