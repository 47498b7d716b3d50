"""Lip motion, and the chain that joins sound and sight."""

from dataclasses import replace

import numpy as np
import pytest

from dialogbuild.dialogue import av, enrol, hmm, lips
from dialogbuild.dialogue.lipmodel import ASD_PRIOR, LIP_PRIOR, fit_lips, lip_llr, speech_llr

FPS = 25.0


def mouth(speaking: np.ndarray, rng: np.random.Generator, noise: float = 0.002) -> np.ndarray:
    """Aperture that opens and closes at about 4 Hz where ``speaking``. (T,)."""
    t = np.arange(len(speaking)) / FPS
    phase = 2 * np.pi * 4.0 * t + 1.5 * np.cumsum(rng.normal(size=len(t))) / np.sqrt(FPS)
    swing = 0.04 * (1 + np.sin(phase)) * rng.uniform(0.7, 1.3, len(t))
    return np.where(speaking, swing, 0.004) + np.abs(rng.normal(0.0, noise, len(t)))


def scene(turn_s: float = 2.5, length_s: float = 20.0, seed: int = 0) -> tuple[av.Observed, np.ndarray]:
    """Two people in turn with short pauses; voice k is person k. And the true states (T,)."""
    rng = np.random.default_rng(seed)
    n = int(length_s * FPS)
    t = np.arange(n) / FPS
    state = np.where((t % turn_s) < 0.3, 0, 1 + (t // turn_s).astype(int) % 2)
    active = np.stack([state == 1, state == 2], axis=1)
    motion = np.stack([lips.lip_motion(mouth(active[:, k], rng), FPS) for k in (0, 1)], axis=1)
    p_speech = np.where(state > 0, 0.97, 0.04)
    voice = np.where(state == 1, 3.0, np.where(state == 2, -3.0, 0.0)) + rng.normal(0, 1.5, n)
    return av.Observed(p_speech, motion, voice, FPS), state


def blind(seen: av.Observed, person: int, where: np.ndarray | slice = slice(None)) -> av.Observed:
    motion = seen.lip_motion.copy()
    motion[where, person] = np.nan
    return replace(seen, lip_motion=motion)


def test_aperture_is_the_gap_over_the_face_whatever_the_scale() -> None:
    points = np.zeros((1, 478, 2))
    points[0, 152, 1] = 100.0  # chin; forehead at 0
    for upper, lower in zip((82, 13, 312), (87, 14, 317), strict=True):
        points[0, upper, 1], points[0, lower, 1] = 60.0, 65.0
    assert lips.lip_aperture(points)[0] == pytest.approx(0.05)
    assert lips.lip_aperture(points * 3.7 + 11.0)[0] == pytest.approx(0.05)


def test_speaking_lips_move_more_than_silent_ones_and_a_slow_yawn_hardly_counts() -> None:
    rng = np.random.default_rng(0)
    n = 200
    talking = lips.lip_motion(mouth(np.ones(n, bool), rng), FPS)
    silent = lips.lip_motion(mouth(np.zeros(n, bool), rng), FPS)
    yawn = lips.lip_motion(0.15 * np.sin(np.pi * np.arange(n) / n) + np.abs(rng.normal(0, 0.002, n)), FPS)
    assert np.median(talking) > np.median(silent) + 1.5
    assert np.median(yawn) < np.median(silent) + 0.7


def test_an_unseen_face_has_no_motion_and_a_glimpse_neither() -> None:
    aperture = np.full(60, np.nan)
    aperture[2:8] = 0.01
    aperture[20:50] = 0.01
    aperture[30:33] = np.nan
    motion = lips.lip_motion(aperture, FPS)
    assert np.isnan(motion[:20]).all()
    assert np.isnan(motion[30:33]).all()
    assert np.isfinite(motion[[20, 29, 33, 49]]).all()


def test_the_motion_of_a_burst_stays_where_it_is() -> None:
    rng = np.random.default_rng(1)
    speaking = np.zeros(100, bool)
    speaking[40:60] = True
    motion = lips.lip_motion(mouth(speaking, rng), FPS)
    assert motion[:37].max() < motion[42:58].mean() - 1.0
    assert motion[63:].max() < motion[42:58].mean() - 1.0


@pytest.mark.parametrize("seed", range(3))
def test_states_come_out_right_when_everything_is_seen(seed: int) -> None:
    seen, state = scene(seed=seed)
    verdict = av.pair_voices(seen)
    assert verdict.pairing == "identity"
    assert verdict.probability["identity"] > 0.95
    assert (verdict.decoded.states == state).mean() > 0.9
    solo = (state == 1) | (state == 2)
    assert (verdict.decoded.p_speak.argmax(axis=1)[solo] == state[solo] - 1).mean() > 0.97


def test_exchanging_the_voices_exchanges_the_pairing_and_nothing_else() -> None:
    seen, _ = scene()
    straight, crossed = av.pair_voices(seen), av.pair_voices(replace(seen, voice_llr=-seen.voice_llr))
    assert (straight.pairing, crossed.pairing) == ("identity", "swap")
    assert crossed.margin == pytest.approx(straight.margin)
    assert (straight.decoded.states == crossed.decoded.states).all()


def test_every_pairing_is_judged_with_the_same_lips() -> None:
    seen, _ = scene()
    lips_model = av.pair_voices(seen).decoded.lips
    assert lips_model == av.learn_lips(seen)
    verdict = av.pair_voices(seen)
    for pairing in av.PAIRINGS:
        evidence = av.decode(seen, pairing, lips_model).log_evidence
        assert verdict.log_evidence[pairing] == pytest.approx(evidence)


def test_exchanging_the_faces_exchanges_the_speakers() -> None:
    seen, _ = scene()
    one, two = av.pair_voices(seen), av.pair_voices(replace(seen, lip_motion=seen.lip_motion[:, ::-1]))
    assert {one.pairing, two.pairing} == {"identity", "swap"}
    assert one.decoded.p_speak == pytest.approx(two.decoded.p_speak[:, ::-1], abs=1e-6)


def test_a_face_that_is_not_seen_says_nothing() -> None:
    seen, _ = scene()
    hidden = blind(blind(seen, 0), 1)
    assert lip_llr(hidden.lip_motion, LIP_PRIOR).tolist() == np.zeros((len(seen.p_speech), 2)).tolist()
    verdict = av.pair_voices(hidden)
    assert verdict.margin == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_voice_carries_over_close_ups_that_show_one_face_at_a_time(seed: int) -> None:
    seen, state = scene(turn_s=2.5, length_s=40.0, seed=seed)
    t = np.arange(len(state)) / FPS
    shown = (t // 3.3).astype(int) % 2  # cuts independent of the turns
    close_ups = blind(blind(seen, 0, shown == 1), 1, shown == 0)
    verdict = av.pair_voices(close_ups)
    assert verdict.pairing == "identity"
    solo = (state == 1) | (state == 2)
    assert (verdict.decoded.p_speak.argmax(axis=1)[solo] == state[solo] - 1).mean() > 0.9


def test_voices_that_do_not_follow_the_lips_are_unlinked_and_the_lips_decide() -> None:
    seen, state = scene(length_s=40.0)
    rng = np.random.default_rng(4)
    random_voice = 3.0 * np.repeat(rng.choice([-1.0, 1.0], 1 + len(state) // 15), 15)[: len(state)]
    verdict = av.pair_voices(replace(seen, voice_llr=random_voice))
    assert verdict.pairing == "unlinked"
    solo = (state == 1) | (state == 2)
    assert (verdict.decoded.p_speak.argmax(axis=1)[solo] == state[solo] - 1).mean() > 0.97
    assert verdict.contrast > 0.7


def test_one_person_doing_all_the_talking_is_seen_as_that() -> None:
    rng = np.random.default_rng(2)
    n = 500
    talking = (np.arange(n) % 60) > 10
    motion = np.stack([lips.lip_motion(mouth(m, rng), FPS) for m in (np.zeros(n, bool), talking)], axis=1)
    verdict = av.pair_voices(av.Observed(np.where(talking, 0.97, 0.03), motion, np.zeros(n), FPS))
    assert verdict.pairing == "only_1"
    assert not (verdict.decoded.states & 1).any()


def test_overlap_is_found_where_both_lips_move() -> None:
    seen, _ = scene()
    rng = np.random.default_rng(3)
    both = np.ones(len(seen.p_speech), bool)
    motion = seen.lip_motion.copy()
    for k in (0, 1):
        motion[200:260, k] = lips.lip_motion(mouth(both, rng), FPS)[200:260]
    p_speech, voice = seen.p_speech.copy(), seen.voice_llr.copy()
    p_speech[200:260], voice[200:260] = 0.98, 0.0
    verdict = av.pair_voices(av.Observed(p_speech, motion, voice, FPS))
    assert verdict.decoded.p_overlap[205:255].mean() > 0.9
    assert (verdict.decoded.states == 3).mean() < 0.2


def test_lip_normals_are_learnt_from_the_video_and_kept_near_the_prior_without_data() -> None:
    seen, state = scene(length_s=60.0)
    quieter = replace(seen, lip_motion=seen.lip_motion - 0.8)
    lips_model = av.learn_lips(quieter)
    truth = np.nanmean(quieter.lip_motion[state == 1, 0])
    assert abs(lips_model.speaking[0] - truth) < abs(LIP_PRIOR.speaking[0] - truth) / 2
    empty = fit_lips(np.full((50, 2), np.nan), np.full((50, 2), 0.5), FPS)
    assert empty.speaking == pytest.approx(LIP_PRIOR.speaking)
    assert empty.silent_sd == pytest.approx(LIP_PRIOR.silent_sd)


def test_more_motion_never_speaks_against_speaking() -> None:
    model = replace(LIP_PRIOR, silent_sd=(1.5, 1.5), speaking_sd=(0.4, 0.4))
    x = np.linspace(-10, 0, 200)
    llr = lip_llr(np.stack([x, x], axis=1), model)[:, 0]
    assert (np.diff(llr) >= -1e-9).all()


def test_faces_enrol_voices_that_the_clusters_missed() -> None:
    seen, state = scene(length_s=40.0)
    t = np.arange(len(state)) / FPS
    shown = (t // 7.0).astype(int) % 2
    seen = replace(blind(seen, 0, shown == 1), voice_llr=np.zeros(len(state)))
    centre_s = np.arange(0.8, 39.2, 0.12)
    rng = np.random.default_rng(0)
    owner = state[(centre_s * FPS).astype(int)]
    vectors = rng.normal(0, 0.2, (len(centre_s), 16))
    vectors[:, 0] += np.where(owner == 1, 1.0, np.where(owner == 2, -1.0, 0.0))
    start = av.pair_voices(seen).decoded
    enrolled = enrol.enrol_voices(seen, start, vectors, centre_s, 0.8, av.Weights())
    assert enrolled.log_evidence > start.log_evidence
    solo = (state == 1) | (state == 2)

    def right(decoded: av.Decoded) -> float:
        return float((decoded.p_speak.argmax(axis=1)[solo] == state[solo] - 1).mean())

    assert right(enrolled) >= right(start)


def test_posteriors_are_probabilities_and_the_same_scene_gives_the_same_bytes() -> None:
    seen, _ = scene()
    one, two = av.pair_voices(seen), av.pair_voices(seen)
    assert one.decoded.posterior.sum(axis=1) == pytest.approx(1.0)
    assert sum(one.probability.values()) == pytest.approx(1.0)
    assert one.decoded.posterior.tobytes() == two.decoded.posterior.tobytes()


def test_six_seconds_are_enough() -> None:
    seen, state = scene(turn_s=2.0, length_s=6.0)
    verdict = av.pair_voices(seen)
    solo = (state == 1) | (state == 2)
    assert (verdict.decoded.p_speak.argmax(axis=1)[solo] == state[solo] - 1).mean() > 0.95


def test_shapes_that_disagree_are_refused() -> None:
    seen, _ = scene()
    with pytest.raises(ValueError, match="on different ticks"):
        av.decode(replace(seen, voice_llr=seen.voice_llr[:-1]), "identity", LIP_PRIOR)


def test_the_chain_agrees_with_the_sum_over_all_paths() -> None:
    rng = np.random.default_rng(0)
    ll, chain = rng.normal(size=(4, 10)), hmm.dialogue_transitions(FPS)
    start = hmm.stationary(chain)
    paths = np.stack(np.meshgrid(*[range(10)] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
    score = np.log(start[paths[:, 0]]) + ll[0, paths[:, 0]]
    for t in range(1, 4):
        score = score + np.log(chain[paths[:, t - 1], paths[:, t]]) + ll[t, paths[:, t]]
    smoothed = hmm.smooth(ll, chain)
    assert smoothed.log_evidence == pytest.approx(np.logaddexp.reduce(score))
    weight = np.exp(score - np.logaddexp.reduce(score))
    expected = np.array([[weight[paths[:, t] == k].sum() for k in range(10)] for t in range(4)])
    assert smoothed.posterior == pytest.approx(expected)
    assert smoothed.states.tolist() == paths[score.argmax()].tolist()


def test_transitions_are_rows_that_sum_to_one_and_leave_the_measured_occupancy() -> None:
    chain = hmm.dialogue_transitions(FPS)
    assert chain.sum(axis=1) == pytest.approx(1.0)
    seldom = hmm.stationary(chain) @ np.eye(5)[hmm.WHO]
    assert 0.01 < seldom[hmm.OTHER] < 0.1  # a narrator is the exception
    people = np.flatnonzero(hmm.WHO != hmm.OTHER)
    two = hmm.stationary(hmm.only_states(chain, people)) @ np.eye(5)[hmm.WHO[people]]
    assert two[:4] == pytest.approx([0.09, 0.41, 0.41, 0.08], abs=0.015)
    silent = hmm.SPEAKS[:, 0] == 0
    fidgeting = hmm.stationary(chain)[hmm.FIDGETS[:, 0] > 0].sum() / hmm.stationary(chain)[silent].sum()
    assert 0.005 < fidgeting < 0.1
    assert hmm.dialogue_transitions(50.0).sum(axis=1) == pytest.approx(1.0)
    assert hmm.dialogue_transitions(50.0)[1, 1] > chain[1, 1]


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
