"""Gates name what failed, for whom, by how much."""

from __future__ import annotations

import pytest

from dialogbuild.quality.gates import Gate, failed_gates

GATES = [Gate("low_coverage", "coverage", "min", 0.8), Gate("extreme_yaw", "yaw", "max", 70.0)]


def test_the_threshold_itself_passes_on_both_sides():
    assert failed_gates(GATES, {"0": {"coverage": 0.8, "yaw": 70.0}}) == []


def test_every_failure_is_listed_with_person_value_and_threshold():
    numbers = {"1": {"coverage": 0.5, "yaw": 80.0}, "0": {"coverage": 0.9, "yaw": 71.0}}
    found = failed_gates(GATES, numbers)
    assert [(f.reason, f.person, f.value, f.threshold) for f in found] == [
        ("low_coverage", "1", 0.5, 0.8),
        ("extreme_yaw", "0", 71.0, 70.0),
        ("extreme_yaw", "1", 80.0, 70.0),
    ]
    assert found[0].as_dict()["side"] == "min"


def test_a_missing_number_is_an_error_and_no_pass():
    with pytest.raises(KeyError, match="yaw"):
        failed_gates(GATES, {"0": {"coverage": 1.0}})
