"""The face of the synthetic dialogue: a spec in, a video or only its sound out, always with the complete truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dialogbuild.head import load_head
from dialogbuild.head.model import HeadModel
from dialogbuild.head.pose import HeadPose, pose_head, to_camera
from dialogbuild.synth.cast import draw_shape, pose_person
from dialogbuild.synth.container import make_faulty, write_video
from dialogbuild.synth.motion import make_motion
from dialogbuild.synth.scene import render_frames, scene_light
from dialogbuild.synth.script import PERSON_VOICES, Script, make_script
from dialogbuild.synth.shots import Seat, plan_shots
from dialogbuild.synth.spec import DialogueSpec
from dialogbuild.synth.truth import PersonTruth, Truth

FloatArray = npt.NDArray[np.float32]

# How far the eyes turn past the face towards the partner, who sits beyond the 22 degrees that the body turns.
_TOWARD_PARTNER_RAD = 0.18
_INNER_LIPS = (13, 14)


def make_dialogue(spec: DialogueSpec, path: Path) -> Truth:
    """Render a dialogue to ``path`` and save its truth beside it. Equal specs give equal bytes.

    Raises:
        ConfigError: the spec is impossible.
        MissingPart: ``spec.lines`` has a sentence outside the bank and libespeak-ng is absent.
        EncodeError: ffmpeg failed.
    """
    truth = make_speech(spec)[1]
    script = make_script(spec)
    shots = plan_shots(spec, script, len(truth.persons))
    frames = render_frames(load_head(), spec, shots, [p.pose for p in truth.persons])
    write_video(path, frames, spec, script.sound)
    truth.save(path)
    if spec.fault is not None:
        make_faulty(spec.fault, path)
    return truth


def make_speech(spec: DialogueSpec) -> tuple[FloatArray, Truth]:
    """The sound of a dialogue, (T*640,) float32 at 16 kHz, and its truth, without drawing anything.

    Landmarks, poses and boxes are those that ``make_dialogue`` draws: tests of everything after the face tracker can
    take them as a perfect tracker's output.
    """
    model = load_head()
    script = make_script(spec)
    n_people = max(2, spec.faces)
    shots = plan_shots(spec, script, n_people)
    pts, time_base = spec.frame_pts()
    persons = []
    for person in range(n_people):
        seats = [shot.seats[person] for shot in shots for _ in range(shot.end_frame - shot.start_frame)]
        persons.append(_person(model, spec, script, person, seats))
    truth = Truth(
        spec=spec,
        model_id=model.model_id,
        model_sha256=model.sha256,
        frame_pts=pts,
        time_base=time_base,
        shot_frames=np.array([(shot.start_frame, shot.end_frame) for shot in shots], np.int32),
        turns=script.turns,
        phonemes=script.phonemes,
        tracks=script.tracks,
        speaking=script.speaking,
        states=script.states,
        persons=tuple(persons),
        light=scene_light(spec),
    )
    return script.mix, truth


def _person(model: HeadModel, spec: DialogueSpec, script: Script, person: int, seats: list[Seat]) -> PersonTruth:
    motion = make_motion(spec, script, person, _TOWARD_PARTNER_RAD, spec.frame_times_s())
    pose = pose_person(model, draw_shape(model, spec.seed, person), motion, seats)
    camera_px = np.array([(s.focal_px, s.cx_px, s.cy_px) for s in seats], np.float32).reshape(len(seats), 3)
    landmarks_px = project_landmarks(model, pose, camera_px)
    visible = np.array([seat.visible for seat in seats], bool)
    face_px = landmarks_px[:, :468]
    box_px = np.concatenate([face_px.min(1), face_px.max(1)], 1)
    box_px = np.clip(box_px, 0, [spec.width_px, spec.height_px] * 2).astype(np.float32)
    seen = visible if visible.any() else np.ones_like(visible)
    middle_px = float(box_px[seen][:, [0, 2]].mean())
    return PersonTruth(
        person=person,
        voice=PERSON_VOICES[person] if person < len(PERSON_VOICES) else None,
        side="left" if middle_px < spec.width_px / 2 else "right",
        pose=pose,
        visible=visible,
        camera_px=camera_px,
        landmarks_px=landmarks_px,
        box_px=box_px,
        lip_gap_m=_lip_gap_m(model, pose),
    )


def project_landmarks(model: HeadModel, pose: HeadPose, camera_px: FloatArray) -> FloatArray:
    """The 478 landmarks of N poses, (N, 478, 2) pixels, through a camera per frame (N, 3) focal, cx, cy."""
    embedding = model.landmarks["mp478"]
    corners = embedding.vertices(model.faces)
    used, local = np.unique(corners, return_inverse=True)
    x_cam = to_camera(pose_head(model, pose, used), pose.transl_m)
    triangles = x_cam[:, local.reshape(corners.shape)]
    points = np.einsum("tnck,nc->tnk", triangles, embedding.bary)
    out = np.zeros((len(pose), 478, 2), np.float32)
    focal, centre = camera_px[:, None, :1], camera_px[:, None, 1:]
    out[:, embedding.index] = points[..., :2] * (focal / points[..., 2:]) + centre
    return out


def _lip_gap_m(model: HeadModel, pose: HeadPose) -> FloatArray:
    still = replace(pose, root_rad=np.zeros_like(pose.root_rad), neck_rad=np.zeros_like(pose.neck_rad))
    lips = pose_head(model, still, np.array(_INNER_LIPS))
    return np.ascontiguousarray(lips[:, 0, 1] - lips[:, 1, 1])
