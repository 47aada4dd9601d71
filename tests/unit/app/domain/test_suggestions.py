from app.domain.suggestions import MOST_NAMED, nearest


def test_names_alike_are_told_the_most_alike_first() -> None:
    assert nearest("doggs", ["cat", "dog", "dogs"]) == "nearest: dogs, dog"


def test_where_nothing_is_alike_the_first_names_are_told() -> None:
    assert nearest("zebra", ["2", "1"]) == "known: 1, 2"
    assert nearest("zebra", [str(i) for i in range(100)]).count(",") == MOST_NAMED - 1
    assert nearest("zebra", []) == "none is known"
