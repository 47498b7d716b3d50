"""What is written down of an answer."""

from itertools import pairwise

import numpy as np
import pytest

from dialogbuild.dialogue import av
from dialogbuild.dialogue.account import own_account, spoken_spans
from dialogbuild.dialogue.decide import Answer, People
from dialogbuild.dialogue.lipmodel import LIP_PRIOR
from dialogbuild.dialogue.turns import Turn

FPS = 25.0


def answer(p_speak: np.ndarray, p_other: np.ndarray, turns: list[Turn]) -> Answer:
    p0, p1 = p_speak.T
    posterior = np.stack([(1 - p0) * (1 - p1), p0 * (1 - p1), (1 - p0) * p1, p0 * p1], axis=1)
    states = posterior.argmax(axis=1).astype(np.int8)
    decoded = av.Decoded(posterior, states, p_other, p_speak, LIP_PRIOR, 0.0)
    verdict = av.Verdict("identity", {}, {}, 0.0, 0.0, decoded)
    return Answer(verdict, decoded, False, turns, np.zeros(2))


def test_exclusive_spans_never_overlap_and_the_likelier_person_has_the_word() -> None:
    p = np.full((200, 2), 0.01)
    p[0:100, 0], p[80:150, 1] = 0.9, 0.95
    other = np.zeros(200)
    other[140:180] = 0.9  # the first ten ticks lie within a turn that bridges a pause
    spans = spoken_spans(answer(p, other, [Turn(0, 100, 0), Turn(80, 150, 1)]), FPS)
    assert spans["turns.rttm"] == [("person_0", 0.0, 4.0), ("person_1", 3.2, 6.0), ("offscreen", 6.0, 7.2)]
    assert spans["exclusive.rttm"] == [("person_0", 0.0, 3.2), ("person_1", 3.2, 6.0), ("offscreen", 6.0, 7.2)]
    assert all(a[2] <= b[1] for a, b in pairwise(sorted(spans["exclusive.rttm"], key=lambda s: s[1])))


def test_a_flicker_off_screen_is_not_a_speaker() -> None:
    other = np.zeros(100)
    other[50:53] = 0.9
    assert spoken_spans(answer(np.zeros((100, 2)), other, []), FPS)["turns.rttm"] == []


def test_the_account_tells_own_lips_from_the_other_s_and_counts_what_is_not_seen() -> None:
    rng = np.random.default_rng(0)
    p = np.zeros((400, 2))
    p[:200, 0], p[200:, 1] = 1.0, 1.0
    motion = np.where(p > 0, -4.4, -6.3) + rng.normal(0, 0.3, p.shape)
    seen = np.ones((400, 2), bool)
    seen[:100, 0] = False
    told = own_account(
        answer(p, np.zeros(400), []), People({}, np.where(seen, motion, np.nan), seen, np.zeros(400, bool))
    )
    assert told["lip_nats_own"] > 1.0
    assert told["unseen_share"] == pytest.approx(0.25)
    assert (told["entropy_bits"], told["offscreen_share"]) == (pytest.approx(0.0, abs=1e-3), 0.0)
