"""Turn F1 and diarization error."""

import numpy as np
import pytest

from dialogbuild.dialogue.metrics import (
    calibration_error,
    diarization_error,
    gaussian_information,
    jaccard_error,
    mean_entropy,
    state_score,
    turn_f1,
)

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


def test_a_state_is_right_or_wrong_tick_by_tick_and_overlap_has_its_own_score() -> None:
    ref = np.array([0, 0, 1, 1, 1, 3, 3, 2, 2, 0])
    hyp = np.array([0, 1, 1, 1, 1, 3, 2, 2, 1, 0])
    p = np.stack([(hyp & 1) > 0, (hyp & 2) > 0], axis=1) * 1.0
    score = state_score(ref, hyp, p, 25.0)
    assert score.accuracy == 0.7
    assert (score.overlap.precision, score.overlap.recall) == (1.0, 0.5)
    assert score.which_face == pytest.approx(4 / 5)  # five ticks with one speaker, true and found; the last is wrong


def test_changes_that_come_two_ticks_late_are_two_ticks_from_the_true_ones() -> None:
    ref = np.repeat([0, 1, 0, 2], 10)
    late = np.roll(ref, 2)
    late[:2] = 0
    assert state_score(ref, late, np.zeros((40, 2)), 25.0).boundary_s == pytest.approx(0.08)
    assert state_score(ref, np.zeros(40, int), np.zeros((40, 2)), 25.0).boundary_s == pytest.approx(40 / 25)


def test_probabilities_that_hold_what_they_say_have_no_calibration_error() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0, 1, 50_000)
    truth = rng.uniform(0, 1, 50_000) < p
    assert calibration_error(p, truth) < 0.01
    assert calibration_error(np.full(1000, 0.9), np.arange(1000) < 500) == pytest.approx(0.4)
    assert calibration_error(np.ones(10), np.ones(10, bool)) == 0.0


def test_entropy_is_one_bit_for_a_coin_and_none_for_certainty() -> None:
    assert mean_entropy(np.full(5, 0.5)) == pytest.approx(1.0)
    assert mean_entropy(np.array([0.0, 1.0])) == pytest.approx(0.0, abs=1e-6)


def test_information_grows_with_correlation_and_ignores_what_is_not_seen() -> None:
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(2, 4000))
    assert gaussian_information(x, noise) < 0.005
    strong, weak = gaussian_information(x, x + 0.5 * noise), gaussian_information(x, x + 2.0 * noise)
    assert strong > weak > 0.05
    holes = np.where(np.arange(4000) % 3 == 0, np.nan, x)
    assert gaussian_information(holes, x + 0.5 * noise) == pytest.approx(strong, rel=0.1)
    assert gaussian_information(np.ones(9), x[:9]) == 0.0


def test_jaccard_error_counts_what_a_speaker_loses_and_gains() -> None:
    assert jaccard_error(REF, REF, (0.0, 6.0)) == pytest.approx(0.0)
    shorter = [(0, 0.0, 1.0), (1, 2.0, 4.0), (0, 4.0, 6.0)]  # person 0 keeps 3 of 4 s
    assert jaccard_error(REF, shorter, (0.0, 6.0)) == pytest.approx(0.25 / 2)
