"""The landmarks stage with and without a second opinion, on a rendered second and a random 2DFAN."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dialogbuild.artifact import Inputs
from dialogbuild.errors import ConfigError
from dialogbuild.media.reader import VideoReader
from dialogbuild.stages import ingest, landmarks
from dialogbuild.stages.landmarks import STAGE, Config, model_files, stretches
from dialogbuild.stages.quality import opinion_numbers
from dialogbuild.tables import read_table, write_table

EVERY = 6
HIDDEN_ROWS = (3, 4)


@dataclass(frozen=True)
class Talk:
    inputs: Inputs
    weights: Path

    def measured(self, out: Path, **settings: Any) -> dict[str, np.ndarray]:
        out.mkdir()
        STAGE.run(self.inputs, out, Config(smooth_ticks=0, mirrored=False, **settings))
        return read_table(out / "landmarks.parquet")


@pytest.fixture(scope="module")
def talk(make_clip: Any, tmp_path_factory: pytest.TempPathFactory) -> Talk:
    """Track 0 is a face, track 1 a piece of wall, where no mesh can be right."""
    pytest.importorskip("face_alignment", reason="face-alignment is not installed")
    import torch
    from face_alignment.models import FAN

    root = tmp_path_factory.mktemp("talk")
    clip = make_clip(duration_s=0.6)
    dirs = {name: root / name for name in ("ingest", "tracks")}
    for folder in dirs.values():
        folder.mkdir()
    inputs = Inputs("talk", "talk", clip.path, dirs)
    ingest.STAGE.run(inputs, dirs["ingest"], ingest.Config(min_duration_s=0.5))
    box = np.asarray(clip.truth.persons[0].box_px, np.float32)
    n = len(read_table(dirs["ingest"] / "ticks.parquet", ["tick"])["tick"])
    wall = np.tile(np.array([0, 0, 40, 40], np.float32), (n, 1))
    write_table(
        dirs["tracks"] / "tracks.parquet",
        {
            "track": np.repeat([0, 1], n).astype(np.int32),
            "tick": np.tile(np.arange(n, dtype=np.int32), 2),
            "box_px": np.concatenate([box[:n], wall]),
            "score": np.ones(2 * n, np.float32),
            "occluded": np.isin(np.arange(2 * n), HIDDEN_ROWS),
        },
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(FAN(1).state_dict(), root / "fan.pth")
    return Talk(inputs, root / "fan.pth")


def test_a_second_opinion_adds_its_column_and_changes_nothing_else(talk: Talk, tmp_path: Path) -> None:
    plain = talk.measured(tmp_path / "off")
    asked = talk.measured(
        tmp_path / "on",
        second_opinion="face_alignment",
        second_opinion_weights=str(talk.weights),
        second_opinion_every=EVERY,
    )
    assert "disagree" not in plain
    assert [*plain, "disagree"] == list(asked)
    for name, values in plain.items():
        np.testing.assert_array_equal(values, asked[name], err_msg=name)
    disagree = asked["disagree"]
    looked = asked["ok"] & (asked["tick"] % EVERY == 0)
    assert looked.any()
    assert not asked["ok"][asked["track"] == 1].any(), "else the rows without a face are not tested"
    assert disagree.dtype == np.float32
    assert (disagree[looked] > 0.1).all(), "random weights do not find a face"
    assert (disagree[~looked] == -1).all()
    _is_what_the_frame_says(talk, asked, int(np.flatnonzero(looked)[1]))


def test_rows_come_in_the_order_of_the_tracks_however_they_are_cut_up(
    talk: Talk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = talk.measured(tmp_path / "whole")
    monkeypatch.setattr(landmarks, "stretches", lambda track: stretches(track, longest=4))
    pieces = talk.measured(tmp_path / "pieces")
    given = read_table(talk.inputs["tracks"] / "tracks.parquet", ["track", "tick"])
    for name in given:
        np.testing.assert_array_equal(pieces[name], given[name])
    for name, values in whole.items():
        np.testing.assert_array_equal(values, pieces[name], err_msg=name)
    assert [path.name for path in (tmp_path / "pieces").iterdir()] == ["landmarks.parquet"]


def test_behind_a_nearer_face_there_are_no_landmarks_because_they_would_be_the_other_ones(
    talk: Talk, tmp_path: Path
) -> None:
    rows = talk.measured(tmp_path / "off")
    hidden = np.isin(np.arange(len(rows["ok"])), HIDDEN_ROWS)
    assert rows["ok"][(rows["track"] == 0) & ~hidden].all()
    assert not rows["ok"][hidden].any()
    assert not rows["lmk_px"][hidden].any()


def test_a_long_track_is_cut_into_stretches_of_like_length_and_a_stretch_holds_one_track() -> None:
    parts = stretches(np.repeat([3, 5, 9], [10, 4, 21]).astype(np.int32), longest=10)
    assert [len(part) for part in parts] == [10, 4, 7, 7, 7]
    assert np.concatenate(parts).tolist() == list(range(35))


def _is_what_the_frame_says(talk: Talk, rows: dict[str, np.ndarray], row: int) -> None:
    from dialogbuild.faces.second_opinion import SecondOpinion, disagreement

    pts = read_table(talk.inputs["ingest"] / "ticks.parquet", ["pts"])["pts"]
    with VideoReader(talk.inputs.source) as video:
        rgb = next(iter(video.frames([int(pts[rows["tick"][row]])])))[1]
    box = read_table(talk.inputs["tracks"] / "tracks.parquet", ["box_px"])["box_px"][row]
    points = SecondOpinion(talk.weights)(rgb, box)
    assert points is not None
    assert rows["disagree"][row] == disagreement(rows["lmk_px"][row].reshape(478, 2), points)


def test_the_weights_enter_the_key_only_where_they_are_used(tmp_path: Path) -> None:
    weights = tmp_path / "fan.pth"
    weights.write_bytes(b"x")
    assert weights not in model_files(Config(second_opinion_weights=str(weights)))
    if importlib.util.find_spec("face_alignment") is None:
        pytest.skip("face-alignment is not installed")
    asked = {"second_opinion": "face_alignment"}
    assert model_files(Config(second_opinion_weights=str(weights), **asked))[-1] == weights
    with pytest.raises(ConfigError, match=r"no file at .*gone\.pth"):
        model_files(Config(second_opinion_weights=str(tmp_path / "gone.pth"), **asked))


def test_a_second_opinion_without_weights_is_a_setting_that_cannot_work() -> None:
    with pytest.raises(ValueError, match="needs second_opinion_weights"):
        Config(second_opinion="face_alignment")


def test_a_persons_number_is_the_median_of_the_ticks_that_were_looked_at() -> None:
    assert opinion_numbers(np.array([-1, 0.1, -1, 0.2, 0.9, -1], np.float32)) == {"disagree_median": 0.2}
    assert opinion_numbers(np.full(3, -1, np.float32)) == {}, "a number of nothing would look like a measurement"
    assert opinion_numbers(np.zeros(0)) == {}
