"""Lip motion, and the chain that joins sound and sight."""

from dataclasses import replace

import numpy as np
import pytest
from scenes import FPS, blind, mouth, scene

from dialogbuild.dialogue import av, enrol, hmm, lips
from dialogbuild.dialogue.lipmodel import LIP_PRIOR, fit_lips, lip_llr


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
