import pytest

from app.domain.labels import Labels

PLANTS = ("Pepper,_bell___healthy", "Pepper,_bell___Bacterial_spot", "Tomato___healthy", " rose")


def test_a_name_with_commas_or_outer_blanks_is_a_name() -> None:
    labels = Labels.of_texts(PLANTS)
    assert [labels.find(name) for name in PLANTS] == [0, 1, 2, 3]
    assert labels.shown == PLANTS


def test_synonyms_are_parted_by_commas_and_the_first_is_shown() -> None:
    labels = Labels.of_texts(["tench, Tinca tinca", "goldfish,Carassius auratus"])
    assert [labels.find(name) for name in ("tench", "Tinca tinca", "goldfish", "Carassius auratus")] == [0, 0, 1, 1]
    assert labels.shown == ("tench", "goldfish,Carassius auratus")


def test_a_whole_text_goes_before_a_synonym_and_the_first_synonym_before_others() -> None:
    labels = Labels.of_texts(
        ["cardigan", "Cardigan, Cardigan Welsh corgi", "corgi, cardigan", "maillot, tank suit", "tank suit"]
    )
    assert [labels.find(name) for name in ("cardigan", "Cardigan", "maillot", "tank suit")] == [0, 1, 3, 4]


@pytest.mark.parametrize("texts", [("cat", "dog", "cat"), ("cat, kitty", "dog", "cat, tom"), ("kitty, cat", "dog", "tom, cat")])
def test_a_name_of_two_labels_is_refused_with_both_numbers(texts: tuple[str, ...]) -> None:
    labels = Labels.of_texts(texts)
    with pytest.raises(ValueError, match="'cat' may mean the labels 0 and 2"):
        labels.find("cat")
    assert "cat" not in labels


@pytest.mark.parametrize("name", ["English_springer", "english springer", "ENGLISH-SPRINGER", " English  springer"])
def test_another_spelling_finds_the_only_name_that_it_may_be(name: str) -> None:
    assert Labels.of_texts(["tench", "English springer, springer spaniel"]).find(name) == 1


def test_another_spelling_of_two_names_is_refused_with_both_numbers() -> None:
    labels = Labels.of_texts(["cardigan", "Cardigan, Cardigan Welsh corgi"])
    with pytest.raises(ValueError, match="labels 0 and 1"):
        labels.find("CARDIGAN")


def test_what_is_no_name_is_not_found() -> None:
    labels = Labels.of_texts(["tench", ""])
    assert [labels.find(name) for name in ("goldfish", "", "_")] == [None, None, None]


def test_labels_equal_the_mapping_of_their_names() -> None:
    labels = Labels([[("cat", 3), ("Tabby cat", 4)]])
    assert (labels.find("cat"), labels.find("tabby_cat")) == (3, 4)
    assert labels == {"cat": 3, "Tabby cat": 4}
