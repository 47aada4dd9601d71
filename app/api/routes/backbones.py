"""The diffusion models that jobs may name."""

from fastapi import APIRouter

from app.api.dependencies import Res
from app.api.errors import documented
from app.api.schemas import BackbonePage, BackboneView
from app.domain.model import schedulers_of
from app.storage.backbones import BackboneFolder, list_all

router = APIRouter(prefix="/v1/backbones", tags=["backbones"])


@router.head("", include_in_schema=False)
@router.get("", operation_id="list_backbones", responses=documented(403))
def list_backbones(resources: Res) -> BackbonePage:
    """Every backbone whose files are complete, by name."""
    return BackbonePage(items=tuple(_view(folder) for folder in list_all(resources.settings.backbone_roots)))


def _view(folder: BackboneFolder) -> BackboneView:
    return BackboneView(
        name=folder.name,
        family=folder.family,
        prompted=folder.prompted,
        classes=folder.classes,
        wordnet=folder.wordnet,
        taps=folder.taps,
        schedulers=schedulers_of(folder.flow),
        learned_variance=folder.learned_variance,
        image_size=folder.image_size,
        channels=folder.channels,
        weights_bytes=folder.weights_bytes,
    )
