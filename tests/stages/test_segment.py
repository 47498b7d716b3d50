"""segment: clips that show both people."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from dialogbuild.artifact import Inputs, write_json
from dialogbuild.errors import Reject
from dialogbuild.stages import segment
from dialogbuild.tables import Columns, read_table, write_table

FPS = 25.0


def conversation(length_s: float, turn_s: float = 3.0) -> Columns:
    """Turns of ``turn_s`` with a pause of 0.4 s before each; both faces in view."""
    t = np.arange(round(length_s * FPS)) / FPS
    state = np.where(t % turn_s < 0.4, 0, 1 + (t // turn_s).astype(int) % 2).astype(np.int8)
    n = len(t)
    return {
        "tick": np.arange(n, dtype=np.int32), "state": state,
        "p_speak_0": (state == 1).astype(np.float32), "p_speak_1": (state == 2).astype(np.float32),
        "p_overlap": np.zeros(n, np.float32), "face_seen_0": np.ones(n, bool), "face_seen_1": np.ones(n, bool),
        "third_face": np.zeros(n, bool),
    }  # fmt: skip


def cut(root: Path, states: Columns, shots: list[int] | None = None, **config: float) -> Columns:
    dirs = {name: root / name for name in ("ingest", "shots", "tracks", "assign")}
    for path in dirs.values():
        path.mkdir(parents=True)
    n = len(states["state"])
    edges = np.array([0, *(shots or []), n], np.int32)
    write_json(dirs["ingest"] / "video.json", {"n_ticks": n, "fps": [25, 1]})
    write_table(
        dirs["shots"] / "shots.parquet",
        {"shot": np.arange(len(edges) - 1, dtype=np.int32), "start_tick": edges[:-1], "end_tick": edges[1:]},
    )
    write_table(dirs["assign"] / "states.parquet", states)
    out = root / "segment"
    out.mkdir()
    inputs = Inputs("talk", "talk", Path("talk.mp4"), dirs)
    segment.STAGE.run(inputs, out, segment.Config(**config))
    return read_table(out / "clips.parquet")


def test_a_short_dialogue_is_one_clip_with_its_shares(tmp_path: Path) -> None:
    clips = cut(tmp_path, conversation(12.0), shots=[100, 200])
    assert clips["clip_id"].tolist() == ["talk_c000"]
    assert (clips["start_tick"][0], clips["end_tick"][0], clips["n_ticks"][0], clips["shots"][0]) == (0, 300, 300, 3)
    assert clips["speak_s_0"][0] == pytest.approx(5.2, abs=0.05)
    assert clips["overlap_s"][0] == 0.0


def test_a_long_dialogue_is_cut_in_its_pauses(tmp_path: Path) -> None:
    states = conversation(300.0)
    clips = cut(tmp_path, states, min_s=30.0, max_s=120.0)
    length_s = clips["n_ticks"] / FPS
    assert ((length_s >= 30.0) & (length_s <= 120.0)).all()
    assert length_s.sum() == pytest.approx(300.0, abs=1.0)
    inner = [t for t in (*clips["start_tick"].tolist(), *clips["end_tick"].tolist()) if t not in (0, 7500)]
    assert inner
    assert (states["state"][inner] == 0).all()
    assert (clips["start_tick"][1:] >= clips["end_tick"][:-1]).all()


def test_alternating_close_ups_stay_one_clip(tmp_path: Path) -> None:
    states = conversation(40.0)
    first = (np.arange(1000) // 125) % 2 == 0
    states["face_seen_0"], states["face_seen_1"] = first, ~first
    assert cut(tmp_path, states)["n_ticks"].tolist() == [1000]


def test_a_long_absence_a_cutaway_and_a_third_face_end_a_clip(tmp_path: Path) -> None:
    states = conversation(120.0)
    states["face_seen_1"][250:900] = False  # 26 s
    states["face_seen_0"][1500:1550] = states["face_seen_1"][1500:1550] = False  # 2 s
    states["third_face"][2200:2300] = True  # 4 s
    clips = cut(tmp_path, states)
    spans = list(zip(clips["start_tick"].tolist(), clips["end_tick"].tolist(), strict=True))
    assert spans == [(0, 250), (900, 1500), (1550, 2200), (2300, 3000)]


def test_a_clip_in_which_one_is_hardly_seen_is_left_out(tmp_path: Path) -> None:
    states = conversation(16.0)
    states["face_seen_1"][:] = False
    states["face_seen_1"][:10] = True
    with pytest.raises(Reject) as caught:
        cut(tmp_path, states)
    assert caught.value.reason == "no_clip"
    assert caught.value.values["seen_s"] == [16.0, 0.4]


def test_too_short_is_no_clip_with_the_longest_span(tmp_path: Path) -> None:
    with pytest.raises(Reject) as caught:
        cut(tmp_path, conversation(12.0), min_s=30.0)
    assert caught.value.reason == "no_clip"
    assert (caught.value.values["longest_s"], caught.value.values["min_s"]) == (12.0, 30.0)


def test_when_only_the_third_face_stands_in_the_way_it_is_the_reason(tmp_path: Path) -> None:
    states = conversation(12.0)
    states["third_face"][:] = True
    with pytest.raises(Reject) as caught:
        cut(tmp_path, states)
    assert (caught.value.reason, caught.value.values["seconds"]) == ("third_face", 12.0)


def test_limits_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="max_s 10"):
        segment.Config(min_s=30.0, max_s=10.0)
