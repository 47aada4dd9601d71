import json
from typing import Any

import pytest

from app.api.json_body import MalformedJson, parse
from app.domain.errors import InvalidSpec


def refused(value: Any) -> tuple[str, str]:
    """Field and message of the one problem that the body has."""
    with pytest.raises(InvalidSpec) as caught:
        parse(value if isinstance(value, bytes) else json.dumps(value).encode())
    [problem] = caught.value.problems
    return problem.field, problem.message


def nested(depth: int) -> bytes:
    return b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1)


@pytest.mark.parametrize("value", [None, 1, "text", [], {}, {"a": [1, {"b": [2.5, -3, True]}]}])
def test_any_small_value_is_read(value: Any) -> None:
    assert parse(json.dumps(value).encode()) == value


def test_a_class_each_is_read_for_ten_thousand_classes() -> None:
    names = [f"class {number}" for number in range(10_000)]
    body = {"classes": names, "class_map": dict.fromkeys(names, 1), "ipc": 1}
    assert parse(json.dumps(body).encode()) == body


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({f"x{number}": 1 for number in range(101)}, "body", "has 101 fields; at most 100 are read"),
        ({"guidance": dict.fromkeys(map(str, range(101)))}, "guidance", "has 101 fields; at most 100 are read"),
        ({"a": {"class_map": dict.fromkeys(map(str, range(101)))}}, "a.class_map", "has 101 fields; at most 100 are read"),
        ({"class_map": dict.fromkeys(map(str, range(10_001)))}, "class_map", "has 10001 fields; at most 10000 are read"),
        ({"classes": [0] * 10_001}, "classes", "has 10001 entries; at most 10000 are read"),
        ({"evaluation": {"arms": [1] * 101}}, "evaluation.arms", "has 101 entries; at most 100 are read"),
        ([[[0] * 100] * 100] * 3, "0.49", "has too many entries; at most 25000 are read from one body"),
    ],
)
def test_too_many_fields_or_entries_are_refused_by_name(body: Any, field: str, message: str) -> None:
    assert refused(body)[1] == message
    if "too many" not in message:
        assert refused(body)[0] == field


def test_deep_nesting_is_refused_however_deep() -> None:
    assert parse(nested(16))
    for body in (nested(17), nested(900), nested(100_000), b"[" * 100_000):
        assert refused(body) == ("body", "is nested deeper than 16 levels")


@pytest.mark.parametrize(
    ("body", "field"), [(b'{"ipc": 1, "ipc": 2}', "ipc"), (b'{"guidance": {"a": 1, "b": 2, "a": 1}}', "guidance.a")]
)
def test_a_field_given_twice_is_refused_by_name(body: bytes, field: str) -> None:
    assert refused(body) == (field, "is given more than once")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"ipc": }', "at character 8: Expecting value"),
        (b"", "at character 0: Expecting value"),
        (b'{"ipc": NaN}', "NaN is not a number in JSON"),
        (b"[-Infinity]", "-Infinity is not a number in JSON"),
        (b"9" * 1_000_000, "a number has 1000000 digits; at most 400 are read"),
        (b"0." + b"1" * 500, "a number has 502 digits; at most 400 are read"),
        (b'"\xff"', "at byte 1: invalid start byte; send UTF-8"),
    ],
)
def test_what_is_no_json_is_told_with_its_place(body: bytes, message: str) -> None:
    with pytest.raises(MalformedJson) as caught:
        parse(body)
    assert str(caught.value) == message


def test_a_number_that_no_float_can_hold_is_read_as_it_is() -> None:
    assert parse(b"1" + b"0" * 399) == 10**399
