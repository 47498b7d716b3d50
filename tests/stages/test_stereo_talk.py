"""A generated stereo video, from the file to each person's track; nobody is in the picture, so it is quick."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dialogbuild.artifact import Inputs
from dialogbuild.dataset.sound import clip_sound
from dialogbuild.dialogue.channels import channel_owners
from dialogbuild.errors import ConfigError
from dialogbuild.stages import ingest
from dialogbuild.synth import DialogueSpec, Truth, make_dialogue
from dialogbuild.tables import Columns, read_table

ROOM = {"seed": 5, "duration_s": 12.0, "faces": 0, "width_px": 96, "height_px": 64}


def ingested(folder: Path, **spec: object) -> tuple[Path, Truth]:
    video, out = folder / "talk.mp4", folder / "ingest"
    out.mkdir()
    truth = make_dialogue(DialogueSpec(**{**ROOM, **spec}), video)  # type: ignore[arg-type]
    ingest.run(Inputs("talk", "talk", video, {}), out, ingest.Config())
    return out, truth


def states(truth: Truth) -> Columns:
    p = truth.speaking.astype(np.float32)
    return {"tick": np.arange(truth.n_ticks), "state": truth.states, "p_speak_0": p[:, 0], "p_speak_1": p[:, 1]}


def test_each_persons_channel_becomes_their_track(tmp_path: Path) -> None:
    folder, truth = ingested(tmp_path, stereo_bleed_db=-15.0)
    levels = read_table(folder / "channels.parquet")
    level_db = np.stack([levels["level_db_0"], levels["level_db_1"]], axis=1)
    owners = channel_owners(level_db, truth.speaking.astype(float), 25.0)
    assert (owners.channel, owners.reason) == ((0, 1), "ok")
    assert owners.gap_db == pytest.approx(15.0, abs=1.5)
    sound = clip_sound(folder, (0, truth.n_ticks), states(truth), owners.channel)
    assert sound.tracks.shape == truth.tracks.shape
    same = np.corrcoef(sound.tracks, truth.tracks)[:2, 2:]
    assert min(same[0, 0], same[1, 1]) > 0.97
    assert max(same[0, 1], same[1, 0]) < 0.3
    mask = clip_sound(folder, (0, truth.n_ticks), states(truth), None)
    assert np.corrcoef(mask.tracks, truth.tracks)[0, 2] < same[0, 0], "overlap stays in a mask's track"


def test_mono_talks_have_no_channels(tmp_path: Path) -> None:
    folder, _ = ingested(tmp_path)
    assert not list(folder.glob("channels.*"))


def test_stereo_in_another_container_is_refused_and_not_mixed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="stereo_bleed_db is for"):
        make_dialogue(DialogueSpec(**ROOM, stereo_bleed_db=-15.0), tmp_path / "talk.mkv")  # type: ignore[arg-type]
