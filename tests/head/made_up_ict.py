"""A folder with the names, counts and order of ICT-FaceKit, but with a face of our own: the built-in one, resampled."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy.interpolate import griddata

from dialogbuild.head.ict_parts import N_POLYGONS, N_VERTICES, PARTS
from dialogbuild.head.procedural.fields import load_core
from dialogbuild.head.procedural.landmarks import IBUG68

EXPRESSIONS = ("eyeBlink_L", "eyeBlink_R", "jawOpen", "mouthSmile_L")
SHIFT_CM, SCALE = np.array([0.0, 4.0, 10.0]), 1.05
_GRID = 82  # 82 x 82 >= the narrow face's vertices


def made_up_points() -> tuple[np.ndarray, np.ndarray]:
    """Vertices (26719, 3) cm and the 68 landmark vertices."""
    rng = np.random.default_rng(0)
    face = load_core().neutral * SCALE + SHIFT_CM
    v = rng.uniform(-1, 1, (N_VERTICES, 3)) * [6, 8, 6] - [0, 3, 2]
    low, high = face[:, :2].min(0), face[:, :2].max(0)
    xy = np.stack(np.meshgrid(np.linspace(low[0], high[0], _GRID), np.linspace(low[1], high[1], _GRID)), -1)
    xy = xy.reshape(-1, 2)[: PARTS["narrow_face"][1]]
    z = griddata(face[:, :2], face[:, 2], xy)
    v[: len(xy), :2], v[: len(xy), 2] = xy, np.where(np.isnan(z), griddata(face[:, :2], face[:, 2], xy, "nearest"), z)
    ids = np.argmin(np.linalg.norm(v[None, : len(xy)] - face[list(IBUG68)][:, None], axis=-1), axis=1)
    v[ids] = face[list(IBUG68)]
    for name, side in (("left_eye", 1), ("right_eye", -1)):
        a, b = PARTS[name]
        ball = rng.normal(size=(b - a, 3))
        centre = load_core().eye_centres[0 if side > 0 else 1] * SCALE + SHIFT_CM
        v[a:b] = centre + 1.3 * ball / np.linalg.norm(ball, axis=1, keepdims=True)
    return v, ids


def below_mouth(v: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """(26719,) bool: what the opening mouth takes along."""
    seam = v[landmarks[[62, 66]], 1].mean()
    return (np.arange(len(v)) < PARTS["narrow_face"][1]) & (v[:, 1] < seam) & (np.abs(v[:, 0]) < 4)


def made_up_polygons(below: np.ndarray) -> np.ndarray:
    """(26384, 4) vertex rows: a grid on the face with a slit where the mouth is, anything within a part elsewhere."""
    rng = np.random.default_rng(1)
    out = rng.integers(*PARTS["head"], (N_POLYGONS, 4))
    r, c = np.divmod(np.arange(6560), _GRID - 1)
    a = r * _GRID + c
    grid = np.stack([a, a + 1, a + _GRID + 1, a + _GRID], 1)
    slit = below[grid].any(1) & ~below[grid].all(1)
    grid[slit] = grid[slit][:, :1]
    out[:6560] = grid
    for name, (start, stop) in {"left_eye": (21496, 23094), "right_eye": (23094, 24692)}.items():
        out[start:stop] = rng.integers(*PARTS[name], (stop - start, 4))
    out[24692:] = rng.integers(24591, N_VERTICES, (N_POLYGONS - 24692, 4))
    return out


def write_obj(path: Path, v: np.ndarray, polygons: np.ndarray) -> None:
    lines = [
        "# made up",
        "mtllib ../../elsewhere.mtl",
        *(f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in v),
        "vt 0 0",
        "vt 1 1",
    ]
    for k, polygon in enumerate(polygons + 1):
        corners = polygon[:3] if k >= 24692 else polygon  # both kinds are in the official files
        lines.append("f " + " ".join(f"{i}/{1 + i % 2}" for i in corners))
    path.write_text("\n".join(lines) + "\n")


def write_folder(folder: Path, n_identity: int = 3) -> Path:
    """All the files; every direction moves the whole face by known amounts."""
    folder.mkdir(parents=True, exist_ok=True)
    v, landmarks = made_up_points()
    below = below_mouth(v, landmarks)
    polygons = made_up_polygons(below)
    write_obj(folder / "generic_neutral_mesh.obj", v, polygons)
    for k in range(n_identity):
        write_obj(folder / f"identity{k:03d}.obj", v + 0.1 * np.sin(v[:, [1, 2, 0]] / (3 + k)), polygons)
    for k, name in enumerate(EXPRESSIONS):
        move = np.outer(below, [0, -2.5, 0]) if name == "jawOpen" else 0.2 * np.cos(v / (2 + k))
        write_obj(folder / f"{name}.obj", v + move, polygons)
    table = {"expressions": list(EXPRESSIONS), "idx_to_landmark_verts": [int(i) for i in landmarks]}
    (folder / "vertex_indices.json").write_text(json.dumps(table))
    return folder
