"""Layouts, cuts, timing, containers and broken files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dialogbuild.errors import ConfigError
from dialogbuild.media.audio import iter_audio
from dialogbuild.media.clock import is_vfr
from dialogbuild.media.probe import probe
from dialogbuild.media.scan import scan_frames
from dialogbuild.synth import DialogueSpec, make_dialogue, make_faulty, make_speech

SMALL = {"width_px": 256, "height_px": 144}
# Nobody in the picture: what is asked here is timing, and an empty room is drawn in no time.
SPOKEN = {**SMALL, "faces": 0, "duration_s": 2.8, "lines": ((1, "You are impossible, do you know that?"),)}


def test_an_irregular_clip_has_the_specs_presentation_times(tmp_path: Path) -> None:
    truth = make_dialogue(DialogueSpec(fps="vfr", duration_s=1.5, faces=0, **SMALL), tmp_path / "vfr.mp4")
    table = scan_frames(tmp_path / "vfr.mp4", 0).table
    assert table is not None
    assert is_vfr(table)
    seconds = (table.pts - table.pts[0]) * float(table.time_base)
    np.testing.assert_allclose(seconds, truth.frame_times_s, atol=1e-4)
    assert float(table.duration_s) == pytest.approx(1.5, abs=1e-3)


@pytest.mark.parametrize(("suffix", "codec", "values"), [
    (".mkv", "h264", {"audio_offset_s": 0.3}),
    (".mp4", "h264", {"audio_offset_s": 0.3}),
    (".mp4", "h264", {"audio_offset_s": -0.2}),
    (".mkv", "hevc", {"video_codec": "libx265"}),
    (".mov", "mpeg4", {"video_codec": "mpeg4", "fps": Fraction(30000, 1001)}),
    (".ts", "h264", {}),
])  # fmt: skip
def test_sound_stays_in_sync_in_every_container(
    tmp_path: Path, suffix: str, codec: str, values: dict[str, object]
) -> None:
    spec = DialogueSpec(**{**SPOKEN, **values})  # type: ignore[arg-type]
    path = tmp_path / f"clip{suffix}"
    make_dialogue(spec, path)
    facts = probe(path)
    table = scan_frames(path, facts.video.index).table
    assert table is not None
    assert facts.video.codec == codec
    mix, truth = make_speech(spec)
    heard = np.concatenate(list(iter_audio(path, facts.audio[0].index, table.start_s, len(mix))))
    lags = range(-60, 61)
    match = [float(np.dot(np.roll(mix, lag), heard)) for lag in lags]
    assert abs(lags[int(np.argmax(match))]) <= 2
    assert np.corrcoef(mix, heard)[0, 1] > 0.98
    assert len(table) == truth.n_frames


def test_no_audio_means_no_stream(tmp_path: Path) -> None:
    make_dialogue(DialogueSpec(audio="none", duration_s=0.4, faces=0, **SMALL), tmp_path / "mute.mp4")
    with av.open(str(tmp_path / "mute.mp4")) as container:
        assert not container.streams.audio


def test_split_screen_has_a_camera_and_half_the_frame_per_person() -> None:
    truth = make_speech(DialogueSpec(layout="split_screen", duration_s=1.0))[1]
    left, right = (truth.persons[p].box_px for p in (0, 1))
    assert left[:, 2].max() < 320 < right[:, 0].min()
    assert truth.persons[0].camera_px[0, 1] == 160
    assert truth.persons[1].camera_px[0, 1] == 480
    with pytest.raises(ValueError, match="2 cameras"):
        _ = truth.camera


def test_close_ups_show_one_person_at_a_time_and_follow_the_turns() -> None:
    truth = make_speech(DialogueSpec(layout="close_ups", duration_s=12.0, seed=2))[1]
    visible = np.stack([p.visible for p in truth.persons])
    assert (visible.sum(0) == 1).all()
    assert len(truth.shot_frames) >= 2
    assert truth.shot_frames[0, 0] == 0
    assert truth.shot_frames[-1, 1] == truth.n_frames
    heard = truth.speaking[:, 0] ^ truth.speaking[:, 1]
    assert np.mean(visible[0][heard] == truth.speaking[heard, 0]) > 0.75, "the picture mostly shows who speaks"


def test_cuts_change_the_framing_and_can_swap_the_sides() -> None:
    truth = make_speech(DialogueSpec(duration_s=4.0, cuts=(2.0,), swap_each_cut=True))[1]
    assert truth.shot_frames.tolist() == [[0, 50], [50, 100]]
    middle = [p.box_px[:, [0, 2]].mean(1) for p in truth.persons]
    assert (middle[0][:50] < 320).all()
    assert (middle[0][50:] > 320).all()
    assert (middle[1][50:] < 320).all()
    assert np.linalg.norm(np.diff(truth.persons[0].landmarks_px[49:51, 1], axis=0)) > 50
    swapped = make_speech(DialogueSpec(duration_s=1.0, swap_sides=True))[1]
    assert [p.side for p in swapped.persons] == ["right", "left"]


@pytest.mark.parametrize("faces", [0, 1, 2, 3])
def test_as_many_faces_as_asked(faces: int) -> None:
    truth = make_speech(DialogueSpec(duration_s=0.4, faces=faces))[1]
    assert sum(bool(p.visible.all()) for p in truth.persons) == faces
    assert len(truth.persons) == max(2, faces)


def test_an_empty_room_and_a_bystander_are_drawn(tmp_path: Path) -> None:
    pictures = []
    for faces in (0, 2, 3):
        path = tmp_path / f"{faces}.mp4"
        make_dialogue(DialogueSpec(duration_s=0.08, faces=faces, **SMALL), path)
        with av.open(str(path)) as container:
            pictures.append(next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int))
    empty, two, three = pictures
    assert np.abs(two - empty).max() > 60
    middle = np.abs(three - two)[60:100, 118:138]
    assert middle.mean() > 10, "the bystander sits between the two"


def test_broken_files_are_broken(tmp_path: Path) -> None:
    assert make_faulty("zero_bytes", tmp_path / "zero.mp4").stat().st_size == 0
    for kind, name in (("text", "note.mp4"), ("zero_bytes", "empty.mp4")):
        path = make_faulty(kind, tmp_path / name)  # type: ignore[arg-type]
        with pytest.raises(av.error.FFmpegError):
            av.open(str(path))
    for name in ("tone.wav", "tone.m4a"):
        with av.open(str(make_faulty("audio_only", tmp_path / name))) as container:
            assert not container.streams.video
            assert container.streams.audio
    with pytest.raises(ConfigError, match="no file to cut"):
        make_faulty("truncated", tmp_path / "missing.mp4")


def test_a_truncated_dialogue_lost_its_end(tmp_path: Path) -> None:
    spec = {"duration_s": 1.0, "faces": 0, **SMALL}
    make_dialogue(DialogueSpec(**spec), tmp_path / "whole.mp4")  # type: ignore[arg-type]
    make_dialogue(DialogueSpec(**spec, fault="truncated"), tmp_path / "cut.mp4")  # type: ignore[arg-type]
    whole, cut = (tmp_path / name for name in ("whole.mp4", "cut.mp4"))
    assert cut.stat().st_size == int(whole.stat().st_size * 0.6)
    assert whole.read_bytes().startswith(cut.read_bytes())
