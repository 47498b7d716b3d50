"""Everything that is known about a synthetic dialogue, per frame and per tick, and its two files on disk.

``<name>.truth.npz`` holds the arrays, ``<name>.truth.json`` the spec, turns and phonemes; no pickle.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dialogbuild.errors import DatasetError
from dialogbuild.head import load_head
from dialogbuild.head.camera import Camera
from dialogbuild.head.pose import HeadPose, pose_head, to_camera
from dialogbuild.render.shading import Lighting
from dialogbuild.synth.script import SpokenPhoneme, Turn
from dialogbuild.synth.spec import DialogueSpec

FloatArray = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

_POSE_FIELDS = tuple(field.name for field in fields(HeadPose))
_PERSON_ARRAYS = ("visible", "camera_px", "landmarks_px", "box_px", "lip_gap_m")
_TRUTH_ARRAYS = ("frame_pts", "shot_frames", "tracks", "speaking", "states")


@dataclass(frozen=True, eq=False)
class PersonTruth:
    """One person over the N source frames.

    Attributes:
        person: 0 and 1 are the dialogue, 2 the bystander.
        voice: key of ``speech.VOICES``; None for the bystander.
        side: "left" or "right", by the mean x of the visible face over the video.
        pose: N frames; ``shape`` is the identity.
        visible: (N,) the shot shows the person.
        camera_px: (N, 3) float32 focal length and principal point (x, y) in pixels of the whole frame.
        landmarks_px: (N, 478, 2) float32, MediaPipe order, projected also where the person is not visible.
        box_px: (N, 4) float32 x0, y0, x1, y1, tight around the 468 face landmarks, clipped to the frame.
        lip_gap_m: (N,) float32 height of the opening between the inner lips' middles, along the skull's vertical.
    """

    person: int
    voice: str | None
    side: str
    pose: HeadPose
    visible: Bools
    camera_px: FloatArray
    landmarks_px: FloatArray
    box_px: FloatArray
    lip_gap_m: FloatArray


@dataclass(frozen=True, eq=False)
class Truth:
    """A synthetic dialogue's labels. N source frames, T ticks, P people.

    Attributes:
        model_id, model_sha256: the head model of the poses.
        frame_pts: (N+1,) int64 presentation times in ``time_base`` seconds; the last is the video's end.
        shot_frames: (K, 2) int32 half-open frame ranges.
        turns, phonemes: on the sound's time line, seconds from the first frame.
        tracks: (2, T*640) float32 each speaker alone.
        speaking: (T, 2) bool; states: (T,) int8, 0 silence, 1 person 0, 2 person 1, 3 both.
        persons: everyone who has a face or a voice; ``visible`` says who is shown.
        light: in camera axes, the same for all shots.
    """

    spec: DialogueSpec
    model_id: str
    model_sha256: str
    frame_pts: npt.NDArray[np.int64]
    time_base: Fraction
    shot_frames: npt.NDArray[np.int32]
    turns: tuple[Turn, ...]
    phonemes: tuple[SpokenPhoneme, ...]
    tracks: FloatArray
    speaking: Bools
    states: npt.NDArray[np.int8]
    persons: tuple[PersonTruth, ...]
    light: Lighting

    @property
    def n_frames(self) -> int:
        """N."""
        return len(self.frame_pts) - 1

    @property
    def n_ticks(self) -> int:
        """T."""
        return len(self.states)

    @property
    def frame_times_s(self) -> npt.NDArray[np.float64]:
        """(N,) seconds."""
        return self.spec.frame_times_s()

    @property
    def tick_frames(self) -> npt.NDArray[np.int32]:
        """(T,) the frame shown at each tick's centre; indexes every per-frame array."""
        return self.spec.tick_frames()

    @property
    def landmarks478_px(self) -> FloatArray:
        """(P, T, 478, 2) landmarks of everyone at the ticks."""
        return np.stack([p.landmarks_px[self.tick_frames] for p in self.persons])

    @property
    def camera(self) -> Camera:
        """The camera that all people and frames share.

        Raises:
            ValueError: there is none, as in a split screen.
        """
        views = np.unique(np.concatenate([p.camera_px for p in self.persons]), axis=0)
        if len(views) != 1:
            raise ValueError(f"{self.spec.layout} has {len(views)} cameras; ask frame_camera(person, frame)")
        return self.frame_camera(0, 0)

    def frame_camera(self, person: int, frame: int) -> Camera:
        """The camera that sees one person in one frame, in pixels of the whole frame."""
        focal, cx, cy = (float(v) for v in self.persons[person].camera_px[frame])
        return Camera(focal, cx, cy, self.spec.width_px, self.spec.height_px)

    def vertices_cam_m(self, person: int, frames: Any = slice(None)) -> FloatArray:
        """All vertices of one person in some frames: (n, V, 3) metres, camera axes."""
        pose = self.persons[person].pose.frames(frames)
        return to_camera(pose_head(load_head(), pose), pose.transl_m)

    def save(self, video: Path) -> None:
        """Write the two files beside a video's path."""
        arrays: dict[str, npt.NDArray[Any]] = {name: getattr(self, name) for name in _TRUTH_ARRAYS}
        arrays |= {f"light.{name}": getattr(self.light, name) for name in ("sh", "directions", "colours")}
        for p in self.persons:
            arrays |= {f"{p.person}.pose.{name}": getattr(p.pose, name) for name in _POSE_FIELDS}
            arrays |= {f"{p.person}.{name}": getattr(p, name) for name in _PERSON_ARRAYS}
        npz_path, json_path = truth_paths(video)
        np.savez_compressed(npz_path, **arrays)
        document = {
            "spec": {**asdict(self.spec), "fps": str(self.spec.fps)},
            "model_id": self.model_id,
            "model_sha256": self.model_sha256,
            "time_base": str(self.time_base),
            "turns": [asdict(turn) for turn in self.turns],
            "phonemes": [asdict(phoneme) for phoneme in self.phonemes],
            "persons": [{"person": p.person, "voice": p.voice, "side": p.side} for p in self.persons],
        }
        json_path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def truth_paths(video: Path) -> tuple[Path, Path]:
    """Where a video's truth lies: its .npz and its .json."""
    return video.with_suffix(".truth.npz"), video.with_suffix(".truth.json")


def load_truth(video: Path) -> Truth:
    """Read the truth that ``Truth.save`` wrote beside a video.

    Raises:
        DatasetError: a file is absent.
    """
    npz_path, json_path = truth_paths(video)
    for path in (npz_path, json_path):
        if not path.is_file():
            raise DatasetError(f"{path} is absent: the truth lies beside its video, make both again")
    document = json.loads(json_path.read_text(encoding="utf-8"))
    with np.load(npz_path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    persons = tuple(
        PersonTruth(
            pose=HeadPose(**{name: arrays[f"{p['person']}.pose.{name}"] for name in _POSE_FIELDS}),
            **{name: arrays[f"{p['person']}.{name}"] for name in _PERSON_ARRAYS},
            **p,
        )
        for p in document["persons"]
    )
    return Truth(
        spec=_spec(document["spec"]),
        model_id=document["model_id"],
        model_sha256=document["model_sha256"],
        time_base=Fraction(document["time_base"]),
        turns=tuple(Turn(**turn) for turn in document["turns"]),
        phonemes=tuple(SpokenPhoneme(**phoneme) for phoneme in document["phonemes"]),
        persons=persons,
        light=Lighting(*(arrays[f"light.{name}"] for name in ("sh", "directions", "colours"))),
        **{name: arrays[name] for name in _TRUTH_ARRAYS},
    )


def _spec(values: dict[str, Any]) -> DialogueSpec:
    fps = values["fps"] if values["fps"] == "vfr" else Fraction(values["fps"])
    lines = tuple((int(person), str(text)) for person, text in values["lines"])
    return DialogueSpec(**{**values, "fps": fps, "cuts": tuple(values["cuts"]), "lines": lines})
