"""Somebody's labels become voices on the tick grid."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogbuild.dialogue.backends.heard import Span, from_spans, voice_facts

FPS, SURE = 25.0, float(np.log(0.95 / 0.05))


def test_two_labels_become_voices_in_the_order_they_are_heard() -> None:
    heard = from_spans([("zoe", 0.0, 2.0), ("abe", 1.5, 4.0)], 125, FPS, 0.05)
    assert (heard.facts["labels"], heard.facts["n_voices"]) == (["zoe", "abe"], 2)
    assert heard.units == [(0, 0.0, 2.0), (1, 1.5, 4.0)]
    assert heard.voice[[10, 40, 80, 110]].tolist() == [[1, 0], [1, 1], [0, 1], [0, 0]]


def test_both_at_once_says_nothing_about_whose_voice_it_is() -> None:
    heard = from_spans([("a", 0.0, 2.0), ("b", 1.0, 3.0)], 100, FPS, 0.05)
    assert heard.llr[[10, 30, 60, 90]] == pytest.approx([SURE, 0.0, -SURE, 0.0], abs=1e-5)
    assert heard.p_speech[[10, 30, 60, 90]] == pytest.approx([0.95, 0.95, 0.95, 0.05])


def test_a_tick_that_is_half_spoken_counts_half() -> None:
    heard = from_spans([("a", 0.02, 0.1)], 4, FPS, 0.05)
    assert heard.voice[:, 0] == pytest.approx([0.5, 1.0, 0.5, 0.0], abs=1e-6)
    assert heard.p_speech == pytest.approx([0.5, 0.95, 0.5, 0.05], abs=1e-6)


def test_the_two_that_speak_most_are_kept_and_the_rest_stays_speech_of_an_unknown_voice() -> None:
    spans = [("host", 0.0, 0.8), ("a", 1.0, 3.0), ("b", 3.0, 5.0), ("noise", 6.0, 6.4)]
    heard = from_spans(spans, 175, FPS, 0.05)
    assert heard.facts["labels"] == ["a", "b"]
    assert heard.facts["other_labels_s"] == {"host": 0.8, "noise": 0.4}
    assert heard.voice[5].tolist() == [0.0, 0.0]
    assert heard.llr[5] == 0.0
    assert heard.p_speech[5] == pytest.approx(0.95)


def test_one_label_and_none_are_told_as_such() -> None:
    one, none = from_spans([("a", 0.0, 1.0)], 50, FPS, 0.05), from_spans([("a", 1.0, 1.0)], 50, FPS, 0.05)
    assert (one.facts["n_voices"], none.facts["n_voices"]) == (1, 0)
    assert (one.voice[:, 1] == 0).all()
    assert none.units == []
    assert none.p_speech == pytest.approx(np.full(50, 0.05))
    assert not none.llr.any()


def test_time_outside_the_video_is_cut_off_and_told() -> None:
    heard = from_spans([("a", -1.0, 1.0), ("b", 1.5, 7.0), ("late", 3.0, 9.0)], 50, FPS, 0.05)
    assert heard.units == [(0, 0.0, 1.0), (1, 1.5, 2.0)]
    assert heard.facts["outside_s"] == pytest.approx(1.0 + 7.0)
    assert heard.facts["labels"] == ["a", "b"]
    assert heard.facts["speech_s"] == pytest.approx(1.5)


def test_one_label_that_overlaps_itself_is_one_speaker() -> None:
    heard = from_spans([("a", 0.0, 1.0), ("a", 0.5, 1.5), ("a", 1.5, 1.6)], 50, FPS, 0.05)
    assert heard.units == [(0, 0.0, 1.6)]
    assert heard.facts["speech_s"] == pytest.approx(1.6)


SPANS = st.lists(st.tuples(st.sampled_from("abc"), st.floats(-1, 5), st.floats(-1, 5)), max_size=8)


@given(SPANS)
def test_whatever_the_labels_the_tables_keep_their_ranges(spans: list[Span]) -> None:
    heard = from_spans(spans, 100, FPS, 0.1)
    assert heard.p_speech.shape == heard.llr.shape == (100,)
    assert 0.1 - 1e-6 <= heard.p_speech.min() <= heard.p_speech.max() <= 0.9 + 1e-6
    assert 0.0 <= heard.voice.min() <= heard.voice.max() <= 1.0
    total_s = sum(end - start for _, start, end in heard.units)
    assert heard.voice.sum() / FPS == pytest.approx(total_s, abs=1e-3)


def test_centroids_come_from_windows_that_one_voice_has_alone() -> None:
    rng = np.random.default_rng(0)
    centre_s = np.arange(40) * 0.1
    voice = np.zeros((100, 2))
    voice[:60, 0], voice[40:, 1] = 1.0, 1.0  # ticks 40..59: both
    axes = np.eye(8)[:2]
    mixed = np.where((centre_s < 1.6)[:, None], axes[0], np.where((centre_s > 2.35)[:, None], axes[1], -axes.sum(0)))
    vectors = mixed + rng.normal(0, 0.01, (40, 8))
    facts = voice_facts(vectors, centre_s, voice, FPS)
    assert facts["cosine"] == pytest.approx(0.0, abs=0.05)
    assert np.argmax(facts["centroids"], axis=1).tolist() == [0, 1]
    assert facts["separation"] > 10
    assert voice_facts(vectors, centre_s, voice * [1, 0], FPS) == {}
    assert voice_facts(vectors[:0], centre_s[:0], voice, FPS) == {}
