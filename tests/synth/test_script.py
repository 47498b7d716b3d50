"""Turns, overlaps, backchannels and their sound."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from dialogbuild.errors import ConfigError
from dialogbuild.synth import DialogueSpec
from dialogbuild.synth.script import make_script
from dialogbuild.synth.spec import SAMPLES_PER_TICK


@pytest.mark.parametrize("seed", range(6))
def test_six_seconds_hold_both_speakers_an_overlap_and_a_backchannel(seed: int) -> None:
    script = make_script(DialogueSpec(seed=seed, duration_s=6.4))
    turns = [t for t in script.turns if t.kind == "turn"]
    assert {t.person for t in turns} == {0, 1}
    assert any(t.gap_s < -0.3 for t in turns), "no turn starts before the other has ended"
    assert any(t.kind == "backchannel" for t in script.turns)
    assert set(np.unique(script.states)) == {0, 1, 2, 3}
    assert script.turns[-1].end_s < 6.4


def test_a_backchannel_lies_inside_the_others_turn() -> None:
    script = make_script(DialogueSpec(seed=4, duration_s=60.0))
    tokens = [t for t in script.turns if t.kind == "backchannel"]
    assert len(tokens) >= 4
    for token in tokens:
        assert any(
            t.kind == "turn" and t.person != token.person and t.start_s < token.start_s and token.end_s < t.end_s
            for t in script.turns
        ), token


def test_states_are_what_the_tracks_sound_like() -> None:
    spec = DialogueSpec(seed=2, duration_s=20.0)
    script = make_script(spec)
    level = np.sqrt((script.tracks.reshape(2, spec.n_ticks, SAMPLES_PER_TICK) ** 2).mean(2)).T
    assert level[~script.speaking].max() < 0.03, "sound where the truth says silence"
    assert np.mean(level[script.speaking] > 0.005) > 0.9, "silence where the truth says speech"
    assert np.array_equal(script.states, script.speaking @ [1, 2])


def test_sound_has_640_samples_a_tick_and_the_mix_is_the_tracks_plus_noise() -> None:
    spec = DialogueSpec(seed=1, duration_s=8.0, noise_db=-50.0)
    script = make_script(spec)
    assert script.mix.shape == (200 * 640,)
    rest = script.mix - script.tracks.sum(0)
    assert 20 * np.log10(rest.std()) == pytest.approx(-50.0, abs=0.1)


@pytest.mark.parametrize(("audio", "speakers", "is_silent"), [
    ("one_voice", {0}, False), ("silence", set(), True), ("music", set(), False), ("none", {0, 1}, True),
])  # fmt: skip
def test_audio_kinds(audio: str, speakers: set[int], is_silent: bool) -> None:
    script = make_script(DialogueSpec(audio=audio))  # type: ignore[arg-type]
    assert {t.person for t in script.turns} == speakers
    assert (np.abs(script.mix).max() == 0) == is_silent


def test_in_stereo_each_person_has_a_channel_and_bleeds_into_the_other() -> None:
    script = make_script(DialogueSpec(seed=5, duration_s=10.0, stereo_bleed_db=-20.0, noise_db=-90.0))
    expected = script.tracks + 0.1 * script.tracks[::-1]
    assert script.sound.shape == (10 * 25 * SAMPLES_PER_TICK, 2)
    assert np.abs(script.sound.T - expected).max() < 2e-4
    assert np.array_equal(script.mix, script.sound.mean(axis=1))
    mono = make_script(DialogueSpec(seed=5, duration_s=10.0))
    assert mono.sound is mono.mix
    assert np.array_equal(mono.tracks, script.tracks), "the same words either way"


def test_a_minute_and_a_half_does_not_run_out_of_sentences() -> None:
    script = make_script(DialogueSpec(duration_s=90.0))
    gaps_s = np.diff(np.flatnonzero(script.states > 0)) / 25
    assert gaps_s.max() < 1.5
    assert script.turns[-1].end_s > 85


def test_own_lines_are_spoken_in_order() -> None:
    lines = ((1, "Thank you. I hope it has a window this time."), (0, "Then maybe we should meet before the summer."))
    script = make_script(DialogueSpec(duration_s=8.0, lines=lines))
    assert [(t.person, t.text) for t in script.turns if t.kind == "turn"] == list(lines)


def test_same_seed_same_dialogue_and_another_seed_another() -> None:
    a, b, c = (make_script(DialogueSpec(seed=s)) for s in (5, 5, 6))
    assert a.turns == b.turns
    assert np.array_equal(a.mix, b.mix)
    assert a.turns != c.turns


def test_frames_and_ticks_of_regular_and_irregular_rates() -> None:
    ntsc = DialogueSpec(duration_s=4.0, fps=Fraction(30000, 1001))
    assert len(ntsc.frame_times_s()) == 120
    assert ntsc.n_ticks == 100
    assert (np.diff(ntsc.tick_frames()) >= 1).all()
    vfr = DialogueSpec(duration_s=4.0, fps="vfr")
    steps = np.diff(vfr.frame_times_s())
    assert len(np.unique(steps.round(6))) >= 4
    assert vfr.length_s == 4.0
    assert (np.diff(vfr.tick_frames()) == 0).any(), "an irregular clip repeats frames on the grid"


@pytest.mark.parametrize("bad", [
    {"faces": 4}, {"width_px": 641}, {"cuts": (9.0,)}, {"cuts": (2.0, 1.0)}, {"duration_s": 0.0},
    {"layout": "split_screen", "faces": 3}, {"stereo_bleed_db": 3.0}, {"stereo_bleed_db": -20.0, "audio": "music"},
])  # fmt: skip
def test_impossible_specs_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        DialogueSpec(**bad)  # type: ignore[arg-type]
