import pytest

from app.api.conditional import is_known


@pytest.mark.parametrize("header", ['"a"', 'W/"a"', '"b", "a"', "*"])
def test_a_tag_the_client_has_is_known(header: str) -> None:
    assert is_known(header, '"a"')


@pytest.mark.parametrize("header", [None, "", '"b"', "a", '"ab"'])
def test_any_other_is_not(header: str | None) -> None:
    assert not is_known(header, '"a"')
