"""The base class of a job's spec and of its parts."""

from pydantic import BaseModel, ConfigDict, field_validator

from app.domain.text import refuse_unstorable


class Part(BaseModel):
    """A frozen part of the spec. Unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    _storable = field_validator("*")(refuse_unstorable)
