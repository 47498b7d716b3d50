"""VHAP's export as GaussianAvatars reads it: a folder per person and clip.

    <track>/transforms.json  transforms_train.json  transforms_val.json  transforms_test.json
    <track>/flame_param/00000.npz    translation rotation neck_pose jaw_pose (1,3) eyes_pose (1,6) expr (1,100)
                                     shape (300,) static_offset (1,5023,3), float32
    <track>/canonical_flame_param.npz    the same with neutral pose; its presence is how the format is recognised
    <track>/images/00000_00.png          512x512

World axes are FLAME's (x right in the picture, y up, z towards the camera) with the origin in the source camera.
GaussianAvatars reads field of view and pose, and takes the principal point to be the picture's centre. A crop of a
face at the side of a frame breaks that. ``camera=centred`` (the default) therefore turns the camera towards the crop's
centre and resamples the picture by the homography of that rotation, which is exact; ``camera=crop`` leaves pictures as
they are, for readers that honour cx and cy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from dialogbuild.artifact import write_json
from dialogbuild.dataset.exporters import arrays
from dialogbuild.dataset.exporters.flame import require_flame
from dialogbuild.dataset.exporters.job import ExportReport, Format, Job, Options, new_export, option
from dialogbuild.dataset.exporters.turned import turned_cameras, warp
from dialogbuild.dataset.reader import Dataset, Person
from dialogbuild.dataset.schema import CROP_PX, ROLES

N_EXPR: Final = 100
N_SHAPE: Final = 300
N_VERTICES: Final = 5023
_AXES: Final = np.array([1.0, -1.0, -1.0])  # camera axes (y down, z forward) <-> FLAME and OpenGL (y up, z back)


@dataclass(frozen=True)
class VHAPOptions(Options):
    """Options of this format."""

    camera: str = option(
        "centred", "centred: turned so that the principal point is the centre; crop: as cut", ("centred", "crop")
    )
    images: bool = option(True, "write the pictures; without them only parameters and cameras")
    every: int = option(1, "take every n-th tick")
    shortest: int = option(25, "drop a person with fewer frames in a clip")
    test_percent: int = option(10, "share of the last frames that goes into transforms_test.json and _val.json")


def export(dataset: Dataset, out: Path, options: VHAPOptions | None = None) -> ExportReport:
    """Write one GaussianAvatars scene per track. Errors as ``new_export``; ConfigError for another head model."""
    options = options or VHAPOptions()
    with new_export(FORMAT, dataset, out, options) as job:
        require_flame(job, "GaussianAvatars (FLAME 2023)", N_EXPR, N_SHAPE)
        job.facts["camera"] = options.camera
        for row in job.rows():
            clip = dataset.read_clip(row["id"], families=("motion", "landmarks"), audio=False)
            for role in ROLES:
                person = clip.persons[role]
                ticks = np.flatnonzero(arrays.shown(person.motion) & person.landmarks["crop_ok"])[:: options.every]
                if len(ticks) < max(options.shortest, 2):
                    job.drop(f"{clip.id} {role}", f"only {len(ticks)} frames with a fitted head in the picture")
                    continue
                _scene(job, person, ticks, options)
                job.keep(clip.id)
    return job.report


def _scene(job: Job, person: Person, ticks: arrays.Array, options: VHAPOptions) -> None:
    name = job.name(str(person.track["track_id"]))
    k = arrays.crop_camera(person, ticks)
    turn = np.repeat(np.eye(3)[None], len(ticks), axis=0)
    if options.camera == "centred":
        k, turn, homography = turned_cameras(k)
    else:
        homography = turn
    for i, values in enumerate(_flame(person, ticks)):
        np.savez_compressed(job.path(name, "flame_param", f"{i:05d}.npz"), **values)
        if i == 0:
            neutral = {key: v if key in ("shape", "static_offset") else np.zeros_like(v) for key, v in values.items()}
            np.savez_compressed(job.path(name, "canonical_flame_param.npz"), **neutral)
    if options.images:
        _images(job, name, person, ticks, homography)
    frames = [_frame(i, int(tick), k[i], turn[i]) for i, tick in enumerate(ticks)]
    n_test = min(max(len(frames) * options.test_percent // 100, 1), len(frames) - 1)
    parts = {"": frames, "_train": frames[:-n_test], "_val": frames[-n_test:], "_test": frames[-n_test:]}
    for suffix, chosen in parts.items():
        write_json(job.path(name, f"transforms{suffix}.json"), _transforms(chosen))


def _flame(person: Person, ticks: arrays.Array) -> Iterator[dict[str, arrays.Float]]:
    motion = {name: values[ticks] for name, values in person.motion.items()}
    expr = arrays.to_width(motion["expr"], N_EXPR)
    shape = arrays.to_width(person.shape, N_SHAPE)
    offset = np.zeros((1, N_VERTICES, 3), np.float32)
    translation = (motion["transl_m"] * _AXES).astype(np.float32)
    names = {"rotation": "root_rad", "neck_pose": "neck_rad", "jaw_pose": "jaw_rad", "eyes_pose": "eyes_rad"}
    for i in range(len(ticks)):
        pose = {theirs: motion[ours][i : i + 1] for theirs, ours in names.items()}
        rest = {"expr": expr[i : i + 1], "shape": shape, "static_offset": offset}
        yield {"translation": translation[i : i + 1], **pose, **rest}


def _images(job: Job, name: str, person: Person, ticks: arrays.Array, homography: arrays.Array) -> None:
    import cv2

    for i, image in enumerate(person.frames(ticks)):
        path = job.path(name, "images", f"{i:05d}_00.png")
        picture = warp(image, homography[i])
        ok, data = cv2.imencode(".png", picture[..., ::-1])
        if not ok:
            raise OSError(f"{path} could not be encoded")
        path.write_bytes(data.tobytes())


def _intrinsics(k: arrays.Array) -> dict[str, float | int]:
    angle = {a: 2 * float(np.arctan(CROP_PX / 2 / k[j, j])) for j, a in ((0, "camera_angle_x"), (1, "camera_angle_y"))}
    place = {"fl_x": float(k[0, 0]), "fl_y": float(k[1, 1]), "cx": float(k[0, 2]), "cy": float(k[1, 2])}
    return {**place, "w": CROP_PX, "h": CROP_PX, **angle}


def _frame(i: int, tick: int, k: arrays.Array, turn: arrays.Array) -> dict[str, Any]:
    """One entry of ``frames``. ``turn`` takes the source camera's axes to this camera's; poses are camera to world."""
    pose = np.eye(4)
    pose[:3, :3] = _AXES[:, None] * turn.T * _AXES
    return {
        "timestep_index": i,
        "timestep_index_original": tick,
        "timestep_id": f"{tick:05d}",
        "camera_index": 0,
        "camera_id": "0",
        **_intrinsics(k),
        "transform_matrix": pose.tolist(),
        "file_path": f"images/{i:05d}_00.png",
        "flame_param_path": f"flame_param/{i:05d}.npz",
    }


def _transforms(frames: list[dict[str, Any]]) -> dict[str, Any]:
    shared = ("fl_x", "fl_y", "cx", "cy", "w", "h", "camera_angle_x", "camera_angle_y")
    timesteps = [frame["timestep_index"] for frame in frames]
    return {
        **{name: frames[0][name] for name in shared},
        "timestep_indices": timesteps,
        "camera_indices": [0],
        "frames": frames,
    }


FORMAT = Format(
    name="vhap",
    consumer="GaussianAvatars and other readers of VHAP's export",
    writes="a folder per person and clip: transforms, FLAME parameters, pictures",
    lost=(
        "sound, speech, and the link between the two persons of a conversation",
        "eyelids: FLAME has no lid parameters",
        "a thin border of the pictures is black where the turned camera sees beyond the crop (camera=centred)",
        "foreground masks: pictures have their background; run a matting tool, or train with it",
        "vertex offsets: static_offset is zeros, nothing beyond FLAME's shape was fitted",
        "one camera only: transforms_val.json holds the test frames, there is no second view",
        "sigmas, residuals and validity: only ticks at which the head is fitted or interpolated are written",
    ),
    options=VHAPOptions,
    export=export,
)
