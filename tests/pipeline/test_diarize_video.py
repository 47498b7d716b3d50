"""`dialogbuild diarize VIDEO`: files beside each other for every recording, whatever can be said of it."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from dialogbuild.cli import app
from dialogbuild.dialogue.metrics import diarization_error
from dialogbuild.dialogue.pcm import Pcm
from dialogbuild.diarizevideo import masked
from dialogbuild.synth import DialogueSpec, Truth, make_dialogue
from dialogbuild.tables import read_table


def turns_of(path: Path) -> list[tuple[str, float, float]]:
    rows = [line.split() for line in path.read_text().splitlines()]
    return [(row[7], float(row[3]), float(row[3]) + float(row[4])) for row in rows]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth, str]:
    """One dialogue, its sound alone, and a text, all diarized by one command; what the command said."""
    root = tmp_path_factory.mktemp("diarize")
    truth = make_dialogue(DialogueSpec(seed=3, duration_s=10.0, width_px=480, height_px=270), root / "talk.mp4")
    soundfile.write(root / "memo.wav", truth.tracks.sum(axis=0), 16_000)
    (root / "notes.mp4").write_text("these are not moving pictures, however one looks at them\n")
    files = [str(root / name) for name in ("talk.mp4", "memo.wav", "notes.mp4")]
    result = CliRunner().invoke(app, ["diarize", *files, "--out", str(root / "out"), "--workers", "1", "--quiet"])
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 1  # one of the three is unsuitable
    return root / "out", truth, result.output


def test_both_people_s_turns_are_written_as_they_were_spoken(folder: tuple[Path, Truth, str]) -> None:
    out, truth, said = folder
    sides = {p.person: 0 if p.side == "left" else 1 for p in truth.persons[:2]}
    ref = [(f"person_{sides[t.person]}", t.start_s, t.end_s) for t in truth.turns]
    span = (0.0, truth.n_ticks / 25)
    assert diarization_error(ref, turns_of(out / "talk.rttm"), span, 0.5, map_labels=False).rate < 0.15
    assert (out / "talk.uem").read_text().split()[2:] == ["0.000", f"{truth.n_ticks / 25:.3f}"]
    assert "talk: persons" in said
    record = json.loads((out / "talk.assign.json").read_text())
    assert record["without_reference"]["lip_nats_own"] > record["without_reference"]["lip_nats_other"]
    assert len(read_table(out / "talk.states.parquet")["tick"]) == truth.n_ticks


def test_the_exclusive_version_never_has_two_at_once(folder: tuple[Path, Truth, str]) -> None:
    out, _, _ = folder
    spans = sorted((a, b) for _, a, b in turns_of(out / "talk.exclusive.rttm"))
    assert all(b <= c + 1e-6 for (_, b), (c, _) in pairwise(spans))
    overlapping = sorted((a, b) for _, a, b in turns_of(out / "talk.rttm"))
    assert any(b > c for (_, b), (c, _) in pairwise(overlapping))


def test_each_person_s_sound_has_640_samples_per_tick_and_is_silent_in_the_other_s_turns(
    folder: tuple[Path, Truth, str],
) -> None:
    out, truth, _ = folder
    states = read_table(out / "talk.states.parquet")["state"]
    sounds = [soundfile.read(out / f"talk_person_{k}.wav", dtype="float32")[0] for k in (0, 1)]
    assert [len(sound) for sound in sounds] == [truth.n_ticks * 640] * 2
    for k, sound in enumerate(sounds):
        level = np.sqrt((sound.reshape(-1, 640) ** 2).mean(axis=1))
        own, other = states == k + 1, states == 2 - k
        assert np.median(level[other]) < 0.05 * np.median(level[own])


def test_sound_without_a_picture_gives_voices(folder: tuple[Path, Truth, str]) -> None:
    out, _, said = folder
    assert "memo: voices (no picture)" in said
    assert {label for label, _, _ in turns_of(out / "memo.rttm")} == {"voice_0", "voice_1"}


def test_a_file_that_is_no_recording_is_named_with_its_reason(folder: tuple[Path, Truth, str]) -> None:
    _, _, said = folder
    assert "notes: failed" in said


def test_files_of_the_same_name_are_refused_before_anything_runs(tmp_path: Path) -> None:
    for part in ("a", "b"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "talk.mp4").write_bytes(b"x")
    files = [str(tmp_path / part / "talk.mp4") for part in ("a", "b")]
    result = CliRunner().invoke(app, ["diarize", *files, "--out", str(tmp_path / "out")])
    assert "two files are called talk" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_a_minute_s_border_leaves_no_trace_in_the_masked_sound() -> None:
    rng = np.random.default_rng(0)
    gains = rng.uniform(0, 1, 1520).astype(np.float32)
    pcm = Pcm.from_array(np.ones(1520 * 640, np.float32))
    blocks = list(masked(pcm, gains))
    assert [len(block) for block in blocks] == [1500 * 640, 20 * 640]
    whole = np.concatenate(blocks)
    assert abs(np.diff(whole)).max() < 0.02  # a ramp of 320 samples never climbs faster than this


def test_talk_over_an_empty_room_gives_voices_by_the_settings_that_were_asked_for(tmp_path: Path) -> None:
    """Nobody is in view, so the picture ends early; and results of other settings lie in the same folder."""
    spec = DialogueSpec(seed=4, duration_s=6.0, width_px=320, height_px=180, faces=0)
    make_dialogue(spec, tmp_path / "room.mp4")
    (tmp_path / "room.rttm").write_text("SPEAKER room 1 1.000 2.000 <NA> <NA> ann <NA> <NA>\n")
    out = tmp_path / "out"

    def diarized(*options: str) -> list[tuple[str, float, float]]:
        command = ["diarize", str(tmp_path / "room.mp4"), "--out", str(out), "--workers", "1", "--quiet", *options]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        assert "room: voices (no_face)" in result.output
        return turns_of(out / "room.rttm")

    brought = diarized("--rttm-dir", str(tmp_path))
    assert brought == [("voice_0", 1.0, 3.0)]
    assert diarized() != brought
    assert diarized("--rttm-dir", str(tmp_path)) == brought
