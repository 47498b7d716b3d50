"""Turns and intervals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogbuild.dialogue.turns import (
    Turn,
    TurnRule,
    dialogue_turns,
    drop_short,
    intervals,
    merge_close,
    pause_units,
    rttm,
    to_mask,
)

FPS = 25.0
MASKS = st.lists(st.booleans(), max_size=120).map(lambda bits: np.array(bits, dtype=bool))


def talk(*spans: tuple[int, float, float], length_s: float = 12.0) -> np.ndarray:
    active = np.zeros((int(length_s * FPS), 2), dtype=bool)
    for person, start_s, end_s in spans:
        active[round(start_s * FPS) : round(end_s * FPS), person] = True
    return active


def heard(*spans: tuple[int, float, float]) -> list[tuple[int, float, float, str, float]]:
    turns = dialogue_turns(talk(*spans), FPS, TurnRule())
    return [(t.person, t.start / FPS, t.end / FPS, t.kind, t.gap_ticks / FPS) for t in turns]


@given(MASKS)
def test_a_mask_survives_the_way_through_intervals(mask: np.ndarray) -> None:
    spans = intervals(mask)
    assert (to_mask(spans, len(mask)) == mask).all()
    assert all(a < b for a, b in spans)
    assert all(spans[i][1] < spans[i + 1][0] for i in range(len(spans) - 1))


@settings(deadline=None)
@given(MASKS)
def test_pause_units_are_long_enough_and_far_enough_apart(mask: np.ndarray) -> None:
    units = pause_units(mask, FPS, TurnRule(min_on_s=0.2, fill_s=0.24))
    assert all(b - a >= 5 for a, b in units)
    assert all(units[i + 1][0] - units[i][1] >= 6 for i in range(len(units) - 1))


def test_a_gap_as_long_as_the_limit_is_kept_and_a_shorter_one_closed() -> None:
    assert merge_close([(0, 10), (15, 20)], 5) == [(0, 10), (15, 20)]
    assert merge_close([(0, 10), (14, 20)], 5) == [(0, 20)]
    assert drop_short([(0, 4), (10, 15)], 5) == [(10, 15)]


def test_one_speaker_pausing_briefly_keeps_the_turn_and_pausing_long_takes_a_new_one() -> None:
    assert heard((0, 1, 2), (0, 2.4, 4)) == [(0, 1.0, 4.0, "turn", 0.0)]
    assert [t[:3] for t in heard((0, 1, 2), (0, 2.6, 4))] == [(0, 1.0, 2.0), (0, 2.6, 4.0)]


def test_a_pause_in_which_the_other_takes_the_floor_ends_the_turn() -> None:
    turns = heard((0, 0, 2), (1, 2.0, 5.0), (0, 2.4, 4.0))
    assert [(t[0], t[1], t[2]) for t in turns] == [(0, 0.0, 2.0), (1, 2.0, 5.0), (0, 2.4, 4.0)]


def test_a_short_word_of_the_other_in_the_pause_does_not_end_the_turn() -> None:
    turns = heard((0, 0, 2), (1, 2.08, 2.32), (0, 2.4, 5))
    assert turns[0][:4] == (0, 0.0, 5.0, "turn")
    assert turns[1][:4] == (1, 2.08, 2.32, "backchannel")


def test_gaps_are_positive_after_silence_and_negative_in_overlap() -> None:
    turns = heard((0, 0, 2), (1, 2.4, 5), (0, 4.6, 8))
    assert [t[4] for t in turns] == pytest.approx([0.0, 0.4, -0.4])


def test_speech_inside_the_others_turn_is_a_backchannel_only_below_a_second() -> None:
    assert [t[3] for t in heard((0, 0, 6), (1, 2, 2.8))] == ["turn", "backchannel"]
    assert [t[3] for t in heard((0, 0, 6), (1, 2, 3.2))] == ["turn", "turn"]
    assert [t[3] for t in heard((0, 0, 6), (1, 5.6, 6.4))] == ["turn", "turn"]


def test_a_backchannel_does_not_count_as_the_turn_before() -> None:
    turns = heard((0, 0, 4), (1, 1, 1.6), (1, 4.4, 7))
    assert turns[1][3] == "backchannel"
    assert turns[1][4] == pytest.approx(-3.0)
    assert turns[2][4] == pytest.approx(0.4)


def test_two_equal_short_spans_are_both_turns() -> None:
    assert [t[3] for t in heard((0, 1, 1.6), (1, 1, 1.6))] == ["turn", "turn"]


@settings(deadline=None)
@given(MASKS, MASKS)
def test_exchanging_the_people_exchanges_the_turns(a: np.ndarray, b: np.ndarray) -> None:
    n = min(len(a), len(b))
    active = np.stack([a[:n], b[:n]], axis=1)
    forth = dialogue_turns(active, FPS, TurnRule())
    back = dialogue_turns(active[:, ::-1], FPS, TurnRule())
    assert {(t.start, t.end, t.person, t.kind) for t in forth} == {(t.start, t.end, 1 - t.person, t.kind) for t in back}


def test_rttm_lines_are_sorted_and_in_milliseconds() -> None:
    text = rttm([("person_1", 1.0004, 2.5), ("person_0", 0.04, 1.0)], "talk")
    assert text.splitlines() == [
        "SPEAKER talk 1 0.040 0.960 <NA> <NA> person_0 <NA> <NA>",
        "SPEAKER talk 1 1.000 1.500 <NA> <NA> person_1 <NA> <NA>",
    ]


def test_turns_sort_by_time() -> None:
    assert sorted([Turn(5, 9, 0), Turn(1, 3, 1)])[0].person == 1
