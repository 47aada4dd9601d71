"""The diffusion models that jobs may name."""

from collections.abc import Sequence
from functools import lru_cache

import structlog
from fastapi import APIRouter

from app.api.dependencies import Res
from app.api.errors import documented
from app.api.schemas import BackbonePage, BackboneView
from app.domain.model import schedulers_of
from app.storage.backbones import BackboneFolder, survey

log = structlog.get_logger()

MOST_TAPS_LISTED = 64

router = APIRouter(prefix="/v1/backbones", tags=["backbones"])


@router.head("", include_in_schema=False)
@router.get("", operation_id="list_backbones", responses=documented(403))
def list_backbones(resources: Res) -> BackbonePage:
    """Every backbone that can be used, by name. The log and `dapple doctor` say what is wrong with others."""
    usable, broken = survey(resources.settings.backbone_roots)
    for name, fault in broken:
        _log_once(name, fault)
    return BackbonePage(items=tuple(_view(folder) for folder in usable))


@lru_cache(maxsize=256)
def _log_once(name: str, fault: str) -> None:
    """The list is asked for often; a fault is news once."""
    log.warning("backbone.left_out", backbone=name, reason=fault)


def _view(folder: BackboneFolder) -> BackboneView:
    return BackboneView(
        name=folder.name,
        family=folder.family,
        prompted=folder.prompted,
        classes=folder.classes,
        wordnet=folder.wordnet,
        label_count=folder.label_count,
        taps=folder.taps if len(folder.taps) <= MOST_TAPS_LISTED else (),
        tap_count=len(folder.taps),
        tap_pattern=_pattern(folder.taps) if len(folder.taps) > MOST_TAPS_LISTED else None,
        schedulers=schedulers_of(folder.flow),
        learned_variance=folder.learned_variance,
        image_size=folder.image_size,
        channels=folder.channels,
        weights_bytes=folder.weights_bytes,
    )


def _pattern(taps: Sequence[str]) -> str:
    """`name.{0..n}`: only numbered blocks are many."""
    return f"{taps[0].rpartition('.')[0]}.{{0..{len(taps) - 1}}}"
