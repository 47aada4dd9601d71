"""The kernel a job asks for."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from app.domain.kernel import MEDIAN, Kernel
from app.domain.spec import DistillationSpec
from worker.kernels.bandwidth import median_heuristic
from worker.kernels.functions import (
    RBF,
    InverseMultiquadric,
    Laplacian,
    Linear,
    MeanOfTaps,
    MercerKernel,
    Polynomial,
    RBFLadder,
)

WITHOUT_BANDWIDTH: dict[Kernel, Callable[[], MercerKernel]] = {Kernel.LINEAR: Linear, Kernel.POLYNOMIAL: Polynomial}
WITH_BANDWIDTH: dict[Kernel, Callable[[float], MercerKernel]] = {
    Kernel.RBF: RBF,
    Kernel.LAPLACIAN: Laplacian,
    Kernel.INVERSE_MULTIQUADRIC: InverseMultiquadric,
}


def kernel_for(spec: DistillationSpec, real: Float[Tensor, "m d"], widths: tuple[int, ...]) -> MercerKernel:
    """The spec's kernel on features of one or more taps, each of its own width; the mean over taps if there are several.

    "median" is the median distance of these real features, of which there are two or more, for each tap its own.
    """
    if len(widths) == 1:
        return _of_one_tap(spec, real)
    return MeanOfTaps(tuple(_of_one_tap(spec, part) for part in real.split(widths, 1)), widths)


def _of_one_tap(spec: DistillationSpec, real: Tensor) -> MercerKernel:
    if not spec.kernel.has_bandwidth:
        return WITHOUT_BANDWIDTH[spec.kernel]()
    bandwidth = spec.kernel_bandwidth
    if isinstance(bandwidth, tuple):
        return RBFLadder(bandwidth)
    return WITH_BANDWIDTH[spec.kernel](median_heuristic(real) if bandwidth is None or bandwidth == MEDIAN else float(bandwidth))
