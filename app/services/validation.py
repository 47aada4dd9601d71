"""Finds the problems of a spec that its schema does not catch, before anything is stored."""

from itertools import islice

from app.backbones import catalog
from app.backbones.catalog import BackboneFolder
from app.datasets.dataset_classes import class_names
from app.domain.compatibility import MOST_NAMED, class_problems, missing_classes, model_problems
from app.domain.errors import BackboneRejected, FieldProblem, InvalidSpec
from app.domain.spec.job_spec import DistillationSpec
from app.settings import Settings


def check(spec: DistillationSpec, settings: Settings) -> None:
    """Raises InvalidSpec with every problem that can be known now.

    Raises BackboneUnavailable if a file of the backbone is missing.
    """
    problems: list[FieldProblem] = []
    dataset: tuple[str, ...] | None = None
    backbone: BackboneFolder | None = None
    try:
        dataset = class_names(spec.dataset_uri, settings.dataset_roots, spec.classes, settings.dataset_buckets)
    except InvalidSpec as error:
        problems += error.problems
    try:
        backbone = catalog.find(settings.backbone_roots, spec.backbone)
    except InvalidSpec as error:
        problems += error.problems
    except BackboneRejected as error:
        problems.append(FieldProblem("backbone", str(error)))
    if dataset is not None:
        problems += islice(missing_classes(spec, dataset), MOST_NAMED)
    if backbone is not None:
        problems += model_problems(spec, backbone.info)
        problems += islice(class_problems(spec, dataset or (), backbone.info), MOST_NAMED)
    if problems:
        raise InvalidSpec(problems)
