from app.domain.imagenet import Synset, is_wordnet_id, synsets


def test_there_are_a_thousand_in_the_order_of_their_ids_and_labels() -> None:
    assert [synset.label for synset in synsets().values()] == list(range(1000))
    assert list(synsets()) == sorted(synsets())
    assert all(map(is_wordnet_id, synsets()))


def test_some_are_where_everybody_has_them() -> None:
    assert synsets()["n01440764"] == Synset("tench", 0)
    assert synsets()["n02102040"] == Synset("English springer", 217)
    assert synsets()["n03394916"] == Synset("French horn", 566)
    assert synsets()["n15075141"] == Synset("toilet tissue", 999)


def test_no_two_have_the_same_words_even_to_a_tokenizer_that_lowers_them() -> None:
    assert len({synset.words.lower() for synset in synsets().values()}) == 1000


def test_only_n_and_eight_digits_are_written_like_an_id() -> None:
    assert [name for name in ("n99999999", "n1", "n0144076x", "n014407640", "tench") if is_wordnet_id(name)] == ["n99999999"]
