"""A random little head model with every part that the declared interface has, for tests of the solver's algebra."""

from __future__ import annotations

import numpy as np

from dialogbuild.head.model import Embedding, HeadModel


def tiny_head(
    seed: int = 0,
    n_expr: int = 7,
    n_shape: int = 5,
    pose_dirs: bool = True,
    moving_joints: bool = True,
    points: int = 60,
) -> HeadModel:
    """An ellipsoid of 0.1 m with smooth random directions, random skinning and landmarks inside its triangles."""
    rng = np.random.default_rng(seed)
    rows, columns = 12, 16
    lat, lon = np.meshgrid(np.linspace(0.2, np.pi - 0.2, rows), np.linspace(-2.6, 2.6, columns), indexing="ij")
    unit = np.stack([np.sin(lat) * np.sin(lon), np.cos(lat), np.sin(lat) * np.cos(lon)], -1).reshape(-1, 3)
    v = unit * np.array([0.07, 0.11, 0.09])
    at = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = at[:-1, :-1].ravel(), at[1:, :-1].ravel(), at[1:, 1:].ravel(), at[:-1, 1:].ravel()
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)

    def smooth(k: int, scale: float) -> np.ndarray:
        basis = np.concatenate([unit, unit**2, np.sin(3 * unit)], 1)
        return (scale * np.einsum("vb,bck->vck", basis, rng.normal(size=(9, 3, k)))).astype(np.float32)

    weights = rng.dirichlet([0.3, 3, 1, 0.4, 0.4], len(v))
    regressor = rng.dirichlet(np.full(len(v), 0.05), 5)
    if not moving_joints:
        regressor = np.full((5, len(v)), 1 / len(v))
    expr = smooth(n_expr, 0.002)
    if not moving_joints:
        expr -= expr.mean(axis=0, keepdims=True)
    front = np.flatnonzero(v[faces].mean(1)[:, 2] > 0.01)
    face_idx = np.sort(rng.choice(front, points, replace=points > len(front)))
    return HeadModel(
        model_id="tiny",
        sha256="0" * 64,
        licence="CC0-1.0",
        v_template=v.astype(np.float32),
        faces=faces,
        uv=np.zeros((3, 2), np.float32),
        uv_faces=np.zeros_like(faces),
        shape_dirs=smooth(n_shape, 0.002),
        expr_dirs=expr,
        pose_dirs=smooth(36, 0.0005) if pose_dirs else None,
        j_regressor=regressor.astype(np.float32),
        parents=(-1, 0, 1, 1, 1),
        weights=weights.astype(np.float32),
        shape_names=tuple(f"s{i}" for i in range(n_shape)),
        expr_names=tuple(f"e{i}" for i in range(n_expr)),
        lid_expr=None,
        landmarks={
            "mp478": Embedding(
                face_idx.astype(np.int32),
                rng.dirichlet([1, 1, 1], points).astype(np.float32),
                np.arange(points, dtype=np.int32),
            )
        },
        masks={"left_eye": np.array([3], np.int32), "right_eye": np.array([9], np.int32)},
    )
