"""The types of a spec's class map: a class name of the dataset, and a label of the backbone."""

from typing import Annotated, Any

from pydantic import Field, Strict, StringConstraints, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

MOST_LETTERS = 1000


def _in_one_sentence(value: Any, check: ValidatorFunctionWrapHandler) -> int | str:
    """Replace pydantic's message for a union, one fault for each type, by one sentence."""
    try:
        return check(value)
    except ValidationError as error:
        raise ValueError(f"must be a label's number, 0 or more, or a text of 1 to {MOST_LETTERS} characters") from error


ClassName = Annotated[str, StringConstraints(min_length=1, max_length=255)]
ClassLabel = Annotated[
    Annotated[int, Strict(), Field(ge=0)] | Annotated[str, Strict(), Field(min_length=1, max_length=MOST_LETTERS)],
    WrapValidator(_in_one_sentence),
]
