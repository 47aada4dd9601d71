"""Kernel guidance: move the features of a batch towards those of the real images of its classes
(DAP, arXiv 2510.17421).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from app.domain.spec.bandwidth import KernelChoice
from app.domain.spec.guidance import Guidance
from worker.guidance.base import StepState, Vjp
from worker.guidance.objectives import objective_for
from worker.kernels.build import build_kernel, median_distances
from worker.kernels.kernels import MercerKernel, MetricKernel
from worker.references.base import TapPoint, Target


@dataclass(frozen=True)
class EstimatorError:
    """How guidance by the m references of a class differs from guidance by the whole class, at one
    timestep.

    Both are gradients in feature space over the images of the class. `relative_error` is |m - all|
    / |all|, `cosine` the cosine between them. They are None where a kernel too narrow for the
    features makes a gradient vanish.
    """

    timestep: float
    class_name: str
    relative_error: float | None
    cosine: float | None


@dataclass(frozen=True)
class MedianDistance:
    """The median distance between the real features of a class at one timestep, in one block: the
    unit of "0.5x".
    """

    timestep: float
    block: int
    distance: float


class KernelGuidance:
    """-grad_x of the objective, summed over the classes of a batch.

    `median_distances` grows with every step and class, `estimator_errors` where there are probes.
    """

    def __init__(self, guidance: Guidance, kernel: KernelChoice, tap: TapPoint, targets: Sequence[Target]) -> None:
        self.tap = tap
        self.estimator_errors: list[EstimatorError] = []
        self.median_distances: list[MedianDistance] = []
        self._kernel_choice = kernel
        self._targets = targets
        self._objective = objective_for(guidance)

    def __call__(self, state: StepState) -> Float[Tensor, "n c h w"]:
        """g_t = -grad_{x_t} of the objective at timestep t (DAP, Algorithm 1, line 6)."""
        if state.features is None or state.vjp is None:
            raise ValueError(f"no features of blocks {self.tap.block_numbers} to compare")
        gradient = torch.zeros_like(state.features)
        for target in self._targets:
            gradient[target.rows] = self._negative_gradient(state.features[target.rows], target, state)
        return _scaled_vjp(state.vjp, gradient)

    def _negative_gradient(self, synthetic: Tensor, target: Target, state: StepState) -> Tensor:
        """In feature space, over the images of one class."""
        real = target.reference.at(state.t)
        kernel = self._kernel(real, target.reference.report.widths, state)
        estimate = self._objective_gradient(kernel, synthetic, real)
        whole_class = target.reference.probe_at(state.t)
        if whole_class is not None:
            exact = self._objective_gradient(kernel, synthetic, whole_class)
            self.estimator_errors.append(_error(target.class_name, state.t, estimate, exact))
        return estimate

    def _kernel(self, real: Tensor, widths: tuple[int, ...], state: StepState) -> MetricKernel:
        medians = median_distances(real, widths)
        pairs = zip(self.tap.block_numbers, medians, strict=True)
        self.median_distances += [MedianDistance(float(state.t), block, median) for block, median in pairs]
        return build_kernel(self._kernel_choice, medians, widths)

    def _objective_gradient(self, kernel: MercerKernel, synthetic: Tensor, real: Tensor) -> Tensor:
        """-grad of the objective with respect to the synthetic features."""
        with torch.enable_grad():
            features = synthetic.detach().requires_grad_()
            return -torch.autograd.grad(self._objective(kernel, features, real), features)[0]


def _scaled_vjp(vjp: Vjp, v: Float[Tensor, "n d"]) -> Float[Tensor, "n c h w"]:
    """vjp(v), with each image scaled by a power of two before and back after.

    This is exact, because a vjp is linear.

    Where a kernel is nearly flat, its gradients are subnormal numbers. These make backpropagation a
    hundred times slower on CPUs and vanish in float16.
    """
    _, exponents = torch.frexp(v.abs().amax(1))
    exponents = exponents.clamp(-120, 120)  # two to these powers is a float32
    product = vjp(torch.ldexp(v, -exponents[:, None]))
    return torch.ldexp(product, exponents[:, None, None, None])


def _error(class_name: str, t: Tensor, estimate: Tensor, exact: Tensor) -> EstimatorError:
    if not (exact.any() and estimate.any()):
        return EstimatorError(float(t), class_name, None, None)
    unit = exact.abs().max().double()  # where a kernel is nearly flat, the squares of its gradients vanish
    estimate, exact = estimate.double().flatten() / unit, exact.double().flatten() / unit
    relative = (estimate - exact).norm() / exact.norm()
    return EstimatorError(float(t), class_name, float(relative), float(_unit_vector(estimate) @ _unit_vector(exact)))


def _unit_vector(v: Tensor) -> Tensor:
    """v / |v|, also where the squares of v vanish or overflow. torch's cosine_similarity takes no
    norm below 1e-8.
    """
    largest = v / v.abs().max()
    return largest / largest.norm()
