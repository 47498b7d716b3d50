"""Tracks to people across cuts; where clips are cut."""

from dataclasses import replace

import numpy as np
import pytest

from dialogbuild.dialogue import clips, persons
from dialogbuild.dialogue.likeness import Traits

SHAPES = np.random.default_rng(0).normal(size=(3, 32)) * 0.7


def face(
    track: int, shot: int, span: tuple[int, int], x: float, who: int, voice: float = 0.0, size: float = 100.0
) -> persons.Face:
    ticks = np.arange(*span)
    noise = np.random.default_rng(100 + track).normal(size=32) * 0.08
    traits = Traits(SHAPES[who] + noise, np.full(32, 0.6))
    sizes = np.full(len(ticks), size)
    return persons.Face(
        track, shot, ticks, np.full(len(ticks), x), np.full(len(ticks), 200.0), sizes, 0.0, voice, traits
    )


def people(*faces: persons.Face) -> dict[int, int]:
    return {track: label.person for track, label in persons.link_tracks(faces).items()}


def test_two_faces_in_one_shot_are_left_and_right() -> None:
    assert people(face(0, 0, (0, 100), 400, 0), face(1, 0, (0, 100), 100, 1)) == {0: 1, 1: 0}


def test_a_track_that_goes_on_at_the_same_place_is_the_same_person() -> None:
    found = people(face(0, 0, (0, 100), 100, 0), face(1, 0, (0, 40), 400, 1), face(2, 0, (50, 100), 410, 1))
    assert found == {0: 0, 1: 1, 2: 1}


def test_a_track_that_begins_where_somebody_else_went_out_of_sight_is_not_that_person() -> None:
    """Two people change places: each new track begins where the other one's old track stopped."""
    before = [face(0, 0, (0, 100), 100, 0), face(1, 0, (0, 100), 400, 1)]
    after = [face(2, 0, (110, 210), 100, 1), face(3, 0, (110, 210), 400, 0)]
    found = people(*before, *after)
    assert found[3] == found[0] != found[1] == found[2]


def test_people_keep_their_names_when_the_camera_crosses_the_line() -> None:
    found = people(
        face(0, 0, (0, 100), 100, 0, voice=4.0),
        face(1, 0, (0, 100), 400, 1, voice=-4.0),
        face(2, 1, (100, 150), 100, 1, voice=-4.0),
        face(3, 1, (100, 150), 400, 0, voice=4.0),
    )
    assert found[2] == found[1] != found[0] == found[3]


def test_alternating_close_ups_fall_into_two_people_by_voice_and_shape() -> None:
    shots = [face(i, i, (i * 50, i * 50 + 50), 300 + 20 * (i % 2), i % 2, voice=(3.0, -3.0)[i % 2]) for i in range(7)]
    found = people(*shots)
    assert {found[i] for i in (0, 2, 4, 6)} == {0}
    assert {found[i] for i in (1, 3, 5)} == {1}


def test_many_shots_are_linked_without_trying_every_labelling() -> None:
    shots = [
        face(i, i, (i * 50, i * 50 + 50), 300, w, voice=(3.0, -3.0)[w])
        for i, w in enumerate(np.random.default_rng(0).integers(0, 2, 40).tolist())
    ]
    truth = np.random.default_rng(0).integers(0, 2, 40)
    labels = people(*shots)
    found = np.array([labels[i] for i in range(40)])
    assert (found == truth).all() or (found == 1 - truth).all()


def test_the_smallest_of_three_faces_is_nobody_of_the_dialogue() -> None:
    labels = persons.link_tracks(
        [
            face(0, 0, (0, 100), 100, 0),
            face(1, 0, (0, 100), 400, 1),
            face(2, 0, (20, 90), 250, 2, size=40.0),
        ]
    )
    assert (labels[2].person, labels[2].reason) == (persons.NOBODY, "third_face")
    assert {labels[0].person, labels[1].person} == {0, 1}
    third = persons.third_face_ticks([face(2, 0, (20, 90), 250, 2, size=40.0)], labels, 100)
    assert third.sum() == 70


def test_two_tracks_on_screen_at_once_are_never_one_person() -> None:
    rng = np.random.default_rng(5)
    faces = []
    for shot in range(9):
        for k in (0, 1):
            faces.append(face(2 * shot + k, shot, (shot * 20, shot * 20 + 20), 100 + 300 * k, 0, rng.normal() * 3))
    found = people(*faces)
    assert all({found[2 * shot], found[2 * shot + 1]} not in ({0}, {1}) for shot in range(9))
    assert set(found.values()) >= {0, 1}


def test_a_lone_face_is_one_person() -> None:
    assert people(face(0, 0, (0, 100), 300, 0)) == {0: 0}
    assert people(face(0, 0, (0, 50), 300, 0, 3.0), face(1, 1, (50, 99), 300, 0, 3.0)) == {0: 0, 1: 0}
    assert people() == {}


def test_confidence_falls_when_nothing_tells_the_people_apart() -> None:
    clear = persons.link_tracks([face(i, i, (i * 50, i * 50 + 50), 300, i % 2, (4.0, -4.0)[i % 2]) for i in range(4)])
    blank = [replace(face(i, i, (i * 50, i * 50 + 50), 300 + 200 * i, 0), traits=Traits()) for i in range(2)]
    assert min(label.confidence for label in clear.values()) > 0.95
    assert {label.reason for label in persons.link_tracks(blank).values()} == {"ambiguous"}


def test_facing_is_positive_towards_the_images_right() -> None:
    points = np.zeros((1, 478, 2))
    points[0, 454, 0], points[0, 1, 0] = 100.0, 70.0
    assert persons.facing(points)[0] == pytest.approx(0.4)


RULE = clips.ClipRule(min_ticks=100, max_ticks=300, cut_cost=25.0, hard_cost=100.0)
QUIET = np.full(2000, 0.9)


def test_a_short_span_is_one_clip_and_a_too_short_one_none() -> None:
    assert clips.cut_span((10, 150), [60], QUIET, RULE) == [(10, 150)]
    assert clips.cut_span((10, 100), [60], QUIET, RULE) == []


def test_long_spans_are_cut_at_soft_cuts_and_stay_within_the_limits() -> None:
    cuts = [90, 210, 280, 410, 560, 640, 790]
    found = clips.cut_span((0, 900), cuts, QUIET, RULE)
    assert all(100 <= b - a <= 300 for a, b in found)
    assert all(a in (0, *cuts) and b in (900, *cuts) for a, b in found)
    assert sum(b - a for a, b in found) == 900


def test_without_a_pause_a_long_span_is_cut_where_it_is_quietest() -> None:
    speech = QUIET.copy()
    speech[[290, 575]] = 0.1
    found = clips.cut_span((0, 700), [], speech, clips.ClipRule(100, 300, cut_cost=25.0, hard_cost=40.0))
    assert found == [(0, 290), (290, 575), (575, 700)]


def test_cuts_fall_into_pauses_and_handovers_and_not_into_overlap() -> None:
    states = np.repeat([1, 0, 2, 1, 3, 2, 0], [20, 10, 20, 20, 5, 20, 3])
    assert clips.soft_cuts(states, 5) == [25, 50]


def test_spans_end_where_a_person_stays_away_the_screen_is_empty_or_a_third_face_stays() -> None:
    seen, third = np.ones((400, 2), bool), np.zeros(400, bool)
    seen[50:60, 0] = False  # a short absence is fine
    seen[100:160, 1] = False
    seen[200:212] = False
    third[300:330] = True
    assert clips.usable_spans(seen, third, 40, 10, 20) == [(0, 100), (160, 200), (212, 300), (330, 400)]
