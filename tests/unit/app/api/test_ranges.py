import pytest
from starlette.exceptions import HTTPException

from app.api.ranges import is_served


@pytest.mark.parametrize(
    "value", ["bytes=0-", "bytes=0-99", "bytes=99-", "bytes=5-1000", "bytes=-1", "bytes=-1000", "Bytes=0-1"]
)
def test_what_can_be_sent_is_served(value: str) -> None:
    assert is_served(value, 100)


@pytest.mark.parametrize("value", ["items=0-1", "items=x", "bytes=0-1,5-6", "bytes=900-,999-"])
def test_other_units_and_several_ranges_are_ignored(value: str) -> None:
    assert not is_served(value, 100)


@pytest.mark.parametrize("value", ["bytes=100-", "bytes=100-200", "bytes=9-5", "bytes=-0"])
def test_what_lies_behind_the_end_is_416_with_the_size(value: str) -> None:
    with pytest.raises(HTTPException) as caught:
        is_served(value, 100)
    assert caught.value.status_code == 416
    assert caught.value.headers == {"Content-Range": "bytes */100"}


@pytest.mark.parametrize("value", ["", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=1--2", "bytes=" + "9" * 99 + "-"])
def test_what_is_no_range_is_400(value: str) -> None:
    with pytest.raises(HTTPException) as caught:
        is_served(value, 100)
    assert caught.value.status_code == 400
