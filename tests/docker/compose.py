"""docker-compose.yml as Compose would see it: anchors merged, variables filled in."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
SECRETS = (
    "POSTGRES_PASSWORD",
    "DAPPLE_DATABASE_PASSWORD",
    "REDIS_PASSWORD",
    "DAPPLE_ACCESS_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
)
SECRET = "a-secret-of-some-length"  # noqa: S105 - of these tests alone
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?:(?P<how>:-|:\?)(?P<rest>[^}]*))?\}")


class Unset(Exception):
    """A variable without a value and without a default."""


def project(variables: Mapping[str, str]) -> dict[str, Any]:
    """The whole file. Raises Unset naming the first required variable that is missing."""
    return _filled(yaml.safe_load(FILE.read_text()), variables)


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        given = {key: variables.get(key) if item is None else item for key, item in value.items()}
        return {key: _filled(item, variables) for key, item in given.items() if item is not None}
    if isinstance(value, list):
        return [_filled(item, variables) for item in value]
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: _value(found, variables), value).replace("$$", "$")
    return value


def _value(found: re.Match[str], variables: Mapping[str, str]) -> str:
    value = variables.get(found["name"], "")
    if not value and found["how"] == ":?":
        raise Unset(f"{found['name']}: {found['rest']}")
    return value or (found["rest"] or "")
