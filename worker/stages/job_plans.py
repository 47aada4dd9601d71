"""From the spec of a job to the values that the mathematics takes."""

from collections.abc import Sequence

from app.domain.class_conditioning import condition_of
from app.domain.spec.guidance import Objective
from app.domain.spec.job_spec import DistillationSpec
from app.domain.spec.taps import positions
from worker.backbones.base import Backbone, Timestep
from worker.datasets.base import Dataset
from worker.references.base import ClassImages, ReferencePlan, TapPoint
from worker.references.feature_map import FeatureMap
from worker.references.targets import class_images_of
from worker.sampling.class_set import ClassSetPlan


def tap_point(spec: DistillationSpec, backbone: Backbone) -> TapPoint:
    """Where the backbone is tapped, and the features that are compared there."""
    guidance = spec.guidance
    feature_map = FeatureMap(guidance.features, guidance.projection)
    return TapPoint(positions(guidance.tap, backbone.info.block_names), feature_map)


def reference_plan(spec: DistillationSpec, backbone: Backbone) -> ReferencePlan:
    """What the job computes from the real images of each class."""
    modes = spec.ipc if spec.guidance.objective is Objective.MODE else 0
    return ReferencePlan(spec.reference, tap_point(spec, backbone), guided_timesteps(spec, backbone), modes)


def guided_timesteps(spec: DistillationSpec, backbone: Backbone) -> tuple[Timestep, ...]:
    """The timesteps at which features are compared."""
    if not spec.guidance.compares_features:
        return ()
    timesteps = backbone.stepper(spec.sampling).timesteps
    return tuple(t for step, t in enumerate(timesteps) if spec.guidance.acts_at(step, len(timesteps)))


def class_set_plan(spec: DistillationSpec, backbone: Backbone) -> ClassSetPlan:
    """How the images of each class are made."""
    tap = tap_point(spec, backbone)
    return ClassSetPlan(spec.ipc, spec.seed, spec.sampling, spec.guidance, spec.kernel_choice, tap)


def class_images(spec: DistillationSpec, backbone: Backbone, dataset: Dataset, class_names: Sequence[str]) -> list[ClassImages]:
    """The training images of these classes, with the conditions under which the backbone draws
    them.
    """
    return [
        class_images_of(
            dataset,
            name,
            condition_of(name, spec, backbone.info),
            backbone,
            negative_prompt=spec.sampling.negative_prompt,
        )
        for name in class_names
    ]
