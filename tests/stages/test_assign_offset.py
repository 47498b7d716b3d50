"""assign: how late the sound is, of whole synthetic dialogues whose offset is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from spoken import Spoken, spoken

from dialogbuild.stages import assign, diarize


def talk(root: Path, **spec: Any) -> Spoken:
    made = spoken(root, seed=734, duration_s=22.0, **spec)
    made.run(diarize.STAGE)
    return made


def measured(made: Spoken, **config: Any) -> dict[str, Any]:
    """``av_offset`` of assign.json."""
    found: dict[str, Any] = json.loads((made.run(assign.STAGE, **config) / "assign.json").read_text())["av_offset"]
    return found


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> Spoken:
    return talk(tmp_path_factory.mktemp("late"), av_offset_s=0.2)


def test_a_lip_sync_error_of_the_recording_is_found(late: Spoken) -> None:
    found = measured(late)
    assert found["reason"] == "ok"
    assert found["ms"] == pytest.approx(200.0, abs=20.0)
    assert 50.0 <= found["sigma_ms"] < 60.0
    assert found["solo_s"] > 8.0
    assert found["sign"].startswith("positive: the sound is late")


def test_sound_that_comes_early_in_a_noisy_room_is_found(tmp_path: Path) -> None:
    found = measured(talk(tmp_path, av_offset_s=-0.16, noise_db=-40.0))
    assert found["ms"] == pytest.approx(-160.0, abs=20.0)


def test_the_lead_of_the_lips_is_a_setting(late: Spoken) -> None:
    found = measured(late, lip_lead_ms=20.0, lip_lead_sigma_ms=5.0)
    assert found["ms"] == pytest.approx(measured(late)["ms"] + assign.LIP_LEAD_MS - 20.0, abs=0.02)
    assert found["sigma_ms"] < 20.0
