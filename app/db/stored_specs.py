"""Stored specs, to run and to show, including specs that this version would not accept."""

import copy
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

import structlog
from pydantic import ValidationError

from app.db.tables import JobRow
from app.domain.errors import DappleError
from app.domain.spec.job_spec import DistillationSpec

UNKNOWN_HERE = ("extra_forbidden", "enum", "literal_error")  # a field or a value that this version does not know

log = structlog.get_logger()


class OfNewerVersion(DappleError):
    """The spec has a field or a value that this version does not know.

    Workers of the version that accepted the job may run it.
    """


class UnreadableSpec(DappleError):
    """This version knows every field and value of the spec, but does not accept it."""


def to_runnable_spec(job: JobRow) -> DistillationSpec:
    """The spec to run. Raises OfNewerVersion, which is logged once per job, or UnreadableSpec."""
    try:
        return DistillationSpec.model_validate(job.spec)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False)
        places = ", ".join(".".join(map(str, fault["loc"])) or "the whole" for fault in faults[:3])
        if any(fault["type"] in UNKNOWN_HERE for fault in faults):
            _log_once(job.id, places)
            raise OfNewerVersion(f"job {job.id} was submitted to a newer version ({places})") from error
        raise UnreadableSpec(f"the job as stored cannot be read ({places}); submit it again") from error


@lru_cache(maxsize=1000)
def _log_once(job_id: str, places: str) -> None:
    log.warning("job.of_newer_version", job_id=job_id, fields=places)


def to_spec(job: JobRow) -> DistillationSpec:
    """The spec to show, without the fields that this version does not know or cannot read.

    A field that is left out shows its default. If the stored spec has no valid dataset, the dataset
    is the one under which the job is listed. If it has no valid `ipc`, `ipc` is 0.
    """
    known = copy.deepcopy(job.spec)
    while True:
        try:
            return DistillationSpec.model_validate(known)
        except ValidationError as error:
            faults = error.errors(include_input=False, include_url=False)
            places = {place for fault in faults if (place := _place(known, fault["loc"]))}
            if not places:
                return _completed(job, known)
            for place in sorted(places, key=len, reverse=True):  # inner fields before the fields that contain them
                _remove(known, place)


def _completed(job: JobRow, known: dict[str, Any]) -> DistillationSpec:
    """The spec of these valid fields, with values for the required fields that are missing."""
    valid = DistillationSpec.model_validate({"dataset_uri": "sklearn://digits", "ipc": 1, **known})
    shown: dict[str, Any] = {"dataset_uri": job.dataset_uri, "ipc": 0}
    return valid.model_copy(update={name: value for name, value in shown.items() if name not in known})


def _place(spec: dict[str, Any], path: Sequence[int | str]) -> tuple[str, ...]:
    """The names down to the innermost field that exists along the path; empty if there is none.

    A list counts as one field.
    """
    names: list[str] = []
    part: Any = spec
    for name in path:
        if not isinstance(part, dict) or not isinstance(name, str) or name not in part:
            break
        names.append(name)
        part = cast("dict[str, Any]", part)[name]
    return tuple(names)


def _remove(spec: dict[str, Any], place: Sequence[str]) -> None:
    part: Any = spec
    for name in place[:-1]:
        part = part[name]
    del part[place[-1]]
