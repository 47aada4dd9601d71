import pytest
from starlette.exceptions import HTTPException

from app.api.etags import check_match, is_known


@pytest.mark.parametrize("header", ['"a"', 'W/"a"', '"b", "a"', "*"])
def test_a_tag_the_client_has_is_known(header: str) -> None:
    assert is_known(header, '"a"')


@pytest.mark.parametrize("header", [None, "", '"b"', "a", '"ab"'])
def test_any_other_is_not(header: str | None) -> None:
    assert not is_known(header, '"a"')


@pytest.mark.parametrize("header", [None, '"a"', '"b", "a"', "*"])
def test_content_that_the_client_wants_may_be_sent(header: str | None) -> None:
    check_match(header, '"a"')


@pytest.mark.parametrize("header", ["", '"b"', 'W/"a"', "a"])
def test_other_content_is_412(header: str) -> None:
    with pytest.raises(HTTPException) as caught:
        check_match(header, '"a"')
    assert (caught.value.status_code, caught.value.detail) == (412, 'the content has the ETag "a"')
