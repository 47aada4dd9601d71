import pytest
from starlette.exceptions import HTTPException

from app.api.byte_ranges import requested


@pytest.mark.parametrize(
    ("value", "first", "end"),
    [
        ("bytes=0-", 0, 100),
        ("bytes=0-99", 0, 100),
        ("bytes=99-", 99, 100),
        ("bytes=5-1000", 5, 100),
        ("bytes=5-5", 5, 6),
        ("bytes=-1", 99, 100),
        ("bytes=-1000", 0, 100),
        ("Bytes=0-1", 0, 2),
        ("bytes = 0 - 1", 0, 2),
        ("bytes=5-99999999999999999999", 5, 100),
        ("bytes=-99999999999999999999", 0, 100),
        ("bytes=00000000000000000000000005-0000000000000000000000000006", 5, 7),
        ("bytes=5-" + "9" * 10_000, 5, 100),
    ],
)
def test_what_can_be_sent_is_sent(value: str, first: int, end: int) -> None:
    assert requested(value, 100) == range(first, end)


@pytest.mark.parametrize("value", ["items=0-1", "items=x", "bytes=0-1,5-6", "bytes=900-,999-"])
def test_other_units_and_several_ranges_are_ignored(value: str) -> None:
    assert requested(value, 100) is None


@pytest.mark.parametrize(
    "value",
    [
        "bytes=100-",
        "bytes=100-200",
        "bytes=9-5",
        "bytes=-0",
        "bytes=-000",
        "bytes=" + "9" * 20 + "-",
        "bytes=" + "9" * 10_000 + "-",
    ],
)
def test_what_lies_behind_the_end_is_416_with_the_size(value: str) -> None:
    with pytest.raises(HTTPException) as caught:
        requested(value, 100)
    assert caught.value.status_code == 416
    assert caught.value.headers == {"Content-Range": "bytes */100"}


@pytest.mark.parametrize("value", ["", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=1--2", "bytes=\u0661-"])
def test_what_is_no_range_is_400(value: str) -> None:
    with pytest.raises(HTTPException) as caught:
        requested(value, 100)
    assert caught.value.status_code == 400
