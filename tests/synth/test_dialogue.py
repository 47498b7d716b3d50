"""The rendered dialogue: bytes, sound, and what an independent face tracker sees in it."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from dialogbuild.errors import DatasetError
from dialogbuild.head import load_head
from dialogbuild.media.audio import iter_audio
from dialogbuild.media.probe import probe
from dialogbuild.media.scan import scan_frames
from dialogbuild.synth import DialogueSpec, Truth, load_truth, make_dialogue, make_speech
from dialogbuild.synth.truth import truth_paths

SMALL = {"width_px": 320, "height_px": 180, "duration_s": 0.6}


def _frames(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def _sound(path: Path, truth: Truth) -> np.ndarray:
    facts = probe(path)
    table = scan_frames(path, facts.video.index).table
    assert table is not None
    assert facts.audio
    blocks = iter_audio(path, facts.audio[0].index, table.start_s, truth.n_ticks * 640)
    return np.concatenate(list(blocks))


def test_equal_specs_give_equal_bytes_and_equal_truth(tmp_path: Path) -> None:
    spec = DialogueSpec(**SMALL)
    names = ("a", "b")
    for name in names:
        make_dialogue(spec, tmp_path / f"{name}.mp4")
    a, b = ([p.read_bytes() for p in (tmp_path / f"{n}.mp4", *truth_paths(tmp_path / f"{n}.mp4"))] for n in names)
    assert a == b


def test_truth_comes_back_from_disk_unchanged(dialogue) -> None:
    loaded, made = load_truth(dialogue.path), dialogue.truth
    assert loaded.spec == made.spec
    assert loaded.turns == made.turns
    assert loaded.phonemes == made.phonemes
    assert np.array_equal(loaded.landmarks478_px, made.landmarks478_px)
    assert np.array_equal(loaded.states, made.states)
    assert np.array_equal(loaded.light.sh, made.light.sh)
    for p, q in zip(loaded.persons, made.persons, strict=True):
        assert (p.person, p.voice, p.side) == (q.person, q.voice, q.side)
        assert np.array_equal(p.pose.expr, q.pose.expr)
    with pytest.raises(DatasetError, match="absent"):
        load_truth(dialogue.path.with_name("other.mp4"))


def test_truth_without_rendering_is_the_rendered_truth(dialogue) -> None:
    mix, truth = make_speech(dialogue.truth.spec)
    assert len(mix) == truth.n_ticks * 640
    assert np.array_equal(truth.landmarks478_px, dialogue.truth.landmarks478_px)


def test_the_files_sound_is_the_mix_sample_for_sample_in_time(dialogue) -> None:
    mix, truth = make_speech(dialogue.truth.spec)
    heard = _sound(dialogue.path, truth)
    assert len(heard) == truth.n_ticks * 640
    lags = range(-40, 41)
    match = [float(np.dot(np.roll(mix, lag), heard)) for lag in lags]
    assert abs(lags[int(np.argmax(match))]) <= 1
    assert np.corrcoef(mix, heard)[0, 1] > 0.99, "AAC at 128 kbit/s must keep the speech"


def test_landmarks_are_the_projection_of_the_posed_vertices(dialogue) -> None:
    truth = dialogue.truth
    embedding = load_head().landmarks["mp478"]
    for person in (0, 1):
        x_cam = truth.vertices_cam_m(person, slice(40, 43))
        pixels = truth.camera.project(embedding.points(x_cam, load_head().faces))
        np.testing.assert_allclose(pixels, truth.persons[person].landmarks_px[40:43], atol=0.01)


def test_two_people_are_large_enough_apart_and_where_the_truth_says(dialogue) -> None:
    left, right = dialogue.truth.persons
    assert (left.side, right.side) == ("left", "right")
    for person in (left, right):
        eyes_px = np.linalg.norm(person.landmarks_px[:, 33] - person.landmarks_px[:, 263], axis=-1)
        assert eyes_px.min() > 40
        assert person.visible.all()
    assert (left.box_px[:, 2] < right.box_px[:, 0]).all()
    assert np.median(left.pose.root_rad[:, 1]) == pytest.approx(np.radians(22), abs=np.radians(2))
    assert np.median(right.pose.root_rad[:, 1]) == pytest.approx(np.radians(-22), abs=np.radians(2))
    assert not np.array_equal(left.pose.shape, right.pose.shape)


@pytest.fixture(scope="module")
def tracked(dialogue) -> dict[int, np.ndarray]:
    """MediaPipe's landmarks of both people, (N, 478, 2) pixels, NaN where a face was missed."""
    mediapipe = pytest.importorskip("mediapipe")
    truth = dialogue.truth
    found = {p: np.full((truth.n_frames, 478, 2), np.nan) for p in (0, 1)}
    size = [truth.spec.width_px, truth.spec.height_px]
    with mediapipe.solutions.face_mesh.FaceMesh(max_num_faces=2, refine_landmarks=True) as mesh:
        for i, image in enumerate(_frames(dialogue.path)):
            for face in mesh.process(image).multi_face_landmarks or []:
                points = np.array([(p.x, p.y) for p in face.landmark]) * size
                found[int(points[1, 0] > truth.spec.width_px / 2)][i] = points
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning:google.protobuf", "ignore::UserWarning:google.protobuf")
def test_face_mesh_finds_both_faces_in_every_frame_at_the_true_place(dialogue, tracked) -> None:
    for person, points in tracked.items():
        assert np.isfinite(points).all(), f"person {person} was missed"
        error_px = np.linalg.norm(points - dialogue.truth.persons[person].landmarks_px, axis=-1)
        assert error_px[:, :468].mean() < 2.5, "1.4 px when this was written"
        assert error_px[:, 468:].mean() < 1.5, "irises: 0.7 px when this was written"


@pytest.mark.filterwarnings("ignore::DeprecationWarning:google.protobuf", "ignore::UserWarning:google.protobuf")
def test_face_mesh_sees_the_lips_and_lids_move_as_they_do(dialogue, tracked) -> None:
    for person, points in tracked.items():
        true = dialogue.truth.persons[person].landmarks_px
        for upper, lower in ((13, 14), (159, 145), (386, 374)):
            seen, moved = (np.linalg.norm(q[:, upper] - q[:, lower], axis=-1) for q in (points, true))
            assert np.corrcoef(seen, moved)[0, 1] > 0.8, (person, upper)


def test_neighbouring_frames_move_and_the_room_does_not(dialogue) -> None:
    frames = _frames(dialogue.path)[::8].astype(np.int16)
    assert frames.shape[1:] == (360, 640, 3)
    change = np.abs(np.diff(frames, axis=0)).mean((0, 3))
    box = dialogue.truth.persons[0].box_px.mean(0).astype(int)
    assert change[box[1] : box[3], box[0] : box[2]].mean() > 5 * change[:40, 300:340].mean()
