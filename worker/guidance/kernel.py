"""The kernel a job asks for."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from app.domain.kernel import MEDIAN, Kernel, in_feature_units
from app.domain.spec import DistillationSpec
from worker.kernels.bandwidth import median_heuristic
from worker.kernels.functions import (
    RBF,
    InverseMultiquadric,
    Laplacian,
    Linear,
    MeanOfTaps,
    MetricKernel,
    Polynomial,
    RBFLadder,
)

WITHOUT_BANDWIDTH: dict[Kernel, Callable[[], MetricKernel]] = {Kernel.LINEAR: Linear, Kernel.POLYNOMIAL: Polynomial}
WITH_BANDWIDTH: dict[Kernel, Callable[[float], MetricKernel]] = {
    Kernel.RBF: RBF,
    Kernel.LAPLACIAN: Laplacian,
    Kernel.INVERSE_MULTIQUADRIC: InverseMultiquadric,
}


def kernel_for(spec: DistillationSpec, real: Float[Tensor, "m d"], widths: tuple[int, ...]) -> MetricKernel:
    """The spec's kernel on features of one or more taps, each of its own width; the mean over taps if there are several.

    The median is that of these real features, of which there are two or more, for each tap its own.
    """
    return kernel_of(spec, median_distances(real, widths), widths)


def median_distances(real: Float[Tensor, "m d"], widths: tuple[int, ...]) -> tuple[float, ...]:
    """The median distance of these real features in each tap."""
    return tuple(median_heuristic(part) for part in real.split(widths, 1))


def kernel_of(spec: DistillationSpec, medians: tuple[float, ...], widths: tuple[int, ...]) -> MetricKernel:
    """`kernel_for` where the median distance in each tap is known."""
    of_taps = tuple(_of_one_tap(spec, median) for median in medians)
    return of_taps[0] if len(of_taps) == 1 else MeanOfTaps(of_taps, widths)


def _of_one_tap(spec: DistillationSpec, median: float) -> MetricKernel:
    if not spec.kernel.has_bandwidth:
        return WITHOUT_BANDWIDTH[spec.kernel]()
    bandwidth = spec.kernel_bandwidth or MEDIAN
    if isinstance(bandwidth, tuple):
        return RBFLadder(tuple(in_feature_units(one, median) for one in bandwidth))
    return WITH_BANDWIDTH[spec.kernel](in_feature_units(bandwidth, median))
