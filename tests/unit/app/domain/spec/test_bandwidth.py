import sys

import pytest

from app.domain.spec.bandwidth import MEDIAN, in_feature_units


@pytest.mark.parametrize(
    ("bandwidth", "units"),
    [(MEDIAN, 8.0), (3.0, 3.0), ("0.5x", 4.0), ("2x", 16.0), ("1e308x", sys.float_info.max), ("1e-323x", sys.float_info.min)],
)
def test_a_bandwidth_counts_in_feature_units_or_in_medians_and_is_always_finite(bandwidth: float | str, units: float) -> None:
    assert in_feature_units(bandwidth, 8.0) == units
