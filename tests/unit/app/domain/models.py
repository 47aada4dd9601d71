"""Backbones of three kinds, as far as a spec can be checked against them."""

from typing import Any

from app.domain.backbone import BackboneInfo, Family
from app.domain.labels import Labels
from app.domain.spec.job_spec import DistillationSpec

LABELS = Labels([[("tabby cat", 281), ("dog", 1), ("tench", 7)]])


def labelled(labels: Labels = LABELS, **fields: Any) -> BackboneInfo:
    """A DiT of six blocks and a thousand labels, of which these have names."""
    usual = {"name": "m", "image_size": 8, "channels": 1, "label_count": 1000}
    blocks = tuple(f"transformer_blocks.{block}" for block in range(6))
    return BackboneInfo(family=Family.DIT, block_names=blocks, labels=labels, **usual | fields)


def prompted(*, flow: bool = False) -> BackboneInfo:
    """Stable Diffusion, which takes prompts."""
    family = Family.STABLE_DIFFUSION_3 if flow else Family.STABLE_DIFFUSION
    blocks = ("down_blocks.0", "down_blocks.1", "mid_block")
    return BackboneInfo(name="m", family=family, block_names=blocks, image_size=8, channels=3)


def spec(**fields: object) -> DistillationSpec:
    return DistillationSpec.model_validate({"dataset_uri": "sklearn://digits", "ipc": 1} | fields)
