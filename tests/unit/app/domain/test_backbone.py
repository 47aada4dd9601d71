from app.domain.backbone import Family, schedulers_of
from app.domain.spec.sampling import Scheduler


def test_every_scheduler_is_for_models_of_noise_or_of_flow_and_the_first_is_the_default() -> None:
    assert schedulers_of(True) == (Scheduler.FLOW_EULER,)
    assert schedulers_of(False)[0] is Scheduler.DDPM
    assert {*schedulers_of(True), *schedulers_of(False)} == set(Scheduler)


def test_who_takes_words_and_who_learned_flow_matching() -> None:
    assert {family for family in Family if family.prompted} == {Family.STABLE_DIFFUSION, Family.STABLE_DIFFUSION_3}
    assert {family for family in Family if family.flow} == {Family.STABLE_DIFFUSION_3}
