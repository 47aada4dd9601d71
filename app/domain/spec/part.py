"""What every part of a job's spec has in common."""

from pydantic import BaseModel, ConfigDict, field_validator

from app.domain.text import refuse_unstorable


class Part(BaseModel):
    """A frozen part of the spec; unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    _storable = field_validator("*")(refuse_unstorable)
