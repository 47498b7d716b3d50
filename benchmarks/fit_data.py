"""Clips for scoring a head tracker: one rendered person, what the detector says of the encoded video, and the truth.

Pixels come out of the project's own encoder, with sensor noise put in before it; landmarks come out of the project's
own stages (``ingest``, ``shots``, ``tracks``, ``landmarks``). Seeds 300 to 399 may be used to calibrate a tracker,
seeds from 400 on only to score it.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import dialogbuild
from dialogbuild.faces.mp import model_files
from dialogbuild.fit.evidence import LANDMARK_COLUMNS, Evidence, gather
from dialogbuild.head import load_head
from dialogbuild.head.model import HeadModel
from dialogbuild.head.pose import HeadPose
from dialogbuild.media.reader import VideoReader
from dialogbuild.pipeline import Places, run_stages
from dialogbuild.recipe import load_recipe
from dialogbuild.stages import upstream_of
from dialogbuild.synth import DialogueSpec, Truth, make_speech
from dialogbuild.synth.container import write_video
from dialogbuild.synth.scene import render_frames
from dialogbuild.synth.script import make_script
from dialogbuild.synth.shots import plan_shots
from dialogbuild.tables import read_table

Array = npt.NDArray[Any]
Image = npt.NDArray[np.uint8]

CALIBRATION_SEEDS = range(300, 400)
FIRST_TEST_SEED = 400
WINDOW_PX = 256
SENSOR_NOISE = 2.0  # standard deviation in steps of 8 bit, before the encoder
FAST_PX_PER_FRAME = 6.0
_LENSES = (0.9, 1.8)  # focal length over width: from a phone's wide view to a short telephoto
_BILABIALS = "pbm"
_CODE = ("faces", "stages/tracks.py", "stages/landmarks.py", "media/encode.py")  # what makes the landmarks


@dataclass(frozen=True, eq=False)
class FitClip:
    """One person over T frames. Pixel coordinates are the whole frame's, pixel centres at (i + 0.5, j + 0.5).

    Attributes:
        name: seed and variant;  fps: frames per second;  every: this is every n-th frame of the video.
        width_px, height_px: of the whole frame.
        frames_rgb: (T, 256, 256, 3) uint8, cut at native pixels;  origin_px: (T, 2) int32, x and y of its top left.
        landmarks_px: (T, 478, 2) float32, detected;  z_px: (T, 478) float32 relative depths, smaller = nearer.
        usable: (T,) bool, landmarks were found;  box_detected: (T,) bool;  linked: (T - 1,) bool, no cut between.
        detect_ms: wall time of the tracks and landmarks stages per frame of the video.
        true_pose: T frames, the neck bent as it is.
        true_camera: focal_px, cx_px, cy_px.
        true_lip_gap_m: (T,);  true_lids: (T, 2) closure 0..1;  true_landmarks_px: (T, 478, 2).
        bilabial: (T,) int32, number of the p, b or m that is spoken, -1 for none.
        whole: the clip with every frame, where this one is thinned.
    """

    name: str
    fps: float
    every: int
    width_px: int
    height_px: int
    frames_rgb: Image
    origin_px: Array
    landmarks_px: Array
    z_px: Array
    usable: Array
    box_detected: Array
    linked: Array
    detect_ms: float
    true_pose: HeadPose
    true_camera: tuple[float, float, float]
    true_lip_gap_m: Array
    true_lids: Array
    true_landmarks_px: Array
    bilabial: Array
    whole: FitClip | None = None

    def __len__(self) -> int:
        return len(self.usable)

    @property
    def evidence(self) -> Evidence:
        """The detections as the fit takes them."""
        rows = np.where(self.usable, np.arange(len(self)), -1)
        return Evidence(rows, self.landmarks_px, self.z_px, self.usable, self.box_detected, self.linked)

    @property
    def motion_px(self) -> float:
        """Mean 2D distance that a true landmark of the face moves from frame to frame."""
        return motion_px(self.true_landmarks_px[:, :468])


def motion_px(points_px: Array) -> float:
    """Mean distance (px) that points (T, N, 2) move between neighbouring frames; 0 for a single frame."""
    if len(points_px) < 2:
        return 0.0
    return float(np.linalg.norm(np.diff(points_px.astype(np.float64), axis=0), axis=-1).mean())


def clip_spec(seed: int, seconds: float) -> DialogueSpec:
    """The dialogue of a seed: one face at 640x360, a lens drawn between 0.9 and 1.8 widths, sides by turns."""
    lens = float(np.random.default_rng([seed, 6]).uniform(*_LENSES))
    return DialogueSpec(seed=seed, duration_s=seconds, faces=1, focal_over_width=lens, swap_sides=seed % 2 == 1, crf=20)


def load_clip(seed: int, seconds: float, cache: Path) -> FitClip:
    """The clip of a seed, rendered and detected, or read from ``cache`` if it lies there. Deterministic."""
    spec, model = clip_spec(seed, seconds), load_head()
    path = cache / f"fit_{seed}_{seconds:g}s_{cache_key(spec, model)}.npz"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        save_clip(_make_clip(spec, model), path)
    return read_clip(path)


def fast_variant(clip: FitClip, target_px: float = FAST_PX_PER_FRAME) -> FitClip:
    """Every k-th frame of a clip, k >= 2 such that the face moves by about ``target_px`` per frame.

    A swaying head comes back: beyond about a second apart, frames do not get any farther from each other. The k whose
    motion is nearest to the target is taken, up to one second.
    """
    face = clip.true_landmarks_px[:, :468]
    steps = range(2, max(3, min(round(clip.fps), len(clip) // 4) + 1))
    every = min(steps, key=lambda k: abs(motion_px(face[::k]) - target_px))
    return every_nth(clip, every)


def every_nth(clip: FitClip, n: int) -> FitClip:
    """The clip's frames 0, n, 2n, ...; neighbours are linked if no cut lies between them."""
    kept: dict[str, Any] = {
        name: getattr(clip, name)[::n] for name in _PER_FRAME if name not in ("linked", "true_pose")
    }
    ends = np.arange(0, len(clip), n)
    linked = np.array([clip.linked[a:b].all() for a, b in pairwise(ends)], bool)
    return replace(
        clip,
        **kept,
        name=f"{clip.name} /{n}",
        fps=clip.fps / n,
        every=clip.every * n,
        linked=linked,
        true_pose=clip.true_pose.frames(slice(None, None, n)),
        whole=clip.whole or clip,
    )


_PER_FRAME = (
    *("frames_rgb", "origin_px", "landmarks_px", "z_px", "usable", "box_detected", "linked", "true_pose"),
    *("true_lip_gap_m", "true_lids", "true_landmarks_px", "bilabial"),
)


def cache_key(spec: DialogueSpec, model: HeadModel) -> str:
    """16 hex digits of everything that decides a clip: spec, head model, noise, networks, and how it is drawn.

    Of the drawing the result is taken, poses and first picture, so that other changes of its code do not count.
    """
    truth, frames = _draw(spec, model)
    pose = truth.persons[0].pose
    digest = hashlib.sha256(repr((spec, model.sha256, WINDOW_PX, SENSOR_NOISE)).encode())
    for array in (next(frames), *(getattr(pose, f.name) for f in fields(HeadPose))):
        digest.update(array.tobytes())
    package = Path(dialogbuild.__file__).parent
    code = [p for name in _CODE for p in (sorted((package / name).rglob("*.py")) or [package / name])]
    for path in (*code, Path(__file__), *model_files("face_detection", "face_landmark")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _draw(spec: DialogueSpec, model: HeadModel) -> tuple[Truth, Iterator[Image]]:
    """The truth, and the frames without noise as they are asked for."""
    _, truth = make_speech(spec)
    shots = plan_shots(spec, make_script(spec), len(truth.persons))
    return truth, render_frames(model, spec, shots, [p.pose for p in truth.persons])


def save_clip(clip: FitClip, path: Path) -> None:
    """Write a whole (not thinned) clip; the file appears when it is complete."""
    arrays = {f.name: getattr(clip, f.name) for f in fields(clip) if isinstance(getattr(clip, f.name), np.ndarray)}
    arrays |= {f"true_pose.{f.name}": getattr(clip.true_pose, f.name) for f in fields(HeadPose)}
    names = ("name", "fps", "every", "width_px", "height_px", "detect_ms", "true_camera")
    scratch = path.with_name(f".{path.stem}.part.npz")
    np.savez(scratch, facts=json.dumps({name: getattr(clip, name) for name in names}), **arrays)
    scratch.replace(path)


def read_clip(path: Path) -> FitClip:
    """The clip that ``save_clip`` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    facts = json.loads(str(arrays.pop("facts")))
    pose = HeadPose(**{f.name: arrays.pop(f"true_pose.{f.name}") for f in fields(HeadPose)})
    return FitClip(**{**facts, "true_camera": tuple(facts["true_camera"])}, **arrays, true_pose=pose)


def _make_clip(spec: DialogueSpec, model: HeadModel) -> FitClip:
    with tempfile.TemporaryDirectory() as tmp:
        video = Path(tmp) / "clip.mp4"
        truth = _record(spec, model, video)
        found, detect_s = _detect(video, Path(tmp) / "out")
        evidence, frames, origin_px = _measure(video, found, truth)
    at = truth.tick_frames
    person = truth.persons[0]
    pose = person.pose.frames(at)
    assert model.lid_expr is not None
    focal_px, cx_px, cy_px = (float(v) for v in person.camera_px[0])
    return FitClip(
        name=str(spec.seed),
        fps=25.0,
        every=1,
        width_px=spec.width_px,
        height_px=spec.height_px,
        frames_rgb=frames,
        origin_px=origin_px,
        landmarks_px=evidence.landmarks_px,
        z_px=evidence.z_px,
        usable=evidence.usable,
        box_detected=evidence.box_detected,
        linked=evidence.linked,
        detect_ms=round(1e3 * detect_s / len(at), 3),
        true_pose=pose,
        true_camera=(focal_px, cx_px, cy_px),
        true_lip_gap_m=person.lip_gap_m[at],
        true_lids=pose.expr[:, list(model.lid_expr)],
        true_landmarks_px=person.landmarks_px[at],
        bilabial=bilabial_frames(truth)[at],
    )


def _record(spec: DialogueSpec, model: HeadModel, video: Path) -> Truth:
    """Render, add sensor noise, encode."""
    truth, rendered = _draw(spec, model)
    write_video(video, _noisy(rendered, spec.seed), spec, make_script(spec).mix)
    return truth


def _noisy(frames: Iterator[Image], seed: int) -> Iterator[Image]:
    rng = np.random.default_rng([seed, 7])
    for frame in frames:
        noise = rng.standard_normal(frame.shape, np.float32) * np.float32(SENSOR_NOISE)
        yield np.clip(np.rint(frame + noise), 0, 255).astype(np.uint8)


def _detect(video: Path, out: Path) -> tuple[dict[str, Path], float]:
    """Run the stages up to the landmarks. -> artefact folders, seconds of tracks and landmarks."""
    finished = run_stages(load_recipe("demo", upstream_of("landmarks")), video, Places(out), workers=1, quiet=True)
    ended = {row.stage: row for row in finished.entries}
    if ended.get("landmarks") is None or ended["landmarks"].status != "ok":
        last = finished.entries[-1]
        raise SystemExit(f"{video.name} ended at {last.stage}: {last.status} {last.reason} {last.values}")
    folders = {stage: Path(row.path) for stage, row in ended.items() if row.path}
    return folders, sum(ended[stage].wall_s for stage in ("tracks", "landmarks"))


def _measure(video: Path, found: dict[str, Path], truth: Truth) -> tuple[Evidence, Image, Array]:
    """Landmarks on the ticks, and the window of every tick's frame around them."""
    tracks = read_table(found["tracks"] / "tracks.parquet", ["track", "tick", "shot", "detected"])
    landmarks = read_table(found["landmarks"] / "landmarks.parquet", list(LANDMARK_COLUMNS))
    own = np.unique(tracks["track"])
    evidence = gather(tracks, landmarks, {"track": own, "person": np.zeros_like(own)}, 0, 0, truth.n_ticks)
    size_px = (truth.spec.width_px, truth.spec.height_px)
    origin_px = window_origin_px(evidence.landmarks_px, evidence.usable, size_px)
    pts = read_table(found["ingest"] / "ticks.parquet")["pts"]
    frames = np.zeros((truth.n_ticks, WINDOW_PX, WINDOW_PX, 3), np.uint8)
    with VideoReader(video) as reader:
        for t, (_, rgb) in enumerate(reader.frames(pts.tolist())):
            x, y = origin_px[t]
            frames[t] = rgb[y : y + WINDOW_PX, x : x + WINDOW_PX]
    return evidence, frames, origin_px


def window_origin_px(landmarks_px: Array, usable: Array, size_px: tuple[int, int]) -> Array:
    """Top left (T, 2) int32 of the window around the landmarks' mean, inside the frame.

    A frame without landmarks keeps the window of the nearest frame that has some.
    """
    at = np.flatnonzero(usable)
    nearest = at[np.abs(np.arange(len(usable))[:, None] - at).argmin(1)]
    corner = np.rint(landmarks_px[nearest].mean(1) - WINDOW_PX / 2)
    return np.asarray(np.clip(corner, 0, np.array(size_px) - WINDOW_PX), np.int32)


def bilabial_frames(truth: Truth) -> npt.NDArray[np.int32]:
    """Number of the bilabial that person 0 speaks at each frame's time, (N,) int32; -1 where there is none."""
    out = np.full(truth.n_frames, -1, np.int32)
    own = [p for p in truth.phonemes if p.person == 0 and p.ipa and p.ipa in _BILABIALS]
    for number, p in enumerate(own):
        out[(truth.frame_times_s >= p.start_s) & (truth.frame_times_s < p.end_s)] = number
    return out
