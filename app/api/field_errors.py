"""Faults of a request in plain words, with dotted names of the fields, from pydantic's errors."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from app.domain.errors import FieldProblem
from app.domain.spec.job_spec import DistillationSpec
from app.domain.suggestions import nearest
from app.schemas import FieldError

MOST_FAULTS = 20
MOST_NAME = 200  # characters of a field's path
MOST_LETTERS = 2000  # of a message, which may quote a dataset's path
WORDS: Mapping[str, str] = {
    "missing": "is required",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a smaller whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "string_unicode": "must be valid Unicode text",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "too_short": "must have {min_length} or more entries",
    "too_long": "must have at most {max_length} entries",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "dict_type": "must be an object",
}


def field_errors(found: Sequence[Mapping[str, Any]]) -> tuple[list[FieldError], int]:
    """The first MOST_FAULTS faults, in order of the fields, and the number of further ones."""
    faults = [error for error in found if not _follows(error, found)]
    described = [
        FieldError(field=field_name(error["loc"]), message=shortened(_message(error))) for error in faults[:MOST_FAULTS]
    ]
    return described, len(faults) - len(described)


def fault_texts(problems: Sequence[FieldProblem]) -> tuple[list[FieldError], int]:
    """As `field_errors`, for problems that Dapple itself found."""
    first = problems[:MOST_FAULTS]
    described = [FieldError(field=shortened(one.field, MOST_NAME), message=shortened(one.message)) for one in first]
    return described, len(problems) - len(described)


def shortened(text: str, most: int = MOST_LETTERS) -> str:
    """The text cut to `most` characters; the last is an ellipsis if it was cut."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _follows(error: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the error says that a list is too short only because its entries are faulty."""
    location = tuple(error["loc"])
    below = (tuple(other["loc"]) for other in found)
    return error["type"] == "too_short" and any(other[: len(location)] == location != other for other in below)


def field_name(location: Sequence[int | str]) -> str:
    """`body`, the dotted path inside the body, or the name of a parameter; short and encodable."""
    path = ".".join(str(part) for part in location[1:] if part != "[key]") or str(location[0])
    return shortened(path, MOST_NAME).encode("utf-8", "replace").decode()


def _message(error: Mapping[str, Any]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown(error["loc"])
    if kind == "missing" and error["loc"] == ("body",):
        return "a JSON object is required"
    if kind == "value_error":
        return str(context["error"])
    if kind not in WORDS:
        return str(error["msg"])
    return WORDS[kind].format(**{name: f"{value:g}" if isinstance(value, float) else value for name, value in context.items()})


def _unknown(location: Sequence[int | str]) -> str:
    known = _fields_at(location[1:-1])
    return f"unknown field; {nearest(str(location[-1])[:MOST_NAME], known)}" if known else "unknown field"


def _fields_at(path: Sequence[int | str]) -> list[str]:
    """Names of the spec's fields below `path`."""
    model: type[BaseModel] | None = DistillationSpec
    for name in path:
        field = model.model_fields.get(str(name)) if model else None
        model = _model_of(field.annotation) if field else None
    return list(model.model_fields) if model else []


def _model_of(annotation: Any) -> type[BaseModel] | None:
    options = (annotation, *get_args(annotation))
    return next((option for option in options if isinstance(option, type) and issubclass(option, BaseModel)), None)
