"""The interface of every head model: plain arrays, checked once, hashed once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dialogbuild.errors import ConfigError
from dialogbuild.head.albedo import Albedo

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int32]

JOINT_NAMES = ("root", "neck", "jaw", "left_eye", "right_eye")
PARENTS = (-1, 0, 1, 1, 1)
ROOT, NECK, JAW, LEFT_EYE, RIGHT_EYE = range(5)


@dataclass(frozen=True, eq=False)
class Embedding:
    """Landmarks as points on triangles.

    Args:
        face_idx: (N,) int32, row of ``HeadModel.faces``.
        bary: (N, 3) float32, barycentric weights in the order of that row, sum 1.
        index: (N,) int32, which landmark of the scheme each row is; a partial embedding leaves landmarks out.
    """

    face_idx: IntArray
    bary: FloatArray
    index: IntArray

    def __len__(self) -> int:
        return len(self.index)

    def vertices(self, faces: IntArray) -> IntArray:
        """The (N, 3) vertex ids that the rows blend."""
        return np.asarray(faces[self.face_idx])

    def points(self, vertices: NDArray[Any], faces: IntArray) -> NDArray[Any]:
        """Landmark positions (..., N, k) from vertex positions (..., V, k)."""
        corners = vertices[..., self.vertices(faces), :]
        return np.asarray(np.einsum("...nck,nc->...nk", corners, self.bary.astype(vertices.dtype)))


@dataclass(frozen=True, eq=False, repr=False)
class HeadModel:
    """A linear-blendshape head with FLAME's joints and axes (x to the subject's left, y up, z out of the face).

    Args:
        model_id: name and release, written into every shard. Coefficients of two ids are never comparable.
        sha256: hash of what the model was made from (the file, or the generator and its constants).
        licence: SPDX id or a sentence.
        v_template: (V, 3) float32, metres.
        faces: (F, 3) int32, counter-clockwise seen from outside.
        uv, uv_faces: (U, 2) float32 in [0, 1] with v up, (F, 3) int32.
        shape_dirs, expr_dirs: (V, 3, S) and (V, 3, E) float32, metres per unit coefficient (1 = one sigma).
        pose_dirs: (V, 3, 36) float32 or None: corrections for the 9 entries of R - I of joints 1 to 4.
        j_regressor: (5, V) float32, joints from the unposed, shaped vertices.
        parents: (-1, 0, 1, 1, 1).
        weights: (V, 5) float32, rows sum to 1.
        shape_names, expr_names: S and E unique names.
        lid_expr: indices of the expressions that close the subject's left and right eye at coefficient 1, or None.
        landmarks: embeddings by scheme: ``mp478`` and ``ibug68`` define the points, ``mediapipe`` is where the detector
            sees those of ``mp478`` on this model, if that has been measured.
        masks: sorted vertex ids by region.
        albedo: colours of people at the V vertices, or None where nobody has measured them.

    Raises:
        ConfigError: a shape, dtype, index or sum is wrong; the message names the array.
    """

    model_id: str
    sha256: str
    licence: str
    v_template: FloatArray
    faces: IntArray
    uv: FloatArray
    uv_faces: IntArray
    shape_dirs: FloatArray
    expr_dirs: FloatArray
    pose_dirs: FloatArray | None
    j_regressor: FloatArray
    parents: tuple[int, ...]
    weights: FloatArray
    shape_names: tuple[str, ...]
    expr_names: tuple[str, ...]
    lid_expr: tuple[int, int] | None
    landmarks: Mapping[str, Embedding]
    masks: Mapping[str, IntArray]
    albedo: Albedo | None = None

    def __post_init__(self) -> None:
        _check(self)
        for array in self._arrays():
            array.flags.writeable = False

    def __repr__(self) -> str:
        sizes = f"V={self.n_vertices}, F={len(self.faces)}, S={self.n_shape}, E={self.n_expr}"
        return f"HeadModel({self.model_id!r}, {sizes}, sha256={self.sha256[:12]})"

    def _arrays(self) -> Iterable[NDArray[Any]]:
        yield from (v for v in vars(self).values() if isinstance(v, np.ndarray))
        yield from self.masks.values()
        for embedding in self.landmarks.values():
            yield from (embedding.face_idx, embedding.bary, embedding.index)

    @property
    def n_vertices(self) -> int:
        """V."""
        return len(self.v_template)

    @property
    def n_shape(self) -> int:
        """S."""
        return self.shape_dirs.shape[2]

    @property
    def n_expr(self) -> int:
        """E."""
        return self.expr_dirs.shape[2]

    @cached_property
    def joint_template(self) -> NDArray[np.float64]:
        """Joints of the template, (5, 3) metres."""
        return self.j_regressor.astype(np.float64) @ self.v_template

    @cached_property
    def joint_shape_dirs(self) -> NDArray[np.float64]:
        """How identity moves the joints, (5, 3, S) metres."""
        return np.tensordot(self.j_regressor.astype(np.float64), self.shape_dirs, (1, 0))

    @cached_property
    def joint_expr_dirs(self) -> NDArray[np.float64]:
        """How expression moves the joints, (5, 3, E) metres; zero for the procedural head."""
        return np.tensordot(self.j_regressor.astype(np.float64), self.expr_dirs, (1, 0))


def hash_arrays(parts: Mapping[str, NDArray[Any]]) -> str:
    """sha256 of named arrays: name, dtype, shape and bytes, in sorted order of names."""
    digest = hashlib.sha256()
    for name in sorted(parts):
        array = np.ascontiguousarray(parts[name])
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _check(m: HeadModel) -> None:
    v, f = len(m.v_template), len(m.faces)
    s, e, j = len(m.shape_names), len(m.expr_names), len(JOINT_NAMES)
    expected: dict[str, tuple[tuple[int, ...], type]] = {
        "v_template": ((v, 3), np.float32),
        "faces": ((f, 3), np.int32),
        "uv": ((len(m.uv), 2), np.float32),
        "uv_faces": ((f, 3), np.int32),
        "shape_dirs": ((v, 3, s), np.float32),
        "expr_dirs": ((v, 3, e), np.float32),
        "j_regressor": ((j, v), np.float32),
        "weights": ((v, j), np.float32),
    }
    if m.pose_dirs is not None:
        expected["pose_dirs"] = ((v, 3, 9 * (j - 1)), np.float32)
    for name, (shape, dtype) in expected.items():
        array = getattr(m, name)
        if array.shape != shape or array.dtype != dtype:
            raise ConfigError(f"{m.model_id}: {name} is {array.dtype}{array.shape}, not {np.dtype(dtype)}{shape}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ConfigError(f"{m.model_id}: {name} has a value that is not finite")
    if m.parents != PARENTS:
        raise ConfigError(f"{m.model_id}: the joints' parents are {m.parents}, not {PARENTS}")
    if np.abs(m.weights.sum(1) - 1).max(initial=0) > 1e-3 or m.weights.min(initial=0) < -1e-4:
        raise ConfigError(f"{m.model_id}: skinning weights must be >= 0 and sum to 1 per vertex")
    if np.abs(m.j_regressor.sum(1) - 1).max() > 1e-3:
        raise ConfigError(f"{m.model_id}: rows of j_regressor must sum to 1")
    if m.albedo is not None and len(m.albedo.mean) != v:
        raise ConfigError(f"{m.model_id}: albedo has {len(m.albedo.mean)} vertices, not {v}")
    _check_indices(m, v, f)


def _check_indices(m: HeadModel, v: int, f: int) -> None:
    if len(set(m.shape_names)) != len(m.shape_names) or len(set(m.expr_names)) != len(m.expr_names):
        raise ConfigError(f"{m.model_id}: coefficient names repeat")
    if m.lid_expr is not None and not all(0 <= i < len(m.expr_names) for i in m.lid_expr):
        raise ConfigError(f"{m.model_id}: lid_expr {m.lid_expr} is outside the {len(m.expr_names)} expressions")
    _check_range(m, "faces", m.faces, v)
    _check_range(m, "uv_faces", m.uv_faces, len(m.uv))
    for name, ids in m.masks.items():
        _check_range(m, f"masks[{name}]", ids, v)
    for name, e in m.landmarks.items():
        _check_range(m, f"landmarks[{name}]", e.face_idx, f)
        if not len(e.face_idx) == len(e.bary) == len(e.index) or e.bary.shape[1:] != (3,):
            raise ConfigError(f"{m.model_id}: landmarks[{name}] has arrays of different lengths")
        if np.abs(e.bary.sum(1) - 1).max(initial=0) > 1e-3:
            raise ConfigError(f"{m.model_id}: landmarks[{name}] has barycentric weights that do not sum to 1")


def _check_range(m: HeadModel, name: str, ids: NDArray[Any], stop: int) -> None:
    if ids.size and (ids.min() < 0 or ids.max() >= stop):
        raise ConfigError(f"{m.model_id}: {name} has an index outside 0..{stop - 1}")
