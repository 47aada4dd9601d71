"""Parse a JSON body within limits of depth, entries and digits, before the costly validation."""

import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fastapi import HTTPException, Request, Response, status
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from app.api.field_errors import field_name
from app.domain.errors import DappleError, InvalidSpec

MOST_DEPTH = 16
MOST_ENTRIES = 100  # of an object or a list; the spec itself has 17 fields
MOST_OF_CLASSES = 10_000  # of fields with an entry for each class
MOST_VALUES = 25_000  # in the whole body
MOST_DIGITS = 400  # of a number; the largest float has 309 digits
OF_CLASSES = (("classes",), ("class_map",))


Path = tuple[int | str, ...]
Container = dict[str, Any] | list[Any]


class MalformedJson(DappleError):
    """The body is not JSON, or a number in it has too many digits."""


class _Repeating(dict[str, Any]):
    """An object with a repeated key."""

    def __init__(self, pairs: Sequence[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        seen: set[str] = set()
        self.repeated = next(key for key, _ in pairs if key in seen or seen.add(key))


class JsonRoute(APIRoute):
    """A route that parses its JSON body with `parse`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inherited = super().get_route_handler()

        async def answer(request: Request) -> Response:
            bounded = _JsonRequest(request.scope, request.receive)
            if self.body_field is not None and await _arrived(bounded):
                await bounded.json()  # FastAPI reads the cached value later, but would hide its errors
            return await inherited(bounded)

        return answer


async def _arrived(request: Request) -> bytes:
    """The whole body. Raises HTTPException if the connection ends before the body does."""
    try:
        return await request.body()
    except ClientDisconnect as error:
        raise HTTPException(status.HTTP_400_BAD_REQUEST, "the body did not arrive") from error


class _JsonRequest(Request):
    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = parse(await self.body())
        return self._json


def parse(body: bytes) -> Any:
    """The value of a JSON document.

    Raises MalformedJson if it is no JSON, or a number has too many digits. Raises InvalidSpec if it
    exceeds another limit or repeats a field.
    """
    try:
        value = json.loads(body, object_pairs_hook=_object, parse_int=_whole, parse_float=_fraction, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise MalformedJson(f"at character {error.pos}: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise MalformedJson(f"at byte {error.start}: {error.reason}; send UTF-8") from error
    except RecursionError as error:
        raise InvalidSpec.of("body", f"is nested deeper than {MOST_DEPTH} levels") from error
    _check(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _Repeating(pairs)


def _whole(digits: str) -> int:
    return int(_short(digits))


def _fraction(digits: str) -> float:
    return float(_short(digits))


def _short(digits: str) -> str:
    if len(digits) > MOST_DIGITS:
        raise MalformedJson(f"a number has {len(digits)} digits; at most {MOST_DIGITS} are read")
    return digits


def _no_number(name: str) -> float:
    raise MalformedJson(f"{name} is not a number in JSON")


def _check(body: Any) -> None:
    """Raises InvalidSpec for an object or list that exceeds a limit or repeats a field."""
    values, waiting = 0, _inner((), [body])
    while waiting:
        path, value = waiting.pop()
        values += len(value)
        _check_one(path[1:], value, values)
        waiting += _inner(path, value)


def _inner(path: Path, value: Container) -> list[tuple[Path, Container]]:
    """The objects and lists that this one directly contains."""
    entries = enumerate(value) if isinstance(value, list) else value.items()
    return [((*path, key), entry) for key, entry in entries if isinstance(entry, dict | list)]


def _check_one(path: Path, value: Container, values: int) -> None:
    field = field_name(("body", *path))
    most = MOST_OF_CLASSES if path in OF_CLASSES else MOST_ENTRIES
    if len(value) > most:
        raise InvalidSpec.of(
            field, f"has {len(value)} {'fields' if isinstance(value, dict) else 'entries'}; at most {most} are read"
        )
    if isinstance(value, _Repeating):
        raise InvalidSpec.of(field_name(("body", *path, value.repeated)), "is given more than once")
    if values > MOST_VALUES:
        raise InvalidSpec.of(field, f"has too many entries; at most {MOST_VALUES} are read from one body")
    if len(path) >= MOST_DEPTH:
        raise InvalidSpec.of("body", f"is nested deeper than {MOST_DEPTH} levels")
