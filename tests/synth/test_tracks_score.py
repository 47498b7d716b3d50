"""The judge of face tracks: mistakes made on purpose must show in the figure that is named after them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dialogbuild.synth.crowd_film import CrowdTruth

N = 60
SIZE_PX = (1280, 720)


@pytest.fixture(scope="module")
def score() -> Any:
    folder = str(Path(__file__).resolve().parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module("tracks_score")
    finally:
        sys.path.remove(folder)


def scene(**values: Any) -> CrowdTruth:
    """Persons 0, 1 and 4 side by side for two shots of 30 ticks."""
    boxes = np.array([[100 + 300 * p, 100, 220 + 300 * p, 240] for p in range(3)], np.float32)
    facts = {
        "persons": np.array([0, 1, 4], np.int32),
        "shown": np.ones((3, N), np.int8),
        "box_px": np.repeat(boxes[:, None], N, 1),
        "visible": np.ones((3, N), np.float32),
        "yaw_rad": np.zeros((3, N), np.float32),
        "shot": np.repeat([0, 1], N // 2).astype(np.int32),
    }
    return CrowdTruth(**{**facts, **values})


def tracks(truth: CrowdTruth, ids: np.ndarray) -> dict[str, np.ndarray]:
    """Hypotheses exactly on the faces, with the given ids (3, N)."""
    return {"track": ids.ravel(), "tick": np.tile(np.arange(N), 3), "box_px": truth.box_px.reshape(-1, 4)}


def perfect_ids() -> np.ndarray:
    """Track 10 p in the first shot, 10 p + 1 in the second."""
    return np.array([[10 * p + (i >= N // 2) for i in range(N)] for p in range(3)])


def test_the_truth_itself_is_perfect(score: Any) -> None:
    figures, cover = score.mot_figures(scene(), tracks(scene(), perfect_ids()), SIZE_PX)
    assert (figures["idf1"], figures["mota"], figures["merges"], figures["misses"]) == (1, 1, 0, 0)
    assert cover == {0: {0: 30}, 1: {0: 30}, 10: {1: 30}, 11: {1: 30}, 20: {4: 30}, 21: {4: 30}}


def test_swapped_identities_are_switches_and_merges_but_no_false_positives(score: Any) -> None:
    ids = perfect_ids()
    ids[:2, 15:30] = ids[1::-1, 15:30]
    figures, _ = score.mot_figures(scene(), tracks(scene(), ids), SIZE_PX)
    assert (figures["switches"], figures["merges"], figures["false_positives"]) == (2, 2, 0)
    assert figures["idf1"] == pytest.approx(150 / 180)


def test_a_track_that_slips_to_another_person_for_four_ticks_is_no_merge(score: Any) -> None:
    ids = perfect_ids()
    ids[:2, 15:19] = ids[1::-1, 15:19]
    assert score.mot_figures(scene(), tracks(scene(), ids), SIZE_PX)[0]["merges"] == 0


def test_an_outsider_in_a_track_is_a_merge_of_any_two_but_not_of_the_pair(score: Any) -> None:
    ids = perfect_ids()
    ids[1:, 15:30] = ids[:0:-1, 15:30]
    figures, _ = score.mot_figures(scene(), tracks(scene(), ids), SIZE_PX)
    assert (figures["merges"], figures["merges_any"]) == (0, 2)


@pytest.mark.parametrize(("name", "value"), [("visible", 0.1), ("yaw_rad", 1.4), ("yaw_rad", -1.4)])
def test_a_face_that_hardly_shows_is_neither_missed_nor_a_false_positive(score: Any, name: str, value: float) -> None:
    values = getattr(scene(), name).copy()
    values[2] = value
    truth = scene(**{name: values})
    rows = tracks(truth, perfect_ids())
    without = {k: v[rows["track"] < 20] for k, v in rows.items()}
    for hypotheses in (rows, without):
        figures, _ = score.mot_figures(truth, hypotheses, SIZE_PX)
        assert (figures["mota"], figures["faces"]) == (1, 2 * N)


def test_a_box_where_no_face_is_counts_as_a_false_positive(score: Any) -> None:
    rows = tracks(scene(), perfect_ids())
    extra = {"track": np.full(10, 99), "tick": np.arange(10), "box_px": np.tile([[1000, 500, 1100, 600]], (10, 1))}
    figures, _ = score.mot_figures(scene(), {k: np.concatenate([rows[k], extra[k]]) for k in rows}, SIZE_PX)
    assert (figures["false_positives"], figures["misses"]) == (10, 0)


def test_links_are_judged_up_to_the_numbering_of_the_two(score: Any) -> None:
    cover = {0: {0: 30}, 1: {0: 20, 1: 9}, 10: {1: 30}, 11: {1: 30}, 20: {4: 30}, 21: {4: 30}}
    figures = score.link_figures(cover, {0: 1, 1: 1, 10: 0, 11: 1, 20: 1, 21: -1})
    assert figures == {"right": 3, "wrong": 1, "unlinked": 0, "ghosts": 1, "others": 2, "linked_merges": 1}
    nobody = score.link_figures(cover, {})
    assert (nobody["unlinked"], nobody["right"], nobody["linked_merges"]) == (4, 0, 0)


def test_scenes_add_up_by_their_counts(score: Any) -> None:
    figures = score.mot_figures(scene(), tracks(scene(), perfect_ids()), SIZE_PX)[0]
    nothing = {**figures, "idtp": 0.0, "idfn": 180.0, "misses": 180.0}
    total = score.together([figures, nothing])
    assert (total["idf1"], total["mota"]) == (pytest.approx(2 / 3), 0.5)
