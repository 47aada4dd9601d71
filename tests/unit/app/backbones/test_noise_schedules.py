import math
from typing import Any

import pytest
from pydantic import ValidationError

from app.backbones.noise_schedules import FlowSchedule, NoiseSchedule
from tests.unit.app.backbones.test_published_configs import PNDM as SD_15

COSINE = {"_class_name": "DDPMScheduler", "beta_schedule": "squaredcos_cap_v2"}
SD_21 = SD_15 | {"_class_name": "DDIMScheduler", "prediction_type": "v_prediction"}
DIT = {"_class_name": "DDIMScheduler", "beta_end": 0.02, "beta_schedule": "linear", "beta_start": 0.0001, "clip_sample": False}
DPM = {
    "_class_name": "DPMSolverMultistepScheduler",
    "algorithm_type": "dpmsolver++",
    "variance_type": None,
    "thresholding": False,
}
SD_3 = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}


def fault(config: dict[str, Any], kind: type[NoiseSchedule] | type[FlowSchedule] = NoiseSchedule) -> str | None:
    """The field at fault, of itself or with others; None if there is none."""
    try:
        told = kind.model_validate(config).fault()
    except ValidationError as error:
        return ".".join(map(str, error.errors()[0]["loc"]))
    return told and told.split(":")[0]


@pytest.mark.parametrize("config", [COSINE, SD_15, SD_21, DIT, DPM, DPM | {"use_karras_sigmas": True}], ids=str)
def test_schedules_of_published_models_are_understood(config: dict[str, Any]) -> None:
    assert fault(config) is None


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "_class_name"),
        ({"_class_name": "LCMScheduler"}, "_class_name"),
        ({"_class_name": "EDMEulerScheduler"}, "_class_name"),
        ({"beta_schedule": "made-up"}, "beta_schedule"),
        ({"beta_start": None}, "beta_start"),
        ({"beta_start": -0.1}, "beta_start"),
        ({"beta_end": 1.5}, "beta_end"),
        ({"beta_end": float("nan")}, "beta_end"),
        ({"trained_betas": [0.01] * 10}, "trained_betas"),
        ({"trained_betas": [0.01] * 1001}, "trained_betas"),
        ({"trained_betas": [0.01] * 999 + [0.0]}, "trained_betas.999"),
        ({"num_train_timesteps": 10**6}, "num_train_timesteps"),
        ({"num_train_timesteps": 0}, "num_train_timesteps"),
        ({"prediction_type": "sample"}, "prediction_type"),
        ({"prediction_type": "flow_prediction"}, "prediction_type"),
        ({"use_flow_sigmas": True}, "use_flow_sigmas"),
        ({"timestep_type": "continuous"}, "timestep_type"),
        ({"timestep_spacing": "random"}, "timestep_spacing"),
        ({"thresholding": True}, "thresholding"),
        ({"clip_sample_range": 0}, "clip_sample_range"),
        ({"steps_offset": -1}, "steps_offset"),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr"),
        ({"beta_end": 1.0}, "beta_end"),
        ({"trained_betas": [0.01] * 999 + [1.0]}, "trained_betas"),
        ({"use_karras_sigmas": True, "use_beta_sigmas": True}, "use_beta_sigmas"),
        ({"use_karras_sigmas": True, "beta_schedule": "squaredcos_cap_v2"}, "use_karras_sigmas"),
        ({"use_exponential_sigmas": True, "beta_schedule": "squaredcos_cap_v2"}, "use_exponential_sigmas"),
        ({"use_karras_sigmas": True, "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}, "use_karras_sigmas"),
    ],
)
def test_a_schedule_that_cannot_be_run_is_refused_naming_the_field(fields: dict[str, Any], named: str) -> None:
    assert fault(DIT | fields) == named


def test_a_scheduler_whose_defaults_are_others_must_say_its_betas() -> None:
    assert fault({"_class_name": "HeunDiscreteScheduler"}) == "beta_start"
    assert fault({"_class_name": "HeunDiscreteScheduler", "beta_start": 0.00085, "beta_end": 0.012}) is None


@pytest.mark.parametrize("fields", [{"rescale_betas_zero_snr": True}, {"beta_end": 1.0}])
def test_where_no_image_is_left_a_velocity_still_says_where_to_go(fields: dict[str, Any]) -> None:
    assert fault(DIT | fields | {"prediction_type": "v_prediction"}) is None


def test_the_cosine_schedule_has_its_closed_form() -> None:
    betas = NoiseSchedule.model_validate(COSINE)._betas()  # pyright: ignore[reportPrivateUsage]
    half = math.prod(1 - beta for beta in betas[:500])
    expected = math.cos((0.5 + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert half == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, None),
        ({"use_dynamic_shifting": True}, None),
        ({"_class_name": "FlowMatchHeunDiscreteScheduler"}, "_class_name"),
        ({"shift": 0}, "shift"),
        ({"shift": None}, "shift"),
        ({"invert_sigmas": True}, "invert_sigmas"),
        ({"stochastic_sampling": True}, "stochastic_sampling"),
        ({"use_dynamic_shifting": True, "base_shift": None}, "base_shift"),
        ({"use_dynamic_shifting": True, "max_image_seq_len": 256}, "max_image_seq_len"),
        ({"use_karras_sigmas": True, "use_exponential_sigmas": True}, "use_exponential_sigmas"),
    ],
)
def test_a_flow_schedule_is_understood_or_refused(fields: dict[str, Any], named: str | None) -> None:
    assert fault(SD_3 | fields, FlowSchedule) == named
