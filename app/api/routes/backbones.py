"""The diffusion models that jobs may name."""

from collections.abc import Sequence
from functools import lru_cache

import structlog
from fastapi import APIRouter

from app.api.dependencies import Res
from app.api.errors import documented
from app.backbones.catalog import BackboneFolder, survey
from app.domain.backbone import schedulers_of
from app.schemas import BackbonePage, BackboneView

log = structlog.get_logger()

MOST_BLOCKS_LISTED = 64

router = APIRouter(prefix="/v1/backbones", tags=["backbones"])


@router.head("", include_in_schema=False)
@router.get("", operation_id="list_backbones", responses=documented(403))
def list_backbones(resources: Res) -> BackbonePage:
    """Every usable backbone, by name. The log and `dapple doctor` say what is wrong with others."""
    usable, broken = survey(resources.settings.backbone_roots)
    for name, fault in broken:
        _log_once(name, fault)
    return BackbonePage(items=tuple(_view(folder) for folder in usable))


@lru_cache(maxsize=256)
def _log_once(name: str, fault: str) -> None:
    """Log a fault once, although the list is requested often."""
    log.warning("backbone.left_out", backbone=name, reason=fault)


def _view(folder: BackboneFolder) -> BackboneView:
    info = folder.info
    blocks, listed = info.block_names, len(info.block_names) <= MOST_BLOCKS_LISTED
    return BackboneView(
        name=info.name,
        family=info.family,
        prompted=info.prompted,
        classes=info.labels.shown,
        wordnet=info.wordnet,
        label_count=info.label_count,
        taps=blocks if listed else (),
        tap_count=len(blocks),
        tap_pattern=None if listed else _pattern(blocks),
        schedulers=schedulers_of(info.flow),
        learned_variance=info.learned_variance,
        image_size=info.image_size,
        channels=info.channels,
        weights_bytes=folder.weights_bytes,
    )


def _pattern(block_names: Sequence[str]) -> str:
    """`name.{0..n}`, because all blocks of a long list have one name and a number."""
    return f"{block_names[0].rpartition('.')[0]}.{{0..{len(block_names) - 1}}}"
