"""Types of the fields in a model's configuration files.

Every number has bounds, because an unbounded one could demand any amount of memory.
"""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Config(BaseModel):
    """Fields of a JSON file that Dapple relies on, validated strictly: a string is no number."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


def _only_null(value: Any) -> None:
    if value is not None:
        raise ValueError(f"it is {value!r:.60}; only null can be used, as Dapple gives a model no such input")


Absent = Annotated[None, BeforeValidator(_only_null)]

Side = Annotated[int, Field(ge=1, le=1024)]  # of a denoiser's input, in latents or pixels
Channels = Annotated[int, Field(ge=1, le=16_384)]
LatentChannels = Annotated[int, Field(ge=1, le=256)]
Layers = Annotated[int, Field(ge=1, le=256)]
Heads = Annotated[int, Field(ge=1, le=256)]
HeadWidth = Annotated[int, Field(ge=1, le=1024)]
PatchSize = Annotated[int, Field(ge=1, le=64)]
Width = Annotated[int, Field(ge=1, le=65_536)]
LabelCount = Annotated[int, Field(ge=1, le=50_000)]
Vocabulary = Annotated[int, Field(ge=1, le=1_000_000)]
Factor = Annotated[float, Field(gt=0, le=1000)]
Shift = Annotated[float, Field(ge=-1000, le=1000)]
MOST_STAGES = 16
