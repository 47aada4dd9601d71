from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from app.domain.spec.taps import MOST_TAPS, Taps, positions

UNET = ("down_blocks.0", "down_blocks.1", "down_blocks.2", "mid_block")
DIT = tuple(f"transformer_blocks.{block}" for block in range(28))

taps: TypeAdapter[object] = TypeAdapter(Taps)
tap = st.integers(1, 28) | st.floats(0, 1, exclude_min=True, exclude_max=True) | st.sampled_from(DIT)


def test_no_tap_is_the_mid_block_or_the_middle() -> None:
    assert (positions(None, UNET), positions(None, DIT), positions(None, DIT[:1])) == ((4,), (14,), (1,))


def test_a_tap_is_a_number_a_name_a_fraction_or_several() -> None:
    assert positions(4, DIT) == (4,)
    assert positions("mid_block", UNET) == (4,)
    assert (positions(0.5, DIT), positions(0.01, DIT), positions(0.99, DIT)) == ((14,), (1,), (28,))
    assert positions([8, "transformer_blocks.3", 0.1], DIT) == (3, 4, 8)


@given(st.lists(tap, min_size=1, max_size=MOST_TAPS))
@pytest.mark.slow
def test_several_taps_ascend_and_are_each_there_once(several: list[int | float | str]) -> None:
    found = positions(several, DIT)
    assert list(found) == sorted(set(found))
    assert {number for one in several for number in positions(one, DIT)} == set(found)
    assert taps.validate_python(several) == tuple(several)


@given(st.floats(1e-6, 1, exclude_max=True))
def test_a_fraction_is_a_block_whose_end_is_not_before_it(fraction: float) -> None:
    assert positions(fraction, DIT) == (ceil(round(fraction * len(DIT), 8)),)


def test_a_fraction_of_the_depth_that_is_a_block_is_that_block() -> None:
    names = [str(number) for number in range(1, 26)]
    assert [positions(number / 25, names) for number in range(1, 25)] == [(number,) for number in range(1, 25)]
    assert positions(5e-324, names) == (1,)


def test_a_block_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="there are 4 blocks and no block 5"):
        positions(5, UNET)
    with pytest.raises(ValueError, match="there is no block 'midblock'; nearest: mid_block"):
        positions("midblock", UNET)
    with pytest.raises(ValueError, match=r"known: down_blocks\.0, down_blocks\.1, down_blocks\.2, mid_block"):
        positions("zz", UNET)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.0, "1, not 1.0"),
        (0.0, "above 0 and below 1"),
        (float("nan"), "above 0 and below 1"),
        (0, "blocks are numbered from 1"),
        (-3, "blocks are numbered from 1"),
        ([], "a list must have 1 to 8 blocks"),
        ([1] * 9, "a list must have 1 to 8 blocks"),
        ([1, 0], "every block of a list must be"),
        ([1, [2]], "every block of a list must be"),
        ([None], "every block of a list must be"),
        (True, "must be a number from 1, a name, or a fraction"),
        ("", "must be a number from 1, a name, or a fraction"),
        ("\ud800", "must be a number from 1, a name, or a fraction"),
        ({"block": 1}, "must be a number from 1, a name, or a fraction"),
    ],
)
def test_what_cannot_be_a_tap_is_one_problem_in_one_sentence(value: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        taps.validate_python(value)
    assert [error["loc"] for error in caught.value.errors()] == [()]
