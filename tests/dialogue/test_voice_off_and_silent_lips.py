"""What the chain makes of voices off, laughing listeners, networks and backends that hear overlap."""

from dataclasses import replace

import numpy as np
import pytest
from scenes import FPS, blind, mouth, scene

from dialogbuild.dialogue import av, enrol, hmm, lips
from dialogbuild.dialogue.lipmodel import ASD_PRIOR, LIP_PRIOR, lip_llr, speech_llr


def test_sound_without_moving_lips_is_somebody_off_screen() -> None:
    seen, state = scene(length_s=40.0)
    rng = np.random.default_rng(5)
    still = np.stack([lips.lip_motion(mouth(np.zeros(150, bool), rng), FPS) for _ in range(2)], axis=1)
    motion, p_speech = seen.lip_motion.copy(), seen.p_speech.copy()
    motion[300:450], p_speech[300:450] = still, 0.97
    decoded = av.pair_voices(replace(seen, lip_motion=motion, p_speech=p_speech)).decoded
    assert decoded.p_other[310:440].mean() > 0.9
    assert (decoded.states[310:440] == 0).mean() > 0.9
    assert decoded.p_other[state > 0][:200].mean() < 0.05
    assert decoded.posterior.sum(axis=1) == pytest.approx(1.0)


def test_a_stranger_s_voice_is_new_and_the_two_voices_are_not() -> None:
    rng = np.random.default_rng(0)
    owner = np.repeat([0, 1, 2], 40)
    centres = np.eye(16)[:3] * 0.8 + 0.4
    vectors = centres[owner] + rng.normal(0, 0.15, (120, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    alone = np.stack([owner == 0, owner == 1], axis=1).astype(float)
    novelty = enrol.voice_novelty(vectors, alone)
    assert novelty[owner == 2].mean() > 1.0
    assert novelty[owner < 2].mean() < -1.0


def test_lips_lead_the_sound_and_rest_within_words() -> None:
    motion = np.full((60, 2), -6.3)
    motion[20:40, 0] = -4.4
    motion[28:32, 0] = -6.3  # a rest of 0.16 s
    plain, heard = lip_llr(motion, LIP_PRIOR)[:, 0], speech_llr(motion, LIP_PRIOR, FPS)[:, 0]
    assert np.flatnonzero(plain > 0).tolist() == [*range(20, 28), *range(32, 40)]
    assert np.flatnonzero(heard > 0).tolist() == list(range(21, 39))
    hidden = np.where(np.arange(60)[:, None] < 30, motion, np.nan)
    assert (speech_llr(hidden, LIP_PRIOR, FPS)[30:] == 0).all()


def test_a_clear_voice_speaks_against_both_talking() -> None:
    seen, _ = scene()
    loud = replace(seen, voice_llr=np.full(len(seen.p_speech), 5.0))
    unclear = replace(seen, voice_llr=np.zeros(len(seen.p_speech)))
    weights = av.Weights()
    both = hmm.WHO == hmm.BOTH
    clear, dim = (av.emissions(s, LIP_PRIOR, weights, "identity")[:, both].mean() for s in (loud, unclear))
    assert clear < dim


def test_an_active_speaker_network_helps_where_lips_say_nothing_and_a_useless_one_does_no_harm() -> None:
    seen, state = scene(length_s=40.0)
    rng = np.random.default_rng(1)
    mute = replace(blind(blind(seen, 0), 1), voice_llr=np.zeros(len(state)))  # turned away: no lips to be read
    truth = np.stack([state == 1, state == 2], axis=1)
    scores = np.where(truth, 2.5, -2.5) + rng.normal(0, 1.5, truth.shape)
    solo = (state == 1) | (state == 2)

    def right(observed: av.Observed) -> float:
        p = av.pair_voices(observed).decoded.p_speak
        return float((p.argmax(axis=1)[solo] == state[solo] - 1).mean())

    assert right(replace(mute, asd=scores)) > 0.95 > right(mute)
    assert right(replace(seen, asd=rng.normal(0, 1.5, truth.shape))) > 0.95
    learnt = av.learn_asd(replace(seen, asd=scores), LIP_PRIOR)
    assert learnt is not None
    assert learnt.speaking[0] > ASD_PRIOR.speaking[0]


def test_a_backend_that_hears_both_talk_at_once_is_believed_unless_the_lips_deny_it() -> None:
    seen, state = scene()
    hidden = blind(blind(seen, 0), 1)
    both = np.full(len(state), -2.9)
    both[200:240] = 2.9
    told = av.decode(replace(hidden, both=both), "identity", LIP_PRIOR)
    assert told.p_overlap[205:235].mean() > 0.8 > 0.2 > told.p_overlap[:190].mean()
    assert av.decode(hidden, "identity", LIP_PRIOR).p_overlap[205:235].mean() < 0.2


def test_a_listener_who_laughs_through_the_other_s_speech_is_not_taken_for_a_speaker() -> None:
    seen, state = scene(turn_s=8.0, length_s=48.0)
    rng = np.random.default_rng(7)
    motion = seen.lip_motion.copy()
    motion[10:190, 1] = lips.lip_motion(mouth(np.ones(180, bool), rng), FPS)  # person 0 has the word and the voice
    verdict = av.pair_voices(replace(seen, lip_motion=motion))
    assert verdict.pairing == "identity"
    assert (verdict.decoded.states[20:180] == 1).mean() > 0.9
    assert verdict.decoded.p_move[20:180, 1].mean() > 0.9
    assert (verdict.decoded.states == state).mean() > 0.9


def test_a_monologue_with_a_silent_partner_is_not_a_voice_off() -> None:
    rng = np.random.default_rng(3)
    n = 500
    talking = (np.arange(n) % 70) > 12
    motion = np.stack([lips.lip_motion(mouth(m, rng), FPS) for m in (talking, np.zeros(n, bool))], axis=1)
    decoded = av.pair_voices(av.Observed(np.where(talking, 0.97, 0.03), motion, np.zeros(n), FPS)).decoded
    assert (decoded.states[talking] == 1).mean() > 0.9
    assert decoded.p_other.mean() < 0.05
