import inspect

from app.api.errors import RULES
from app.api.routes.health import get_liveness
from app.datasets.look_pool import DatasetBusy
from app.domain.errors import TransientError


def test_liveness_needs_no_thread_so_it_answers_while_all_are_taken() -> None:
    assert inspect.iscoroutinefunction(get_liveness)


def test_a_dataset_that_cannot_be_looked_at_now_is_503_and_may_be_asked_again() -> None:
    rule = next(RULES[kind] for kind in DatasetBusy.__mro__ if kind in RULES)
    assert RULES[TransientError] is rule
    assert (rule.status, rule.headers) == (503, {"Retry-After": "5"})
