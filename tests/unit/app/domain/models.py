"""Models of three kinds, as far as a spec can be checked against them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.domain.spec import DistillationSpec

BLOCKS = tuple(f"transformer_blocks.{block}" for block in range(6))


@dataclass(frozen=True)
class FakeModel:
    name: str = "m"
    taps: tuple[str, ...] = BLOCKS
    image_size: int = 8
    labels: Mapping[str, int] = field(default_factory=lambda: {"tabby cat": 281, "dog": 1, "tench": 7})
    label_count: int = 1000
    wordnet: bool = False
    prompted: bool = False
    flow: bool = False
    learned_variance: bool = False


def prompted(*, flow: bool = False) -> FakeModel:
    taps = ("down_blocks.0", "down_blocks.1", "mid_block")
    return FakeModel(taps=taps, labels={}, label_count=0, prompted=True, flow=flow)


def spec(**fields: object) -> DistillationSpec:
    return DistillationSpec.model_validate({"dataset_uri": "sklearn://digits", "ipc": 1} | fields)
