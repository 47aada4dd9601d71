"""Text on its way into the database: whatever it holds, it can be stored, and read again as valid Unicode.

Postgres refuses NUL and lone surrogates, SQLite the latter. A statement that fails for its text would fail the same way each
time it is tried, also where the text is the reason of a failure that must be recorded.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Engine, event

from app.domain.text import storable

_SUSPECT = re.compile(r"\\u(0000|d[89a-f])")  # as json.dumps writes NUL and surrogates; those of a pair as well


def to_json(value: Any) -> str:
    """JSON of a column, with NUL and lone surrogates in keys and values as escapes."""
    text = json.dumps(value)
    return json.dumps(_storable(value)) if _SUSPECT.search(text) else text


def escape_parameters(engine: Engine) -> None:
    """Make every text that a statement of the engine carries storable."""
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
