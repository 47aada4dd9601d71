"""The kernel a job asks for."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from app.domain.kernel import MEDIAN, Kernel
from app.domain.spec import DistillationSpec
from worker.kernels.bandwidth import median_heuristic
from worker.kernels.functions import RBF, InverseMultiquadric, Laplacian, Linear, MercerKernel, Polynomial, RBFLadder

WITHOUT_BANDWIDTH: dict[Kernel, Callable[[], MercerKernel]] = {Kernel.LINEAR: Linear, Kernel.POLYNOMIAL: Polynomial}
WITH_BANDWIDTH: dict[Kernel, Callable[[float], MercerKernel]] = {
    Kernel.RBF: RBF,
    Kernel.LAPLACIAN: Laplacian,
    Kernel.INVERSE_MULTIQUADRIC: InverseMultiquadric,
}


def kernel_for(spec: DistillationSpec, real: Float[Tensor, "m d"]) -> MercerKernel:
    """The spec's kernel; "median" is the median distance of these real features, of which there are two or more."""
    if not spec.kernel.has_bandwidth:
        return WITHOUT_BANDWIDTH[spec.kernel]()
    bandwidth = spec.kernel_bandwidth
    if isinstance(bandwidth, tuple):
        return RBFLadder(bandwidth)
    return WITH_BANDWIDTH[spec.kernel](median_heuristic(real) if bandwidth is None or bandwidth == MEDIAN else float(bandwidth))
