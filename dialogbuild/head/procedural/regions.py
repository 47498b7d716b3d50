"""Landmark embeddings and region masks of the procedural head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dialogbuild.head.model import Embedding, IntArray
from dialogbuild.head.procedural.fields import Array, Core, bump
from dialogbuild.head.procedural.landmarks import (
    IBUG68,
    INNER_LIPS,
    LEFT_BROW_LOWER,
    LEFT_BROW_UPPER,
    LEFT_EYE_LOOP,
    LEFT_NOSTRIL,
    N_FACE,
    NOSE_TIP,
    OUTER_LIPS,
    RIGHT_EYE_LOOP,
)
from dialogbuild.head.procedural.parts import EYE_COLUMNS, IRIS_RING
from dialogbuild.head.procedural.surface import Surface

# In the face mesh 468-472 are the iris of the subject's right eye and 473-477 of the left: the pupil's centre, then the
# edge towards +x, up, -x and down, checked on renders. Column 0 of the eyeball's grid points to +x.
_QUARTER = EYE_COLUMNS // 4

MEASURED_PATH = Path(__file__).parents[1] / "procedural_landmarks.npz"
"""Where the face-mesh detector sees its landmarks on this head; ``tools/calibrate_landmarks.py`` measures them."""


def embeddings(faces: IntArray, spans: dict[str, range]) -> dict[str, Embedding]:
    """``mp478`` (landmark i is vertex i for the face), ``ibug68``, and ``mediapipe`` where it has been measured."""
    iris = []
    for name in ("right_eye", "left_eye"):
        start = spans[name].start
        iris += [start] + [start + IRIS_RING * EYE_COLUMNS + k * _QUARTER for k in range(4)]
    mp478 = np.array([*range(N_FACE), *iris])
    out = {"mp478": _at_vertices(mp478, faces), "ibug68": _at_vertices(np.array(IBUG68), faces)}
    if MEASURED_PATH.is_file():
        with np.load(MEASURED_PATH, allow_pickle=False) as stored:
            rows = np.arange(len(stored["face_idx"]), dtype=np.int32)
            out["mediapipe"] = Embedding(stored["face_idx"], stored["bary"], rows)
    return out


def _at_vertices(ids: NDArray[np.int64], faces: IntArray) -> Embedding:
    """An embedding that is exactly a list of vertices."""
    order = np.argsort(faces.reshape(-1), kind="stable")
    first = order[np.searchsorted(faces.reshape(-1)[order], ids)]
    bary = np.eye(3, dtype=np.float32)[first % 3]
    return Embedding((first // 3).astype(np.int32), bary, np.arange(len(ids), dtype=np.int32))


def region_masks(core: Core, v: Array, surface: Surface, spans: dict[str, range]) -> dict[str, IntArray]:
    """Sorted vertex ids by region. ``face`` is the face mesh, ``skin`` face without lips and lid margins."""
    n_skin = len(spans["skin"])
    skin = v[:n_skin]
    is_shell = surface.shell_vertices(N_FACE)
    face = ~is_shell
    y, z = skin[:, 1], skin[:, 2]
    lips = _inside(skin[:, :2], skin[surface.along(OUTER_LIPS), :2])
    lids = [_lid(surface, skin, loop, centre) for loop, centre in zip(_loops(), core.eye_centres, strict=True)]
    mirrored = skin * [1, 1, 1]
    mirrored[:, 0] = np.abs(mirrored[:, 0])
    brow_line = core.neutral[list(LEFT_BROW_UPPER + LEFT_BROW_LOWER)]
    brows = np.max([bump(mirrored, p, 0.5) for p in brow_line], 0) > 0.5
    nose = (bump(mirrored, core.neutral[NOSE_TIP], (1.4, 1.6, 2.4)) > 0.35) | (
        bump(mirrored, core.neutral[LEFT_NOSTRIL], (0.7, 0.8, 1.2)) > 0.45
    )
    masks = {
        "face": face,
        "lips": lips & face,
        "left_lid": lids[0],
        "right_lid": lids[1],
        "brows": brows & face,
        "nose": nose & face,
        "scalp": is_shell & (y > -3.0 - 0.25 * (z + 10)) & (y > -7),
        "neck": is_shell & (y <= -3.0 - 0.25 * (z + 10)) & (y > -17.5),
        "torso": is_shell & (y <= -17.5),
    }
    rims = np.zeros(n_skin, bool)
    for loop in (*_loops(), INNER_LIPS):
        rims[surface.dense_loop(loop)] = True
    masks["skin"] = face & ~masks["lips"] & ~rims
    out = {name: np.flatnonzero(mask) for name, mask in masks.items()}
    for name, members in _PART_MASKS.items():
        out[name] = np.concatenate([np.arange(spans[m].start, spans[m].stop) for m in members])
    return {name: np.sort(ids).astype(np.int32) for name, ids in out.items()}


_PART_MASKS = {
    "left_eye": ("left_eye",),
    "right_eye": ("right_eye",),
    "left_rim": ("left_rim",),
    "right_rim": ("right_rim",),
    "teeth": ("upper_teeth", "lower_teeth"),
    "mouth": ("mouth",),
    "tongue": ("tongue",),
    "ears": ("left_ear", "right_ear"),
}


def _loops() -> tuple[tuple[int, ...], tuple[int, ...]]:
    return LEFT_EYE_LOOP, RIGHT_EYE_LOOP


def _inside(points: Array, polygon: Array) -> NDArray[np.bool_]:
    """(N,) whether 2D points lie within a closed polygon (crossing number), its corners included."""
    x, y = points[:, 0], points[:, 1]
    inside = np.zeros(len(points), bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        crosses = (y0 > y) != (y1 > y)
        slope = (x1 - x0) / (y1 - y0) if y1 != y0 else 0.0
        inside ^= crosses & (x < x0 + slope * (y - y0))
    corners = (points[:, None] == polygon[None]).all(2).any(1)
    return np.asarray(inside | corners)


def _lid(surface: Surface, skin: Array, loop: tuple[int, ...], centre: Array) -> NDArray[np.bool_]:
    """Both lids of one eye: within 3 mm of the margin's loop, on the skin."""
    margin = skin[surface.dense_loop(loop)]
    near = np.linalg.norm(skin - centre, axis=1) < 2.2
    distance = np.full(len(skin), np.inf)
    distance[near] = np.linalg.norm(skin[near, None] - margin[None], axis=-1).min(1)
    return distance < 0.45
