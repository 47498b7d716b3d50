"""Points on a head's surface at which pixels are compared, and what decides whether one can be compared.

A few thousand fixed points stand for the surface: skin, lips, lids, brows and eyeballs. Any leading part of the list is
a fair sample of the whole, so that coarse levels take the first thousand.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from dialogbuild.fit.regions import LIP_PAIRS
from dialogbuild.fit.rig import Rig, blended, build_rig
from dialogbuild.head.model import Embedding, HeadModel

Array = np.ndarray[Any, np.dtype[Any]]

# How many points a region gets per area, relative to plain skin: where the face moves or shows an edge, more.
DENSITY = {"lips": 4.0, "left_lid": 4.0, "right_lid": 4.0, "brows": 2.0}
EYES = ("left_eye", "right_eye")
_INNER_PARTS = (*EYES, "left_rim", "right_rim", "teeth", "mouth", "tongue")
_NEAR_LANDMARK_M = 0.02


@dataclass(frozen=True, eq=False)
class Surface:
    """N surface points of a head model, and the part of its mesh that can hide them.

    Attributes:
        rig: the N points (one corner each), neutral shape.
        embedding: the N points on the triangles of the whole model.
        eye: (N,) bool, on an eyeball.
        vertices: (V',) ids of the occluding mesh in the model;  faces: (F', 3) int32 into them.
        local: (N, 3) int32 and bary: (N, 3) float32, the points on that mesh.
        part: (F',) int32, 0 for skin;  lip: (F',) int32, 1 upper, 2 lower lip, 0 elsewhere;  rest_m: (F', 3) centroids.
    """

    rig: Rig
    embedding: Embedding
    eye: Array
    vertices: Array
    faces: Array
    local: Array
    bary: Array
    part: Array
    lip: Array
    rest_m: Array

    @property
    def n_points(self) -> int:
        """N."""
        return len(self.eye)

    def subset(self, rows: Array) -> Surface:
        """Some of the points; the occluding mesh stays."""
        e = self.embedding
        return replace(
            self,
            rig=self.rig.subset(rows),
            embedding=Embedding(e.face_idx[rows], e.bary[rows], e.index[rows]),
            eye=self.eye[rows],
            local=self.local[rows],
            bary=self.bary[rows],
        )


def build_surface(model: HeadModel, n_points: int = 4000, n_eye: int = 300, seed: int = 0) -> Surface:
    """Draw surface points, area-weighted with ``DENSITY``, in random order. Deterministic.

    Args:
        n_eye: of them on the visible fronts of the eyeballs, if the model has an ``left_eye`` and ``right_eye`` mask.
    """
    rng = np.random.default_rng(seed)
    faces, v = np.asarray(model.faces), model.v_template.astype(np.float64)
    corners = v[faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(cross, axis=1) / 2
    skin = area * _skin_faces(model, cross)
    for name, factor in DENSITY.items():
        skin = np.where(_inside(model, name), factor * skin, skin)
    eyes = area * _eye_fronts(model, corners)
    n_eye = n_eye if eyes.sum() > 0 else 0
    face_idx = np.concatenate([_draw(rng, skin, n_points - n_eye), _draw(rng, eyes, n_eye)])
    face_idx = face_idx[rng.permutation(len(face_idx))]
    a, b = np.sqrt(rng.random(len(face_idx))), rng.random(len(face_idx))
    bary = np.stack([1 - a, a * (1 - b), a * b], 1).astype(np.float32)
    embedding = Embedding(face_idx.astype(np.int32), bary, np.arange(len(face_idx), dtype=np.int32))
    return _assemble(model, embedding, eyes[face_idx] > 0)


def _draw(rng: np.random.Generator, weight: Array, count: int) -> Array:
    return rng.choice(len(weight), count, p=weight / weight.sum()) if count else np.zeros(0, np.int64)


def _inside(model: HeadModel, *names: str) -> Array:
    """(F,) bool: triangles with all corners in the union of some masks; all False where the model has none."""
    ids = [model.masks[name] for name in names if name in model.masks]
    member = np.zeros(model.n_vertices, bool)
    if ids:
        member[np.concatenate(ids)] = True
    return np.asarray(member[np.asarray(model.faces)].all(axis=1))


def _skin_faces(model: HeadModel, cross: Array) -> Array:
    """(F,) bool: the face. Without a mask it is what lies within 2 cm of a landmark and looks forward."""
    inner = _inside(model, *_INNER_PARTS)
    if "face" in model.masks:
        return _inside(model, "face", "lips", "left_lid", "right_lid") & ~inner
    scheme = "mp478" if "mp478" in model.landmarks else next(iter(model.landmarks))
    points = model.landmarks[scheme].points(model.v_template.astype(np.float64), model.faces)
    centre = model.v_template[np.asarray(model.faces)].mean(axis=1)
    near = cKDTree(points).query(centre)[0] < _NEAR_LANDMARK_M
    return np.asarray(near & (cross[:, 2] > 0) & ~inner)


def _eye_fronts(model: HeadModel, corners: Array) -> Array:
    """(F,) bool: triangles of the eyeballs' front halves."""
    out = np.zeros(len(corners), bool)
    for name in EYES:
        if name in model.masks:
            depth = model.v_template[model.masks[name], 2]
            out |= _inside(model, name) & (corners[..., 2].mean(axis=1) > np.median(depth))
    return out


def _assemble(model: HeadModel, embedding: Embedding, eye: Array) -> Surface:
    faces = np.asarray(model.faces)
    keep = _occluders(model, embedding)
    used, local_faces = np.unique(faces[keep], return_inverse=True)
    row = np.full(model.n_vertices, -1, np.int32)
    row[used] = np.arange(len(used))
    lip = _lip_side(model)[faces[keep]].max(axis=1)
    label = np.zeros(model.n_vertices, np.int32)
    for k, name in enumerate(_INNER_PARTS):
        if name in model.masks:
            label[model.masks[name]] = k + 1
    return Surface(
        rig=blended(build_rig(model, embedding)),
        embedding=embedding,
        eye=eye,
        vertices=used,
        faces=np.ascontiguousarray(local_faces.reshape(-1, 3), np.int32),
        local=row[faces[embedding.face_idx]],
        bary=embedding.bary,
        part=label[faces[keep][:, 0]],
        lip=lip.astype(np.int32),
        rest_m=model.v_template[faces[keep]].mean(axis=1).astype(np.float32),
    )


def _occluders(model: HeadModel, embedding: Embedding) -> Array:
    """(F,) bool: triangles that hold a point, lie within 3 cm of one, or belong to an inner part."""
    faces = np.asarray(model.faces)
    points = embedding.points(model.v_template.astype(np.float64), model.faces)
    near = cKDTree(points).query(model.v_template[faces].mean(axis=1))[0] < 0.03
    near[embedding.face_idx] = True
    hidden = _inside(model, "torso", "neck", "scalp", "ears")
    return np.asarray((near & ~hidden) | _inside(model, *_INNER_PARTS))


def _lip_side(model: HeadModel) -> Array:
    """(V,) int: 1 upper lip, 2 lower lip, 0 elsewhere. Closed lips touch, so that distance does not part them."""
    side = np.zeros(model.n_vertices, np.int64)
    scheme = model.landmarks.get("mp478")
    if scheme is None or "lips" not in model.masks:
        return side
    points = scheme.points(model.v_template.astype(np.float64), model.faces)
    row = {int(i): k for k, i in enumerate(scheme.index)}
    pairs = [(row[a], row[b]) for a, b in LIP_PAIRS if a in row and b in row]
    if not pairs:
        return side
    upper, lower = points[np.array(pairs)].transpose(1, 0, 2)
    seam = (upper + lower) / 2
    at = model.v_template[model.masks["lips"]].astype(np.float64)
    nearest = cKDTree(seam[:, :1]).query(at[:, :1])[1]  # by x: the seam runs from corner to corner
    side[model.masks["lips"]] = np.where(at[:, 1] > seam[nearest, 1], 1, 2)
    return side
