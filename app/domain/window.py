"""Which steps of a trajectory are guided."""

from app.domain.spec import Guidance


def is_guided(guidance: Guidance, step: int, steps: int) -> bool:
    """Whether step 0..steps-1 lies between the start and the stop of the guided part."""
    return guidance.start <= step / steps < guidance.stop
