import pytest
from starlette.exceptions import HTTPException

from app.api.ranges import check_range


@pytest.mark.parametrize(
    "value", ["bytes=0-", "bytes=0-99", "bytes=99-", "bytes=5-1000", "bytes=-1", "bytes=-1000", "bytes=0-1,5-6"]
)
def test_what_can_be_sent_is_let_through(value: str) -> None:
    check_range(value, 100)


@pytest.mark.parametrize("value", ["bytes=100-", "bytes=100-200", "bytes=9-5", "bytes=-0"])
def test_what_lies_behind_the_end_is_416_with_the_size(value: str) -> None:
    with pytest.raises(HTTPException) as caught:
        check_range(value, 100)
    assert caught.value.status_code == 416
    assert caught.value.headers == {"Content-Range": "bytes */100"}


@pytest.mark.parametrize(
    "value", ["", "bytes", "bytes=", "bytes=-", "bytes=a-b", "items=0-1", "bytes=1--2", "bytes=" + "9" * 99 + "-"]
)
def test_what_is_no_range_is_400(value: str) -> None:
    with pytest.raises(HTTPException) as caught:
        check_range(value, 100)
    assert caught.value.status_code == 400
