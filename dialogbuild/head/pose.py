"""Posing a head: blendshapes, then linear blend skinning in FLAME's order.

Source: T. Li et al., "Learning a model of facial shape and expression from 4D scans" (SIGGRAPH
Asia 2017). As in the authors' released code, joints are regressed from the vertices with identity *and* expression
applied, before pose corrections.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dialogbuild.errors import ConfigError
from dialogbuild.head.camera import CAM_FROM_HEAD
from dialogbuild.head.model import FloatArray, HeadModel
from dialogbuild.head.rotation import rodrigues

# Frames posed at once: keeps the (frames, V, 12) blend of transforms in cache-friendly blocks of ~10 MB.
_BLOCK_FRAMES = 16


@dataclass(frozen=True, eq=False)
class HeadPose:
    """One person over T frames. Axis-angle radians, head axes; translation in camera axes, metres.

    Args:
        shape: (S,) identity coefficients.
        expr: (T, E).
        root_rad, neck_rad, jaw_rad: (T, 3).
        eyes_rad: (T, 6), the subject's left eye then right eye.
        transl_m: (T, 3).

    Raises:
        ConfigError: arrays disagree about T or have a wrong width.
    """

    shape: FloatArray
    expr: FloatArray
    root_rad: FloatArray
    neck_rad: FloatArray
    jaw_rad: FloatArray
    eyes_rad: FloatArray
    transl_m: FloatArray

    def __post_init__(self) -> None:
        n = len(self.expr)
        widths = {"root_rad": 3, "neck_rad": 3, "jaw_rad": 3, "eyes_rad": 6, "transl_m": 3}
        for name, width in widths.items():
            if getattr(self, name).shape != (n, width):
                raise ConfigError(f"HeadPose.{name} is {getattr(self, name).shape}, not {(n, width)}")
        if self.shape.ndim != 1 or self.expr.ndim != 2:
            raise ConfigError(f"HeadPose.shape and expr are {self.shape.shape} and {self.expr.shape}, not (S,), (T, E)")

    def __len__(self) -> int:
        return len(self.expr)

    def frames(self, selection: Any) -> HeadPose:
        """The pose of some frames: a slice or an index array."""
        names = ("expr", "root_rad", "neck_rad", "jaw_rad", "eyes_rad", "transl_m")
        return replace(self, **{name: getattr(self, name)[selection] for name in names})


def neutral_pose(model: HeadModel, n_frames: int = 1, distance_m: float = 0.7) -> HeadPose:
    """The mean person with a closed mouth, looking at the camera from ``distance_m``."""
    zeros = np.zeros((n_frames, 3), np.float32)
    transl = zeros.copy()
    transl[:, 2] = distance_m
    return HeadPose(
        np.zeros(model.n_shape, np.float32),
        np.zeros((n_frames, model.n_expr), np.float32),
        zeros,
        zeros.copy(),
        zeros.copy(),
        np.zeros((n_frames, 6), np.float32),
        transl,
    )


def joints_at(model: HeadModel, shape: NDArray[Any], expr: NDArray[Any]) -> NDArray[np.float64]:
    """Unposed joints (T, 5, 3) in metres, from (S,) identity and (T, E) expression."""
    still = model.joint_template + model.joint_shape_dirs @ shape.astype(np.float64)
    moved = np.tensordot(expr.astype(np.float64), model.joint_expr_dirs, (1, 2))
    return np.asarray(still + moved)


def joint_transforms(
    model: HeadModel, pose: HeadPose
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Skinning transforms of the five joints.

    Returns:
        global rotations (T, 5, 3, 3), offsets (T, 5, 3) so that a vertex of joint j goes to ``R_j v + o_j``,
        and the local rotations (T, 5, 3, 3) that drive pose corrections.
    """
    joints = joints_at(model, pose.shape, pose.expr)
    angles = np.concatenate([pose.root_rad, pose.neck_rad, pose.jaw_rad, pose.eyes_rad], 1).reshape(-1, 5, 3)
    local = rodrigues(angles)
    rotation = np.empty_like(local)
    offset = np.empty_like(joints)
    for j, parent in enumerate(model.parents):
        if parent < 0:
            rotation[:, j] = local[:, j]
            posed = joints[:, j]
        else:
            rotation[:, j] = rotation[:, parent] @ local[:, j]
            posed = _apply(rotation[:, parent], joints[:, j]) + offset[:, parent]
        offset[:, j] = posed - _apply(rotation[:, j], joints[:, j])
    return rotation, offset, local


def _apply(rotation: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.einsum("tij,tj->ti", rotation, point))


def pose_head(model: HeadModel, pose: HeadPose, vertices: NDArray[Any] | None = None) -> FloatArray:
    """Vertices in head axes, before ``to_camera``.

    Args:
        model: the head, V vertices.
        pose: T frames; ``transl_m`` is not applied here.
        vertices: (V',) ids of the vertices wanted, or None for all of them.

    Returns:
        (T, V', 3) float32, metres.

    Raises:
        ConfigError: the pose has another number of coefficients than the model.
    """
    if pose.shape.shape != (model.n_shape,) or pose.expr.shape[1] != model.n_expr:
        raise ConfigError(
            f"{model.model_id} has {model.n_shape} shape and {model.n_expr} expression coefficients; "
            f"the pose has {pose.shape.shape[0]} and {pose.expr.shape[1]}"
        )
    rows = slice(None) if vertices is None else np.asarray(vertices)
    n = model.n_vertices if vertices is None else len(np.asarray(vertices))
    shaped = model.v_template[rows] + model.shape_dirs[rows] @ pose.shape.astype(np.float32)
    expr_dirs = model.expr_dirs[rows].reshape(n * 3, model.n_expr)
    pose_dirs = None if model.pose_dirs is None else model.pose_dirs[rows].reshape(n * 3, -1)
    weights = model.weights[rows]
    rotation, offset, local = joint_transforms(model, pose)
    affine = np.concatenate([rotation, offset[..., None]], -1).reshape(len(pose), 5, 12).astype(np.float32)
    features = (local[:, 1:] - np.eye(3)).reshape(len(pose), -1).astype(np.float32)
    out = np.empty((len(pose), n, 3), np.float32)
    for start in range(0, len(pose), _BLOCK_FRAMES):
        block = slice(start, start + _BLOCK_FRAMES)
        moved = (pose.expr[block].astype(np.float32) @ expr_dirs.T).reshape(-1, n, 3) + shaped
        if pose_dirs is not None:
            moved += (features[block] @ pose_dirs.T).reshape(-1, n, 3)
        blend = np.matmul(weights, affine[block]).reshape(-1, n, 3, 4)
        out[block] = np.einsum("tnij,tnj->tni", blend[..., :3], moved) + blend[..., 3]
    return out


def to_camera(x_head: NDArray[Any], transl_m: NDArray[Any]) -> FloatArray:
    """Head axes to camera axes: ``x_cam = CAM_FROM_HEAD x_head + transl_m``.

    Args:
        x_head: (T, N, 3) metres, from ``pose_head``.
        transl_m: (T, 3) metres in camera axes.

    Returns:
        (T, N, 3) float32.
    """
    flip = np.diag(CAM_FROM_HEAD).astype(np.float32)
    return np.asarray(x_head * flip + transl_m.astype(np.float32)[:, None, :], np.float32)
