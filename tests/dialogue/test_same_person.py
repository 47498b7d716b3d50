"""The posterior over partitions, what its evidence weighs, and what is done with doubt."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.special import betaln

from dialogbuild.dialogue import likeness, persons
from dialogbuild.dialogue.facedata import FaceRows, make_faces
from dialogbuild.dialogue.likeness import Traits
from dialogbuild.dialogue.linkage import NOBODY, Linkage, label_posterior
from dialogbuild.faces import liveness

SHAPES = np.random.default_rng(3).normal(size=(4, 32)) * 0.7
N = np.newaxis


def look(hair: int, skin: int, clothes: int) -> np.ndarray:
    """Each zone all in one bin of L*, a* and b*."""
    zones = np.zeros((3, 3, 8))
    for zone, tone in enumerate((hair, skin, clothes)):
        zones[zone, :, tone] = 1 / np.sqrt(3)
    return zones.reshape(72)


SHOTS = np.array([0, 1])
LOOKS = [look(0, 5, 1), look(3, 6, 4), look(6, 4, 2), look(1, 7, 7)]


def face(
    track: int, shot: int, who: int | None, x: float = 300.0, n: int = 50, size: float = 100.0, voice: float = 0.0
) -> persons.Face:
    """Shots are 100 ticks long; ``who`` None: nothing is known of the face."""
    ticks = shot * 100 + np.arange(n)
    noise = np.random.default_rng(track).normal(size=32) * 0.08
    traits = Traits() if who is None else Traits(SHAPES[who] + noise, np.full(32, 0.6), LOOKS[who])
    flat = np.ones(n)
    return persons.Face(track, shot, ticks, x * flat, 200 * flat, size * flat, 0.0, voice, traits)


def exact(known: Linkage) -> np.ndarray:
    """The posterior by writing down every labelling as the module's docstring has it. (K, 3)."""
    count = len(known.member)
    rows, score = [], []
    for choice in product((0, 1, 2, 3, NOBODY), repeat=count):  # 2 and 3: persons 0 and 1, likeness not counted
        label = [c if c == NOBODY else c % 2 for c in choice]
        if any(label[i] == label[j] != NOBODY and known.conflict[i, j] for i in range(count) for j in range(i)):
            continue
        total = sum(known.member[i] for i in range(count) if label[i] != NOBODY) - 4.5 * sum(c > 1 for c in choice)
        for person in (0, 1):
            own = [i for i in range(count) if choice[i] == person]
            if own:
                pairs = [(i, j) for i in own for j in own if j < i]
                for kind, has in zip(known.likeness, known.has, strict=True):
                    total += 2 / max(1, sum(has[own])) * sum(kind[i, j] for i, j in pairs)
        for row in known.signs:
            total += np.log(np.cosh(0.5 * sum(row[i] * {0: 1, 1: -1, NOBODY: 0}[label[i]] for i in range(count))))
        members = sum(person != NOBODY for person in label)
        total += betaln(1 + count - members, 14 + members)
        rows.append(label)
        score.append(total - 2.0 * (not {0, 1} <= set(label)))
    labels, weight = np.array(rows), np.exp(np.array(score) - max(score))
    best = labels[np.argmax(weight)]
    turned = np.where(labels == NOBODY, NOBODY, 1 - labels)
    same = (labels == best).sum(1) >= (turned == best).sum(1)
    labels = np.where(same[:, N], labels, turned)
    weight = weight / weight.sum()
    return best, np.stack([weight @ (labels == value) for value in (0, 1, NOBODY)], axis=1)


@pytest.mark.parametrize("seed", range(4))
def test_few_faces_have_the_exact_posterior(seed: int) -> None:
    rng = np.random.default_rng(seed)
    likeness_nats = rng.normal(0, 1.5, (2, 4, 4))
    likeness_nats = (likeness_nats + likeness_nats.transpose(0, 2, 1)) * (1 - np.eye(4))
    has = np.array([[True] * 4, [True, True, False, True]])
    likeness_nats[1, 2], likeness_nats[1, :, 2] = 0, 0
    conflict = np.zeros((4, 4), bool)
    conflict[0, 1] = conflict[1, 0] = True
    known = Linkage(likeness_nats, has, conflict, rng.normal(0, 1, (2, 4)), rng.normal(1, 1, 4))
    best, probability = label_posterior(known, np.arange(4))
    true_best, true_probability = exact(known)
    flip = np.where(true_best == NOBODY, NOBODY, 1 - true_best)
    assert (best == true_best).all() or (best == flip).all()
    at = np.where(best == NOBODY, 2, best)
    sure = true_probability[np.arange(4), np.where(true_best == NOBODY, 2, true_best)]
    # the beam holds 256 of up to 625 labellings, and a face's own doubt given the rest may be the larger
    assert probability[np.arange(4), at] == pytest.approx(sure, abs=0.12)
    assert probability.sum(axis=1) == pytest.approx(1.0)


def test_a_hundred_close_ups_are_dealt_out_right_and_surely() -> None:
    who = np.random.default_rng(0).integers(0, 2, 100)
    labels = persons.link_tracks([face(i, i, int(w)) for i, w in enumerate(who)])
    found = np.array([labels[i].person for i in range(100)])
    assert (found == who).all() or (found == 1 - who).all()
    assert min(label.confidence for label in labels.values()) > 0.99


def test_who_alone_is_cut_to_and_is_neither_is_not_given_to_either() -> None:
    shots = [face(i, i, i % 2) for i in range(6)] + [face(6, 6, 2), face(7, 7, 3)]
    labels = persons.link_tracks(shots)
    assert [labels[i].person for i in (6, 7)] == [NOBODY, NOBODY]
    assert labels[6].reason == "cutaway"
    assert all(labels[i].person != NOBODY and labels[i].confidence > 0.95 for i in range(6))


def test_a_stranger_beside_one_of_the_two_is_no_match_and_beside_both_a_third_face() -> None:
    pair = [face(0, 0, 0, x=100), face(1, 0, 1, x=500), face(2, 1, 0, x=100), face(3, 2, 1, x=500)]
    beside_one = persons.link_tracks([*pair, face(4, 1, 2, x=400, n=20, size=50)])
    assert (beside_one[4].person, beside_one[4].reason) == (NOBODY, "no_match")
    beside_both = persons.link_tracks([*pair, face(4, 0, 2, x=300, size=60)])
    assert (beside_both[4].person, beside_both[4].reason) == (NOBODY, "third_face")
    assert {beside_both[i].person for i in range(4)} == {0, 1}


def test_a_face_of_which_nothing_is_known_is_split_off_and_says_so() -> None:
    shots = [face(0, 0, 0, x=100), face(1, 0, 1, x=500), face(2, 1, None)]
    label = persons.link_tracks(shots)[2]
    assert (label.person, label.reason) == (NOBODY, "ambiguous")
    assert label.confidence < 0.9
    assert persons.link_tracks(shots, min_link=0.4)[2].person in (0, 1), "the threshold decides"


def test_a_doubtful_track_is_not_counted_as_a_third_face_but_a_stranger_is() -> None:
    pair = [face(k, k // 2, k % 2, x=(100, 500)[k % 2]) for k in range(4)]
    faces = [*pair, face(4, 3, None), face(5, 2, 2), replace(face(6, 4, 1), shown="photo")]
    labels = persons.link_tracks(faces)
    third = persons.third_face_ticks(faces, labels, 500)
    assert labels[4].reason == "ambiguous"
    assert np.flatnonzero(third).tolist() == list(range(200, 250))
    assert (labels[6].person, labels[6].reason) == (NOBODY, "photo")


def test_one_misleading_likeness_is_outvoted_by_the_voice_but_a_video_full_of_them_is_not() -> None:
    shots = [face(i, i, i % 2, x=(100, 500)[i % 2], voice=(3.0, -3.0)[i % 2]) for i in range(8)]
    voices = {i: replace(f, traits=Traits(), voice_nats=3.0) for i, f in enumerate(shots)}
    labels = persons.link_tracks([*shots, replace(face(8, 8, None, voice=3.0), facing=-0.3)])
    assert labels[8].person == labels[0].person, "the voice and the side that it looks to"
    assert persons.link_tracks(list(voices.values()))[7].confidence < 1.0


def test_what_is_reported_adds_up() -> None:
    pair = [face(k, k // 2, k % 2, x=(100, 500)[k % 2]) for k in range(4)]
    faces = [*pair, face(4, 3, None, n=25), face(5, 4, 2)]
    labels = persons.link_tracks(faces)
    rows = np.concatenate([np.full(len(f.ticks), f.track) for f in faces])
    record = persons.link_record(labels, rows, 25.0)
    assert record["linked"] == {"tracks": 4, "seconds": 8.0}
    assert record["ambiguous"] == {"tracks": 1, "seconds": 1.0}
    assert record["cutaway"]["tracks"] == 1
    assert 0.9 <= record["least_confidence"] <= 1.0


def test_shape_weighs_by_how_well_it_is_known() -> None:
    shapes = np.stack([np.zeros(4), np.array([1.0, 0, 0, 0]), np.array([0, 0, 0, 1.0])])
    sigma = np.tile([0.2, 1.0, 1.0, 1.0], (3, 1))
    distance = likeness.shape_distance(shapes, sigma)
    assert distance[0, 1] == pytest.approx(np.sqrt(1 / 0.08 / 4))
    assert distance[0, 2] == pytest.approx(np.sqrt(1 / 2 / 4)), "what the landmarks do not show hardly counts"


@pytest.mark.parametrize("ratio", [likeness.SHAPE, likeness.LOOK])
def test_a_greater_distance_never_speaks_more_for_one_person(ratio: likeness.LogNormalRatio) -> None:
    nats = ratio(np.linspace(0.0, 5.0, 400))
    assert (np.diff(nats) <= 1e-12).all()
    assert nats[0] == ratio.most_for
    assert nats[-1] < -0.5
    assert ratio(np.array([np.nan]))[0] == 0.0


def test_what_one_of_two_faces_lacks_says_nothing() -> None:
    place = np.array([[100.0, 100.0, 50.0], [900.0, 100.0, 50.0]])
    both = Traits(SHAPES[0], np.full(32, 0.6), LOOKS[0])
    assert likeness.likeness_nats([both, Traits()], place, SHOTS)[0][:, 0, 1] == pytest.approx(0.0, abs=1e-9)
    unseen = np.array(LOOKS[0])
    unseen[48:] = 0.0  # clothes outside the picture
    whole, part = (
        likeness.likeness_nats([Traits(look=LOOKS[0]), Traits(look=x)], place, SHOTS)[0][:, 0, 1]
        for x in (LOOKS[0], unseen)
    )
    assert whole.tolist() == pytest.approx([0, 0, 0.6, 0.6, 0.6, 0], abs=1e-9)
    assert part.tolist() == pytest.approx([0, 0, 0.6, 0.6, 0, 0], abs=1e-9)


def test_other_colours_in_the_same_shot_are_another_person_and_in_another_shot_perhaps_other_light() -> None:
    place = np.array([[100.0, 100.0, 50.0], [100.0, 100.0, 50.0]])
    pair = [Traits(look=LOOKS[0]), Traits(look=LOOKS[1])]
    in_shot, across = (likeness.likeness_nats(pair, place, np.array(shots))[0][2:5, 0, 1] for shots in ([4, 4], [4, 7]))
    assert across.tolist() == pytest.approx([-0.6] * 3)
    assert (in_shot < -2.5).all()


def test_an_embedding_moves_the_odds_by_the_stated_logistic() -> None:
    a, b = np.eye(512)[0], np.eye(512)[1]
    place = np.array([[100.0, 100.0, 50.0], [900.0, 100.0, 50.0]])
    near = 0.6 * a + 0.8 * b
    nats = likeness.likeness_nats([Traits(embedding=a), Traits(embedding=near)], place, SHOTS)[0][-1, 0, 1]
    assert nats == pytest.approx(16 * (0.6 - 0.3))
    assert likeness.likeness_nats([Traits(embedding=a), Traits(embedding=b)], place, SHOTS)[0][
        -1, 0, 1
    ] == pytest.approx(-4.8)
    assert likeness.likeness_nats([Traits(embedding=a), Traits(embedding=a)], place, SHOTS)[0][
        -1, 0, 1
    ] == pytest.approx(5.0)


def test_a_copy_of_a_face_in_view_is_an_inset_and_the_smaller_of_the_two() -> None:
    rng = np.random.default_rng(0)
    n = 100
    rest = rng.normal(size=(16, 2)) * 40
    moving = rest + np.cumsum(rng.normal(size=(n, 16, 2)), axis=0) * 0.6
    other = rest + np.cumsum(rng.normal(size=(n, 16, 2)), axis=0) * 0.6
    points = np.concatenate([moving + 300, 0.4 * moving + 900, other + 600]).astype(np.float32)
    track, tick = np.repeat([0, 1, 2], n), np.tile(np.arange(n), 3)
    half = np.repeat([80.0, 32.0, 80.0], n)[:, N]
    centre = np.repeat([300.0, 900.0, 600.0], n)[:, N] * np.ones(2)
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    rows = FaceRows(
        track, tick, np.ones(3 * n, bool), np.full(3 * n, 0.1), np.zeros(3 * n), points,
        np.zeros((0, 478, 2), np.float32), np.zeros(0, np.int64),
    )  # fmt: skip
    faces, _ = make_faces(rows, boxes, np.zeros(3 * n, np.int64), np.ones(n), np.zeros(n), 25.0)
    assert {f.track: f.shown for f in faces} == {0: "", 1: "inset", 2: ""}
    labels = persons.link_tracks(faces)
    assert (labels[1].person, labels[1].reason) == (NOBODY, "inset")
    assert {labels[0].person, labels[2].person} == {0, 1}
    assert len(liveness.POINTS) == 16
