import json

import pytest

from app.domain.spec.evaluation import Arm
from worker.evaluation.report import ArmResult, confidence_interval, summarise


def result(arm: Arm, *accuracies: float) -> ArmResult:
    return ArmResult(arm, accuracies, tuple(value + 1 for value in accuracies), images=100)


def test_the_interval_is_student_s():
    low, high = confidence_interval([1.0, 2.0, 3.0]) or (0, 0)
    assert (low, high) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), abs=1e-5)


def test_one_seed_has_no_interval_and_no_deviation():
    arm = summarise("small", [result(Arm.GUIDED, 97.0)])["arms"][0]
    assert (arm["mean"], arm["sd"], arm["ci95"], arm["n"]) == (97.0, None, None, 1)


def test_differences_are_paired_by_seed():
    summary = summarise("small", [result(Arm.GUIDED, 97, 93, 95), result(Arm.RANDOM_REAL, 95, 92, 92)])
    half = 4.302653 / 3**0.5
    assert summary["differences"] == [
        {"arm": "random_real", "mean": 2.0, "ci95": [pytest.approx(2 - half, abs=1e-5), pytest.approx(2 + half, abs=1e-5)]}
    ]


@pytest.mark.parametrize("pairs", [((97.0, 95.0), (95.0, 93.0)), ((97.1, 95.1), (96.4, 94.4)), ((90.0, 80.0),) * 3])
def test_equal_differences_have_no_interval_and_prove_nothing(pairs):
    guided, other = zip(*pairs, strict=True)
    summary = summarise("small", [result(Arm.GUIDED, *guided), result(Arm.RANDOM_REAL, *other)])
    assert summary["differences"][0]["ci95"] is None
    assert f"(the same in all {len(pairs)} training seeds, so chance is not ruled out)" in summary["verdict"]
    assert "beats" not in summary["verdict"]


def test_equal_accuracies_have_a_deviation_of_zero_and_no_interval():
    arm = summarise("small", [result(Arm.GUIDED, 97.0, 97.0)])["arms"][0]
    assert (arm["sd"], arm["ci95"]) == (0.0, None)


def test_the_verdict_speaks_of_this_set():
    verdict = summarise("small", [result(Arm.GUIDED, 97, 96.1), result(Arm.UNGUIDED, 90, 91)])["verdict"]
    assert verdict.startswith("This set ")
    assert verdict.endswith("speak of this set and this test split, not of sets from other seeds.")


def test_arms_come_in_one_order_with_their_best_beside_the_headline():
    summary = summarise("small", [result(Arm.FULL, 99, 99), result(Arm.GUIDED, 97, 96)])
    assert [(arm["arm"], arm["mean"], arm["best_mean"], arm["images"]) for arm in summary["arms"]] == [
        ("guided", 96.5, 97.5, 100),
        ("full", 99.0, 100.0, 100),
    ]


@pytest.mark.parametrize(
    ("random", "claim"),
    [
        ((95, 94, 96), "beats random real images by 2.0 points (95 % interval "),
        ((99, 98, 100), "loses to random real images by 2.0 points (95 % interval "),
        ((90, 98, 101), "cannot be told apart from random real images (+0.7 points"),
    ],
)
def test_the_verdict_says_who_wins_and_whether_that_is_shown(random, claim):
    summary = summarise("small", [result(Arm.GUIDED, 97, 96.1, 97.9), result(Arm.RANDOM_REAL, *random)])
    assert claim in summary["verdict"]


def test_the_verdict_on_a_single_seed_claims_nothing():
    verdict = summarise("small", [result(Arm.GUIDED, 97), result(Arm.RANDOM_REAL, 90)])["verdict"]
    assert "+7.0 points against random real images (one training seed, so chance is not ruled out)" in verdict


def test_without_a_baseline_nothing_is_compared():
    assert "not compared" in summarise("small", [result(Arm.GUIDED, 97, 96), result(Arm.FULL, 99, 99)])["verdict"]


def test_the_summary_is_json():
    summary = summarise("small", [result(arm, 90, 91) for arm in Arm])
    assert json.loads(json.dumps(summary)) == summary
