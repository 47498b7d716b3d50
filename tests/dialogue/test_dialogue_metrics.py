"""Turn F1 and diarization error."""

import pytest

from dialogbuild.dialogue.metrics import diarization_error, turn_f1

REF = [(0, 0.0, 2.0), (1, 2.0, 4.0), (0, 4.0, 6.0)]


def test_the_same_turns_score_one_and_no_turns_at_all_too() -> None:
    assert turn_f1(REF, REF).f1 == 1.0
    assert turn_f1([], []).f1 == 1.0
    assert turn_f1(REF, []).f1 == 0.0
    assert turn_f1([], REF).precision == 0.0


def test_both_boundaries_must_lie_within_the_collar() -> None:
    assert turn_f1([(0, 0.0, 2.0)], [(0, 0.2, 1.8)]).f1 == 1.0
    assert turn_f1([(0, 0.0, 2.0)], [(0, 0.0, 2.24)]).f1 == 0.0
    assert turn_f1([(0, 0.0, 2.0)], [(0, 0.24, 2.0)], collar_s=0.25).f1 == 1.0


def test_the_person_must_be_the_same() -> None:
    assert turn_f1(REF, [(1 - p, a, b) for p, a, b in REF]).f1 == 0.0


def test_one_found_turn_matches_one_reference_turn_only() -> None:
    score = turn_f1([(0, 0.0, 1.0)], [(0, 0.0, 1.0), (0, 0.1, 1.1)])
    assert (score.n_matched, score.precision, score.recall) == (1, 0.5, 1.0)


def test_the_assignment_is_the_largest_one_possible() -> None:
    ref, hyp = [(0, 0.0, 1.0), (0, 0.3, 1.3)], [(0, 0.15, 1.15), (0, 0.0, 1.0)]
    assert turn_f1(ref, hyp).n_matched == 2


def test_diarization_error_counts_missed_false_and_confused_seconds() -> None:
    hyp = [("a", 0.0, 2.5), ("b", 2.5, 4.0), ("a", 5.0, 7.0)]
    error = diarization_error(REF, hyp, (0.0, 8.0))
    assert (error.missed_s, error.false_alarm_s, error.confusion_s) == pytest.approx((1.0, 1.0, 0.5))
    assert error.rate == pytest.approx(2.5 / 6.0)


def test_overlap_is_scored() -> None:
    both = [(0, 0.0, 4.0), (1, 2.0, 4.0)]
    assert diarization_error(both, [(0, 0.0, 4.0)], (0.0, 4.0)).missed_s == pytest.approx(2.0)


def test_identity_error_searches_no_permutation() -> None:
    swapped = [(1 - p, a, b) for p, a, b in REF]
    assert diarization_error(REF, swapped, (0.0, 6.0)).rate == 0.0
    assert diarization_error(REF, swapped, (0.0, 6.0), map_labels=False).rate == pytest.approx(1.0)
