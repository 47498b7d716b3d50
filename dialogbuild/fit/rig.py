"""The head's landmark points as a function of a frame's parameters, with the full analytic Jacobian.

Linear blend skinning in FLAME's order (Li et al., SIGGRAPH Asia 2017), evaluated at the embedded vertices only::

    v   = template + shape beta + expr psi + pose_dirs vec(R_k - I, k = neck, jaw, eyes)
    R_k = product of the rotations from the root down to joint k;  p_k = posed position of joint k
    X_n = sum over corners m and joints k of  w_mk (R_k (v_m - j_k) + p_k),   w_mk = barycentric * skinning weight

Joints j move with shape and expression. A corner keeps its own weights, so a landmark inside a triangle is exact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dialogbuild.fit.params import N_RIGID
from dialogbuild.fit.regions import LEFT_IRIS, RIGHT_IRIS
from dialogbuild.head.camera import CAM_FROM_HEAD
from dialogbuild.head.model import PARENTS, Embedding, HeadModel
from dialogbuild.head.rotation import rodrigues

Array = np.ndarray[Any, np.dtype[Any]]
N_JOINTS = 5
ROTATIONS = ((0, 3), (6, 9), (9, 12), (12, 15), (15, 18))  # where theta holds root, neck, jaw, left eye, right eye
TRANSL = slice(3, 6)
FLIP = np.diag(CAM_FROM_HEAD)


@dataclass(frozen=True, eq=False)
class Rig:
    """Landmark points of a model with its shape applied. M = corners per point, N = points, J = 5.

    Attributes:
        index: (N,) which landmark of the scheme each point is.
        v: (M, N, 3) m, shaped neutral position of each corner.
        w: (M, N, J) barycentric times skinning weight; sums to 1 over M and J.
        expr: (M, N, 3, E);  pose: (M, N, 3, 36) or None;  shape_dirs: (M, N, 3, S).
        joints: (J, 3) m, shaped;  joint_dirs: (J, 3, S);  joint_expr: (J, 3, E), None if all 0.
        normals: (N, 3) unit outward normals of the neutral surface.
    """

    index: Array
    v: Array
    w: Array
    expr: Array
    pose: Array | None
    shape_dirs: Array
    joints: Array
    joint_dirs: Array
    joint_expr: Array | None
    normals: Array

    @property
    def n_points(self) -> int:
        """N."""
        return len(self.index)

    @property
    def size(self) -> int:
        """P, the length of theta that this rig takes."""
        return N_RIGID + int(self.expr.shape[-1])

    def with_shape(self, shape: Array) -> Rig:
        """The same points for another person: adds ``shape`` (S,) to the shape already applied."""
        b = np.asarray(shape, self.v.dtype)
        return replace(self, v=self.v + self.shape_dirs @ b, joints=self.joints + self.joint_dirs @ b)

    def astype(self, dtype: type[np.floating[Any]]) -> Rig:
        """The same rig in another precision: float32 is the fast one, float64 checks it."""
        new: dict[str, Any] = {}
        for name, value in vars(self).items():
            new[name] = value if value is None or name == "index" else value.astype(dtype)
        return Rig(**new)

    def subset(self, rows: Array) -> Rig:
        """Some of the points."""
        pose = None if self.pose is None else self.pose[:, rows]
        return replace(
            self,
            index=self.index[rows],
            v=self.v[:, rows],
            w=self.w[:, rows],
            expr=np.ascontiguousarray(self.expr[:, rows]),
            pose=pose,
            shape_dirs=self.shape_dirs[:, rows],
            normals=self.normals[rows],
        )

    def neutral(self) -> Array:
        """(N, 3) m, head axes: the points of the shaped head at rest, relative to the root joint."""
        return np.asarray(np.einsum("mnk,mnc->nc", self.w, self.v) - self.joints[0])


def build_rig(model: HeadModel, embedding: Embedding, dtype: type[np.floating[Any]] = np.float32) -> Rig:
    """Gather the rows of a model that its landmarks touch. Shape is the template's until ``with_shape``."""
    corners, bary = _corners(embedding, np.asarray(model.faces))
    ids = corners.T  # (M, N)
    b = bary.T.astype(np.float64)
    joint_expr = model.joint_expr_dirs
    pose = None if model.pose_dirs is None else np.asarray(model.pose_dirs)[ids].astype(dtype)
    return Rig(
        index=np.asarray(embedding.index),
        v=model.v_template[ids].astype(dtype),
        w=(b[..., None] * model.weights[ids]).astype(dtype),
        expr=np.ascontiguousarray(model.expr_dirs[ids], dtype),
        pose=pose,
        shape_dirs=np.ascontiguousarray(model.shape_dirs[ids], dtype),
        joints=model.joint_template.astype(dtype),
        joint_dirs=model.joint_shape_dirs.astype(dtype),
        joint_expr=joint_expr.astype(dtype) if np.abs(joint_expr).max(initial=0) > 1e-7 else None,
        normals=_normals(model, embedding).astype(dtype),
    )


def blended(rig: Rig) -> Rig:
    """One corner per point: what its triangle's corners give at its place.

    Skinning a blended point instead of blending skinned corners differs by micrometres, as weights hardly change
    within a triangle, and costs a third.
    """
    if len(rig.v) == 1:
        return rig
    b = rig.w.sum(axis=-1)

    def mix(rows: Array) -> Array:
        return np.ascontiguousarray(np.einsum("mn,mn...->n...", b, rows)[None], rows.dtype)

    return replace(
        rig,
        v=mix(rig.v),
        w=rig.w.sum(axis=0, keepdims=True),
        expr=mix(rig.expr),
        pose=None if rig.pose is None else mix(rig.pose),
        shape_dirs=mix(rig.shape_dirs),
    )


def _corners(embedding: Embedding, faces: Array) -> tuple[Array, Array]:
    """Corner vertices (N, M) and barycentric weights (N, M); M = 1 when every landmark sits on a vertex."""
    tri, bary = faces[embedding.face_idx], np.asarray(embedding.bary, np.float64)
    if np.all(bary.max(axis=1) > 1 - 1e-6):
        pick = bary.argmax(axis=1)[:, None]
        return np.take_along_axis(tri, pick, axis=1), np.ones((len(tri), 1))
    return tri, bary


def _normals(model: HeadModel, embedding: Embedding) -> Array:
    """Area-weighted vertex normals at the landmarks, (N, 3)."""
    v, faces = model.v_template.astype(np.float64), np.asarray(model.faces)
    a, b, c = v[faces[:, 0]], v[faces[:, 1]], v[faces[:, 2]]
    face_normal = np.cross(b - a, c - a)
    normal = np.zeros_like(v)
    for corner in range(3):
        np.add.at(normal, faces[:, corner], face_normal)
    at = np.einsum("nm,nmc->nc", embedding.bary, normal[faces[embedding.face_idx]])
    return np.asarray(at / np.maximum(np.linalg.norm(at, axis=1, keepdims=True), 1e-12))


@dataclass(frozen=True, eq=False)
class Posed:
    """What one evaluation of a rig leaves for its Jacobian. n = frames.

    Attributes:
        points: (n, N, 3) m, head axes after all rotations, before the camera.
        R: (n, J, 3, 3) local rotations;  R_global: (n, J, 3, 3);  joints, p: (n, J, 3) joints at rest and posed.
        blend: (M, n, N, 3, 3) blended rotation of each corner, barycentric weight included.
        v: (M, n, N, 3) unposed corner positions.
    """

    points: Array
    R: Array
    R_global: Array
    joints: Array
    p: Array
    blend: Array
    v: Array


def pose_points(rig: Rig, theta: Array) -> Posed:
    """Evaluate the landmark points at theta (n, P)."""
    theta = theta.astype(rig.v.dtype)
    R = np.stack([rodrigues(theta[:, a:b]) for a, b in ROTATIONS], axis=1).astype(rig.v.dtype)
    psi = theta[:, N_RIGID:]
    n, (M, N, _) = len(theta), rig.v.shape
    joints = np.broadcast_to(rig.joints, (n, N_JOINTS, 3))
    if rig.joint_expr is not None:
        joints = joints + np.tensordot(psi, rig.joint_expr, (1, 2))
    R_global, p = _chain(R, joints)
    v = np.matmul(psi, rig.expr.reshape(M, N * 3, -1).transpose(0, 2, 1)).reshape(M, n, N, 3) + rig.v[:, None]
    if rig.pose is not None:
        feature = (R[:, 1:] - np.eye(3, dtype=R.dtype)).reshape(n, 36)
        v = v + np.matmul(feature, rig.pose.reshape(M, N * 3, 36).transpose(0, 2, 1)).reshape(M, n, N, 3)
    offset = p - np.einsum("njab,njb->nja", R_global, joints)
    blend = np.matmul(rig.w[:, None], R_global.reshape(n, N_JOINTS, 9)).reshape(M, n, N, 3, 3)
    points = np.einsum("mnkab,mnkb->nka", blend, v) + np.matmul(rig.w.sum(axis=0), offset)
    return Posed(points, R, R_global, joints, p, blend, v)


def _chain(R: Array, joints: Array) -> tuple[Array, Array]:
    """Global rotations (n, J, 3, 3) and posed joints (n, J, 3) of the fixed tree root - neck - (jaw, eyes)."""
    R_global, p = np.empty_like(R), np.empty(R.shape[:3], R.dtype)
    R_global[:, 0], p[:, 0] = R[:, 0], joints[:, 0]
    for k in range(1, N_JOINTS):
        parent = PARENTS[k]
        R_global[:, k] = R_global[:, parent] @ R[:, k]
        bone = joints[:, k] - joints[:, parent]
        p[:, k] = p[:, parent] + np.einsum("nab,nb->na", R_global[:, parent], bone)
    return R_global, p


def project_points(points: Array, transl_m: Array, camera: tuple[float, float, float]) -> tuple[Array, Array]:
    """Head-axes points (n, N, 3) to pixels (n, N, 2), with the derivative of pixels by camera coordinates (n, N, 2, 3).

    Args:
        camera: focal_px, cx_px, cy_px.
    """
    focal, cx, cy = camera
    x = points * FLIP.astype(points.dtype) + transl_m[:, None].astype(points.dtype)
    inv_z = 1.0 / np.maximum(x[..., 2], 1e-3)
    uv = x[..., :2] * inv_z[..., None]
    D = np.zeros((*uv.shape, 3), points.dtype)
    D[..., 0, 0] = D[..., 1, 1] = focal * inv_z
    D[..., :, 2] = -focal * uv * inv_z[..., None]
    return focal * uv + np.array([cx, cy], points.dtype), D


def model_rig(model: HeadModel, scheme: str | None = None, dtype: type[np.floating[Any]] = np.float32) -> Rig:
    """The rig of a model's face-mesh landmarks. Iris centres are added where the model's embedding lacks them.

    Without a scheme it is ``mediapipe``, measured on the detector that is fitted to, where the model has it, else
    ``mp478``, the model's own definition.

    An added iris centre is the foremost vertex of the eyeball, which turns with the eye joint.

    Raises:
        ValueError: the model has no embedding of that scheme.
    """
    scheme = scheme or ("mediapipe" if "mediapipe" in model.landmarks else "mp478")
    if scheme not in model.landmarks:
        raise ValueError(f"{model.model_id} has no {scheme} landmarks; it has {sorted(model.landmarks)}")
    embedding = model.landmarks[scheme]
    faces = np.asarray(model.faces)
    extra = []
    for mask, index in (("left_eye", LEFT_IRIS[0]), ("right_eye", RIGHT_IRIS[0])):
        ids = model.masks.get(mask)
        if index not in embedding.index and ids is not None and len(ids):
            vertex = ids[model.v_template[ids, 2].argmax()]
            face, corner = np.argwhere(faces == vertex)[0]
            extra.append((face, np.eye(3, dtype=np.float32)[corner], index))
    if extra:
        face_idx, bary, added = zip(*extra, strict=True)
        embedding = Embedding(
            np.concatenate([embedding.face_idx, np.array(face_idx, np.int32)]),
            np.concatenate([embedding.bary, np.array(bary, np.float32)]),
            np.concatenate([embedding.index, np.array(added, np.int32)]),
        )
    return build_rig(model, embedding, dtype)
