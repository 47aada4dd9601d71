"""The direction in which the features of a batch become those of its classes' real images."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from app.domain.spec import DistillationSpec
from worker.guidance.kernel import kernel_of, median_distances
from worker.guidance.objectives import objective_for
from worker.kernels.functions import MercerKernel, MetricKernel
from worker.sampling.direction import Pull, StepState, Tap, Target


@dataclass(frozen=True)
class EstimatorError:
    """How guidance from a class's m references differs from that of the whole class, at one timestep.

    Both are gradients in feature space over the class's images: |m - all| / |all|, and the cosine between them; None where
    a kernel too narrow for the features makes both vanish.
    """

    timestep: float
    class_name: str
    relative_error: float | None
    cosine: float | None


@dataclass(frozen=True)
class MedianDistance:
    """The median distance between the real features of a class at one timestep, in one block: the unit of "0.5x"."""

    timestep: float
    block: int
    distance: float


class KernelDirection:
    """-grad_x of the objective, summed over the classes of a batch.

    `median_distances` grow with every step and class, `estimator_errors` where there are probes.
    """

    def __init__(self, spec: DistillationSpec, tap: Tap, targets: Sequence[Target]) -> None:
        self.tap = tap
        self.estimator_errors: list[EstimatorError] = []
        self.median_distances: list[MedianDistance] = []
        self._spec = spec
        self._targets = targets
        self._objective = objective_for(spec.guidance)

    def __call__(self, state: StepState) -> Float[Tensor, "n c h w"]:
        """g_t = -grad_{x_t} of the objective at timestep t (DAP, Algorithm 1, line 6)."""
        if state.features is None or state.pull is None:
            raise ValueError(f"no features of blocks {self.tap.blocks} to compare")
        downhill = torch.zeros_like(state.features)
        for target in self._targets:
            downhill[target.rows] = self._downhill(state.features[target.rows], target, state)
        return _pulled(state.pull, downhill)

    def _downhill(self, synthetic: Tensor, target: Target, state: StepState) -> Tensor:
        real = target.reference.at(state.t)
        kernel = self._kernel(real, target.reference.widths, state)
        estimate = self._minus_gradient(kernel, synthetic, real)
        everything = target.reference.probe_at(state.t)
        if everything is not None:
            exact = self._minus_gradient(kernel, synthetic, everything)
            self.estimator_errors.append(_error(target.class_name, state.t, estimate, exact))
        return estimate

    def _kernel(self, real: Tensor, widths: tuple[int, ...], state: StepState) -> MetricKernel:
        medians = median_distances(real, widths)
        pairs = zip(self.tap.blocks, medians, strict=True)
        self.median_distances += [MedianDistance(float(state.t), block, median) for block, median in pairs]
        return kernel_of(self._spec, medians, widths)

    def _minus_gradient(self, kernel: MercerKernel, synthetic: Tensor, real: Tensor) -> Tensor:
        with torch.enable_grad():
            features = synthetic.detach().requires_grad_()
            return -torch.autograd.grad(self._objective(kernel, features, real), features)[0]


def _pulled(pull: Pull, downhill: Float[Tensor, "n d"]) -> Float[Tensor, "n c h w"]:
    """pull(downhill), each image scaled by a power of two before and back after: exact, since pulling is linear.

    Where a kernel is nearly flat the gradients are subnormal numbers, which make the way back a hundred times slower on CPUs
    and vanish in float16.
    """
    _, exponents = torch.frexp(downhill.abs().amax(1))
    exponents = exponents.clamp(-120, 120)  # 2 to these is a float32
    pulled = pull(torch.ldexp(downhill, -exponents[:, None]))
    return torch.ldexp(pulled, exponents[:, None, None, None])


def _error(class_name: str, t: Tensor, estimate: Tensor, exact: Tensor) -> EstimatorError:
    if not (exact.any() and estimate.any()):
        return EstimatorError(float(t), class_name, None, None)
    unit = exact.abs().max().double()  # a kernel that is nearly flat leaves numbers whose squares vanish
    estimate, exact = estimate.double().flatten() / unit, exact.double().flatten() / unit
    relative = (estimate - exact).norm() / exact.norm()
    return EstimatorError(float(t), class_name, float(relative), float(_direction(estimate) @ _direction(exact)))


def _direction(v: Tensor) -> Tensor:
    """v / |v|, also where the squares of v vanish or overflow. torch's cosine_similarity takes no norm below 1e-8."""
    largest = v / v.abs().max()
    return largest / largest.norm()
