from hypothesis import given
from hypothesis import strategies as st

from app.domain.job import Phase
from app.domain.progress import PREPARING_SHARE, PhaseTally, fraction

shares = st.floats(0, 1)
LATER = (Phase.SAMPLING, Phase.EVALUATING, Phase.PACKAGING)


def tally(phase: Phase, share: float) -> PhaseTally:
    return PhaseTally(phase, 0, 1, 0, 1, share)


def test_nothing_known_is_nothing_done() -> None:
    assert fraction([]) == 0


@given(shares)
def test_preparing_stays_small_as_the_graph_is_unknown(share: float) -> None:
    assert 0 <= fraction([tally(Phase.PREPARING, share)]) <= PREPARING_SHARE


def test_the_graph_appearing_takes_nothing_back() -> None:
    before = [tally(Phase.PREPARING, 1.0)]
    assert fraction([*before, *(tally(phase, 0.0) for phase in LATER)]) == fraction(before)


@given(st.lists(shares, min_size=3, max_size=3), st.lists(shares, min_size=3, max_size=3))
def test_more_done_in_every_phase_is_never_less_in_all(some: list[float], more: list[float]) -> None:
    def whole(done: list[float]) -> float:
        return fraction([tally(Phase.PREPARING, 1.0), *map(tally, LATER, done)])

    assert whole(some) <= whole([max(pair) for pair in zip(some, more, strict=True)])


def test_all_done_is_1_with_and_without_evaluation() -> None:
    assert fraction([tally(phase, 1.0) for phase in Phase]) == 1
    assert fraction([tally(phase, 1.0) for phase in Phase if phase is not Phase.EVALUATING]) == 1
