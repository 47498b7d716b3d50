"""Makes ``procedural_core.npz``, the only constants of the procedural head, from a cartoon.

    python -m dialogbuild.head.generate            write the file anew
    python -m dialogbuild.head.generate --check    compare what it would write with the committed file

mediapipe's face mesh (Apache-2.0, in the wheel) reads 468 landmarks from drawings of our own; its tessellation
gives the triangles. The landmarks are made symmetric, scaled to 90 mm between the outer eye corners, and frozen with
their changes under a few variations of the drawing. Nothing else of the package needs mediapipe's geometry.
"""

from __future__ import annotations

import ast
import inspect
import io
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dialogbuild.errors import DialogbuildError, MissingPart
from dialogbuild.head.cartoon import VARIANTS, draw

CORE_PATH = Path(__file__).with_name("procedural_core.npz")
N_CONTROL = 468
OUTER_EYE_CORNERS = (33, 263)
OUTER_EYE_DISTANCE_CM = 9.0
CHECK_TOLERANCE_CM = 0.05
"""Inference differs in the last digits between CPUs: half a millimetre is far below what a changed drawing gives."""

# Points that a change of mouth, brow or outline moves least: forehead, nose bridge and root, temples.
_STABLE = (168, 6, 197, 9, 8, 151, 10, 67, 297, 103, 332, 127, 356, 234, 454, 21, 251, 193, 417, 122, 351)

Float64 = NDArray[np.float64]


def triangles() -> NDArray[np.int32]:
    """The 852 triangles of the face mesh, (852, 3), counter-clockwise seen from the front.

    mediapipe publishes them as a set of edges; its source lists the edges triangle by triangle.

    Raises:
        MissingPart: mediapipe is absent, or another release lists them otherwise.
    """
    source = inspect.getsource(_mediapipe("face_mesh_connections"))
    start = source.index("[", source.index("FACEMESH_TESSELATION"))
    edges = np.array(ast.literal_eval(source[start : source.index("])", start) + 1])).reshape(-1, 3, 2)
    if not (edges[:, :, 1] == np.roll(edges[:, :, 0], -1, 1)).all():
        raise MissingPart("this mediapipe lists its tessellation in another order; install mediapipe==0.10.21")
    return np.ascontiguousarray(edges[:, :, 0], np.int32)


def _mediapipe(module: str) -> Any:
    import importlib

    try:
        return importlib.import_module(f"mediapipe.python.solutions.{module}")
    except ImportError as error:
        raise MissingPart(
            "regenerating the head's constants needs mediapipe: pip install mediapipe==0.10.21"
        ) from error


def read_landmarks() -> dict[str, Float64]:
    """Landmarks (468, 3) of every cartoon variant: x to the subject's left, y up, z out of the face, canvas pixels.

    Raises:
        DialogbuildError: the detector finds no face in a drawing.
    """
    solution = _mediapipe("face_mesh").FaceMesh(
        static_image_mode=True, max_num_faces=1, refine_landmarks=True, min_detection_confidence=0.3
    )
    out: dict[str, Float64] = {}
    with warnings.catch_warnings(), solution:
        # protobuf's own call inside mediapipe 0.10.21
        warnings.filterwarnings("ignore", message=".*GetPrototype.*", category=UserWarning)
        for name, face in VARIANTS.items():
            image = draw(face)
            found = solution.process(image).multi_face_landmarks
            if not found:
                raise DialogbuildError(f"no face found in the cartoon {name!r}")
            points = np.array([[p.x, p.y, p.z] for p in found[0].landmark[:N_CONTROL]], np.float64)
            out[name] = np.asarray(points * [image.shape[1], -image.shape[0], -image.shape[1]], np.float64)
    return out


def mirror_pairs(points: Float64) -> tuple[NDArray[np.int32], float]:
    """The landmark opposite each landmark, (468,), and the x of the mirror plane.

    The pairing is the cheapest assignment of the points to their own mirror image, refined with the plane.
    """
    from scipy.optimize import linear_sum_assignment

    plane = float(points[list(OUTER_EYE_CORNERS), 0].mean())
    for _ in range(4):
        mirrored = points * [-1, 1, 1] + [2 * plane, 0, 0]
        cost = np.linalg.norm(points[:, None] - mirrored[None], axis=-1)
        _, pair = linear_sum_assignment(cost + cost.T)
        plane = float((points[:, 0] + points[pair, 0]).mean() / 2)
    if not (pair[pair] == np.arange(len(points))).all():
        raise DialogbuildError("the cartoon's landmarks do not pair up left and right")
    return pair.astype(np.int32), plane


def align(points: Float64, target: Float64) -> Float64:
    """``points`` under the similarity that brings their stable landmarks onto ``target``'s (Umeyama 1991)."""
    stable = list(_STABLE)
    source_mean, target_mean = points[stable].mean(0), target[stable].mean(0)
    source, goal = points[stable] - source_mean, target[stable] - target_mean
    u, singular, vt = np.linalg.svd(source.T @ goal)
    flip = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * flip) @ vt
    scale = (singular * flip).sum() / (source**2).sum()
    return np.asarray(scale * (points - source_mean) @ rotation + target_mean)


def build_core() -> dict[str, NDArray[Any]]:
    """The frozen arrays: ``neutral_cm``, ``delta_*_cm`` (468, 3), ``mirror`` (468,) and ``triangles`` (852, 3)."""
    landmarks = read_landmarks()
    neutral = landmarks["neutral"]
    mirror, plane = mirror_pairs(neutral)
    neutral = neutral - [plane, 0, 0]
    neutral = (neutral + neutral[mirror] * [-1, 1, 1]) / 2
    left, right = OUTER_EYE_CORNERS
    neutral *= OUTER_EYE_DISTANCE_CM / np.linalg.norm(neutral[left] - neutral[right])
    neutral -= [0, neutral[168, 1], neutral[168, 2]]
    core: dict[str, NDArray[Any]] = {"mirror": mirror.astype(np.int16)}
    facing = triangles()
    a, b, c = (neutral[facing[:, k]] for k in range(3))
    if np.median(np.cross(b - a, c - a)[:, 2]) < 0:
        facing = facing[:, ::-1]
    core["triangles"] = np.ascontiguousarray(facing, np.int16)
    core["neutral_cm"] = neutral.astype(np.float32)
    for name, points in landmarks.items():
        if name != "neutral":
            delta = align(points, neutral) - align(landmarks["neutral"], neutral)
            core[f"delta_{name}_cm"] = ((delta + delta[mirror] * [-1, 1, 1]) / 2).astype(np.float32)
    return core


def write_npz(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """An .npz whose bytes depend on the arrays only: sorted names, fixed dates."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(arrays):
            buffer = io.BytesIO()
            np.save(buffer, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, buffer.getvalue())


def differences(fresh: dict[str, NDArray[Any]], path: Path) -> list[str]:
    """What differs between new arrays and a written file, one line each; empty where they agree."""
    with np.load(path, allow_pickle=False) as stored:
        if sorted(stored.files) != sorted(fresh):
            return [f"arrays are {sorted(fresh)}, the file has {sorted(stored.files)}"]
        lines = []
        for name, array in fresh.items():
            gap = np.abs(array.astype(np.float64) - stored[name]).max()
            if gap > (CHECK_TOLERANCE_CM if name.endswith("_cm") else 0):
                lines.append(f"{name} differs by {gap:.4g}")
    return lines


def main(arguments: list[str]) -> int:
    """Entry of ``python -m dialogbuild.head.generate``; 0 on success, 1 if ``--check`` finds a difference."""
    core = build_core()
    if "--check" not in arguments:
        write_npz(CORE_PATH, core)
        sys.stdout.write(f"wrote {CORE_PATH.name}, {CORE_PATH.stat().st_size} bytes\n")
        return 0
    lines = differences(core, CORE_PATH)
    sys.stdout.write("\n".join([*lines, f"{len(lines)} differences from {CORE_PATH.name}"]) + "\n")
    return 1 if lines else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
