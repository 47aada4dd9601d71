"""Makes any text storable in the database, and readable from it as valid Unicode.

Postgres refuses NUL and lone surrogates. SQLite refuses lone surrogates. A statement that fails
because of its text would fail in the same way at each retry, even if the text is the reason of a
failure that must be recorded.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Engine, event

from app.domain.text import storable

_SUSPECT = re.compile(r"\\u(0000|d[89a-f])")  # NUL and surrogates as json.dumps writes them; surrogates of a pair match too


def to_json(value: Any) -> str:
    """The JSON of a column's value, with NUL and lone surrogates in keys and values escaped."""
    text = json.dumps(value)
    return json.dumps(_storable(value)) if _SUSPECT.search(text) else text


def escape_parameters(engine: Engine) -> None:
    """Make every text in the parameters of the engine's statements storable."""
    event.listen(engine, "before_cursor_execute", _escape, retval=True)


def _escape(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
    return statement, _storable(parameters)


def _storable(value: Any) -> Any:
    match value:
        case str():
            return storable(value)
        case Mapping():
            pairs = cast(Mapping[Any, Any], value).items()
            return {_storable(key): _storable(inner) for key, inner in pairs}
        case list():
            return [_storable(inner) for inner in cast(Sequence[Any], value)]
        case tuple():
            return tuple(_storable(inner) for inner in cast(Sequence[Any], value))
        case _:
            return value
