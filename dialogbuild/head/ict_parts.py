"""What ICT-FaceKit's files do not say: joints, skinning, regions and face-mesh landmarks of its mesh.

Vertex and polygon ranges are those of the table in its README; only what can be drawn opaque is kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from dialogbuild.head.model import JAW, LEFT_EYE, NECK, RIGHT_EYE, ROOT, Embedding, FloatArray, IntArray
from dialogbuild.head.procedural import landmarks as mesh
from dialogbuild.head.procedural.fields import load_core
from dialogbuild.head.procedural.skinning import JAW_JOINT, NECK_JOINT, ROOT_JOINT, skin_weights
from dialogbuild.head.transfer import INNER, carry_landmarks, closest_points, similarity

Array = NDArray[np.float64]

N_VERTICES, N_POLYGONS = 26719, 26384
KEPT_VERTICES, KEPT_POLYGONS = 24591, 24692
"""Without tear film, blend and occlusion meshes and eyelash strips, which all need transparency."""
PARTS = {
    "narrow_face": (0, 6706), "face": (0, 9409), "head": (9409, 11248), "mouth": (11248, 13294),
    "left_rim": (13294, 13678), "right_rim": (13678, 14062), "gums": (14062, 17039), "teeth": (17039, 21451),
    "left_eye": (21451, 23021), "right_eye": (23021, 24591),
}  # fmt: skip
_FACE_POLYGONS = 6560
IRIS_RADIUS_CM = 0.59
_LID_CM, _NEAR_EYE_CM = 0.45, 2.5
_STILL_CM = 1e-4
_NOSE = (168, 4, 2, 129, 358, 48, 278, 98, 327)
_EAR_X_CM, _EAR_Y_CM = 7.3, (-3.0, 5.5)


def ids(name: str) -> NDArray[np.int64]:
    """Vertex ids of a part."""
    return np.arange(*PARTS[name])


def eye_centres(v_cm: Array) -> Array:
    """(2, 3), the subject's left then right: the sphere through each eyeball, by linear least squares."""
    out = []
    for name in ("left_eye", "right_eye"):
        points = v_cm[ids(name)]
        system = np.concatenate([2 * points, np.ones((len(points), 1))], 1)
        out.append(np.linalg.lstsq(system, (points**2).sum(1), rcond=None)[0][:3])
    return np.array(out)


def from_built_in(target68: Array) -> tuple[float, Array, Array]:
    """The similarity from the built-in head's centimetres to this mesh's, by the inner iBUG landmarks."""
    return similarity(load_core().neutral[list(mesh.IBUG68)][INNER], target68[INNER])


def skinning(v_cm: Array, target68: Array) -> FloatArray:
    """(V, 5): eyeballs follow their joints and the rest neck and root, as on the built-in head. The jaw moves nothing:
    this model opens its mouth by expressions."""
    scale, rotation, shift = from_built_in(target68)
    out = skin_weights((v_cm - shift) @ rotation / scale, np.zeros(len(v_cm)))
    for name in ("mouth", "left_rim", "right_rim", "gums", "teeth"):
        out[ids(name)] = np.eye(5)[NECK]
    out[ids("left_eye")], out[ids("right_eye")] = np.eye(5)[LEFT_EYE], np.eye(5)[RIGHT_EYE]
    return np.asarray(out, np.float32)


def regressor(v_cm: Array, expr_cm: Array, target68: Array) -> FloatArray:
    """(5, V): eye joints in the eyeballs' centres; root, neck and jaw where the built-in head has them, each carried by
    the 160 nearest vertices of the back of the head and the neck that no expression moves."""
    scale, rotation, shift = from_built_in(target68)
    out = np.zeros((5, len(v_cm)))
    moved = np.abs(expr_cm).max((1, 2)) if expr_cm.shape[2] else np.zeros(len(v_cm))
    head = ids("head")
    still = head[np.argsort(moved[head] > _STILL_CM, kind="stable")][: max(160, int((moved[head] <= _STILL_CM).sum()))]
    for joint, place in ((ROOT, ROOT_JOINT), (NECK, NECK_JOINT), (JAW, JAW_JOINT)):
        at = scale * rotation @ place + shift
        near = still[np.argsort(np.linalg.norm(v_cm[still] - at, axis=1), kind="stable")[:160]]
        out[joint, near] = _affine(v_cm[near], at)
    for joint, name, centre in zip((LEFT_EYE, RIGHT_EYE), ("left_eye", "right_eye"), eye_centres(v_cm), strict=True):
        out[joint, ids(name)] = _affine(v_cm[ids(name)], centre)
    return out.astype(np.float32)


def _affine(points: Array, at: Array) -> Array:
    """The smallest weights (N,) with sum 1 that give a place."""
    system = np.concatenate([points.T, np.ones((1, len(points)))])
    return np.asarray(np.linalg.lstsq(system, np.append(at, 1.0), rcond=None)[0])


def face_mesh(v_cm: Array, faces: IntArray, polygon: IntArray, target68: Array, opening_cm: Array | None) -> Embedding:
    """``mp478``: the face by ``carry_landmarks``, the irises from the eyeballs.

    Args:
        opening_cm: (V, 3) how the mouth opens, which tells the lower lip from the upper; None: not known.
    """
    allowed = polygon < _FACE_POLYGONS
    keep_out: dict[int, NDArray[np.bool_]] = {}
    if opening_cm is not None:
        drop = -opening_cm[faces, 1].mean(1)
        chin = np.linalg.norm(v_cm[faces].mean(1) - target68[8], axis=1) < 1.0
        lower = drop > 0.4 * np.median(drop[chin & allowed])
        corners = set(mesh.LIP_CORNERS)
        keep_out = {k: lower for k in mesh.UPPER_LIP if k not in corners}
        keep_out |= {k: ~lower for k in mesh.LOWER_LIP if k not in corners}
    skin = carry_landmarks(
        load_core().neutral, np.array(mesh.IBUG68), target68, v_cm, faces, allowed, keep_out
    )  # fmt: skip
    irises = _irises(v_cm, faces)
    return Embedding(
        np.concatenate([skin.face_idx, irises.face_idx]),
        np.concatenate([skin.bary, irises.bary]),
        np.concatenate([skin.index, irises.index]),
    )


def _irises(v_cm: Array, faces: IntArray) -> Embedding:
    """Pupil centre and the iris's edge towards +x, up, -x and down; right eye first, as in the face mesh."""
    rows, bary = [], []
    centres = eye_centres(v_cm)
    corners = v_cm[faces]
    for name, centre in (("right_eye", centres[1]), ("left_eye", centres[0])):
        lo, hi = PARTS[name]
        own = np.flatnonzero(((faces >= lo) & (faces < hi)).all(1) & (corners[..., 2].mean(1) > centre[2]))
        front = v_cm[lo:hi, 2].max()
        ring = IRIS_RADIUS_CM * np.array([[0, 0], [1, 0], [0, 1], [-1, 0], [0, -1]])
        at = np.concatenate([centre[:2] + ring, np.full((5, 1), front)], 1)
        at[1:, 2] = centre[2] + np.sqrt(max((front - centre[2]) ** 2 - IRIS_RADIUS_CM**2, 0))
        triangle, weights = closest_points(at, corners, own)
        rows.append(triangle)
        bary.append(weights)
    index = np.arange(mesh.N_FACE, mesh.N_FACE + 10, dtype=np.int32)
    return Embedding(np.concatenate(rows).astype(np.int32), np.concatenate(bary).astype(np.float32), index)


def region_masks(v_cm: Array, faces: IntArray, points: Array, target68: Array) -> dict[str, IntArray]:
    """Sorted vertex ids by region.

    Args:
        points: (478, 3) cm, the face-mesh landmarks on this head.
        target68: (68, 3) cm.
    """
    narrow, skin = ids("narrow_face"), v_cm[ids("narrow_face")]
    outline = points[list(mesh.OUTER_LIPS)]
    near_mouth = skin[:, 2] > outline[:, 2].min() - 1.5
    hull = points[list(_NOSE)][:, :2]
    hull = hull[ConvexHull(hull).vertices]
    brows = [
        _inside(skin[:, :2], points[[*upper, *lower[::-1]], :2])
        for upper, lower in (
            (mesh.LEFT_BROW_UPPER, mesh.LEFT_BROW_LOWER),
            (mesh.RIGHT_BROW_UPPER, mesh.RIGHT_BROW_LOWER),
        )
    ]
    regions: dict[str, NDArray[Any]] = {
        "face": narrow,
        "lips": narrow[_inside(skin[:, :2], outline[:, :2]) & near_mouth],
        "nose": narrow[_inside(skin[:, :2], hull)],
        "brows": narrow[brows[0] | brows[1]],
    }
    loops = (mesh.LEFT_EYE_LOOP, mesh.RIGHT_EYE_LOOP)
    for name, loop, centre in zip(("left_lid", "right_lid"), loops, eye_centres(v_cm), strict=True):
        near = np.linalg.norm(skin - centre, axis=1) < _NEAR_EYE_CM
        regions[name] = narrow[near & (_distance(skin, points[list(loop)]) < _LID_CM)]
    regions["skin"] = np.setdiff1d(narrow, regions["lips"])
    regions["mouth"] = np.concatenate([ids("mouth"), ids("gums")])
    for name in ("left_eye", "right_eye", "left_rim", "right_rim", "teeth"):
        regions[name] = ids(name)
    outer = np.concatenate([np.arange(PARTS["narrow_face"][1], PARTS["face"][1]), ids("head")])
    at = v_cm[outer]
    in_face = outer < PARTS["face"][1]
    ears = in_face & (np.abs(at[:, 0]) > _EAR_X_CM) & (at[:, 1] > _EAR_Y_CM[0]) & (at[:, 1] < _EAR_Y_CM[1])
    scale, rotation, shift = from_built_in(target68)
    home = (at - shift) @ rotation / scale
    neck = (home[:, 1] <= -3.0 - 0.25 * (home[:, 2] + 10)) & ~ears
    regions |= {"ears": outer[ears], "neck": outer[neck], "scalp": outer[~neck & ~ears]}
    return {name: np.unique(found).astype(np.int32) for name, found in regions.items()}


def _distance(points: Array, others: Array) -> Array:
    return np.asarray(np.linalg.norm(points[:, None] - others[None], axis=-1).min(1))


def _inside(points: Array, polygon: Array) -> NDArray[np.bool_]:
    """(N,) whether 2D points lie within a closed polygon: crossings of a ray."""
    x, y = points[:, 0, None], points[:, 1, None]
    (x0, y0), (x1, y1) = polygon.T, np.roll(polygon, -1, 0).T
    rise = np.where(y1 == y0, 1.0, y1 - y0)
    crosses = ((y0 > y) != (y1 > y)) & (x < x0 + (x1 - x0) * (y - y0) / rise)
    return np.asarray(crosses.sum(1) % 2 == 1)
