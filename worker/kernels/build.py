"""Build the kernel that a job asks for."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from app.domain.spec.bandwidth import MEDIAN, Kernel, KernelChoice, in_feature_units
from worker.kernels.bandwidth import median_heuristic
from worker.kernels.kernels import (
    RBF,
    InverseMultiquadric,
    Laplacian,
    Linear,
    MeanOfTaps,
    MetricKernel,
    Polynomial,
    RBFMixture,
)

WITHOUT_BANDWIDTH: dict[Kernel, Callable[[], MetricKernel]] = {Kernel.LINEAR: Linear, Kernel.POLYNOMIAL: Polynomial}
WITH_BANDWIDTH: dict[Kernel, Callable[[float], MetricKernel]] = {
    Kernel.RBF: RBF,
    Kernel.LAPLACIAN: Laplacian,
    Kernel.INVERSE_MULTIQUADRIC: InverseMultiquadric,
}


def kernel_for(choice: KernelChoice, real: Float[Tensor, "m d"], widths: tuple[int, ...]) -> MetricKernel:
    """The chosen kernel on features of one or more taps; `widths` are the columns of each tap.

    A bandwidth relative to the median uses the median distance of these m >= 2 real features, for
    each tap its own.
    """
    return build_kernel(choice, median_distances(real, widths), widths)


def median_distances(real: Float[Tensor, "m d"], widths: tuple[int, ...]) -> tuple[float, ...]:
    """The median distance between m >= 2 real features, in each tap."""
    return tuple(median_heuristic(part) for part in real.split(widths, 1))


def build_kernel(choice: KernelChoice, medians: tuple[float, ...], widths: tuple[int, ...]) -> MetricKernel:
    """`kernel_for`, given the median distance in each tap.

    Several taps give the mean of their kernels.
    """
    per_tap = tuple(_kernel_of_one_tap(choice, median) for median in medians)
    return per_tap[0] if len(per_tap) == 1 else MeanOfTaps(per_tap, widths)


def _kernel_of_one_tap(choice: KernelChoice, median: float) -> MetricKernel:
    if not choice.kernel.has_bandwidth:
        return WITHOUT_BANDWIDTH[choice.kernel]()
    bandwidth = choice.bandwidth or MEDIAN
    if isinstance(bandwidth, tuple):
        return RBFMixture(tuple(in_feature_units(each, median) for each in bandwidth))
    return WITH_BANDWIDTH[choice.kernel](in_feature_units(bandwidth, median))
