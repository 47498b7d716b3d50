"""Identity: hand-made directions, turned into orthogonal ones of unit sigma.

Each mode below is meant as one standard deviation among adults: face breadth and height about 5 and 6 mm, nose 3 mm,
lips 2 mm. The sizes were set by hand and judged on renders of random people; they are not measured statistics. Modes
overlap, so their covariance is diagonalised: the directions are its principal ones, scaled to one sigma. A draw of
independent standard normals has the modes' covariance, less the few smallest directions that are dropped.
"""

from __future__ import annotations

import numpy as np

from dialogbuild.head.procedural.fields import Array, Core, along, bump, smoothstep
from dialogbuild.head.procedural.landmarks import (
    CHIN,
    GLABELLA,
    LEFT_CHEEK,
    LEFT_EYE_LOOP,
    LEFT_NOSTRIL,
    NOSE_TIP,
)
from dialogbuild.head.procedural.skull import spread

N_SHAPE = 32


def identity_modes(core: Core, controls: Array) -> dict[str, Array]:
    """Name -> (C, 3) displacement of all control points, face and shell, at one sigma, in centimetres."""
    modes = {**_proportions(core, controls), **_features(core, controls), **_distilled(core), **_asymmetry(controls)}
    rigid = {name: _keep_eyes_rigid(core, controls, field) for name, field in modes.items()}
    return {**rigid, **_eye_shapes(core, controls)}


def _proportions(core: Core, p: Array) -> dict[str, Array]:
    x, y, z = p.T
    zero = np.zeros(len(p))
    head = smoothstep(y, -17.0, -12.0)[:, None]
    front = smoothstep(z, -9.0, -3.0)
    return {
        "head_size": p * 0.022 * head,
        "face_height": np.stack([zero, 0.034 * y, zero], 1) * head,
        "face_breadth": np.stack([0.030 * x, zero, zero], 1) * head,
        "face_depth": np.stack([zero, zero, 0.05 * (z + 4) * front], 1) * head,
        "skull_length": np.stack([zero, zero, 0.04 * np.minimum(z + 8, 0)], 1) * head,
        "skull_height": np.stack([zero, 0.05 * np.maximum(y - 3.5, 0), zero], 1),
        "temples": along(
            np.sign(x) * bump(np.abs(p), [6.8, 2.2, 0], (2, 2.2, 1e3)) * smoothstep(z, -12, -6), [0.2, 0, 0]
        ),
        "jaw_breadth": np.stack([0.055 * x * smoothstep(y, -3, -8) * smoothstep(y, -16, -12), zero, zero], 1),
        "neck_girth": np.stack([0.06 * x, zero, 0.06 * (z + 10.5)], 1)
        * (smoothstep(y, -9, -13) * smoothstep(y, -17.2, -15.5))[:, None],
        "forehead_slope": along(smoothstep(y, 1.0, 6.0) * front, [0, 0, -0.45]),
    }


def _pair(p: Array, weight: Array, dx: float, dy: float, dz: float) -> Array:
    """A displacement that is mirrored in x, from a symmetric weight."""
    sign = np.sign(p[:, 0]) * np.minimum(np.abs(p[:, 0]) / 0.4, 1)
    return np.stack([weight * sign * dx, weight * dy, weight * dz], 1)


def _features(core: Core, p: Array) -> dict[str, Array]:
    q, left = core.neutral, p * [1, 1, 1]
    left[:, 0] = np.abs(p[:, 0])
    below = smoothstep(p[:, 1], -7.5, -11.5) * smoothstep(p[:, 2], -9, -4)
    ridge = bump(left, [2.6, 1.25, -0.6], (2.2, 0.7, 1.5)) + bump(left, q[GLABELLA], 0.9)
    # name: symmetric weight, then millimetre-scale displacement of the left side (dx, dy, dz) in cm
    table = {
        "chin_forward": (bump(left, q[CHIN], (2.0, 1.7, 3.0)), (0, 0, 0.32)),
        "chin_length": (below, (0, -0.30, 0)),
        "chin_breadth": (bump(left, q[378], (1.4, 1.4, 2.5)), (0.22, 0, 0.08)),
        "nose_length": (bump(left, q[NOSE_TIP], (1.5, 1.3, 2.0)), (0, -0.25, 0)),
        "nose_projection": (bump(left, q[NOSE_TIP], (1.3, 1.5, 2.2)), (0, 0, 0.26)),
        "nose_tilt": (bump(left, q[NOSE_TIP], (0.9, 0.7, 1.2)), (0, 0.20, 0.05)),
        "nose_breadth": (bump(left, q[LEFT_NOSTRIL], (0.8, 1.0, 1.3)), (0.17, 0, 0.02)),
        "nose_bridge": (bump(left, q[6] + [0, -0.4, 0], (0.8, 1.4, 2)), (0, 0, 0.20)),
        "lip_upper": (bump(left, q[0], (1.8, 0.30, 2)), (0, 0.13, 0.10)),
        "lip_lower": (bump(left, q[17], (1.7, 0.35, 2)), (0, -0.13, 0.10)),
        "mouth_breadth": (bump(left, q[291], (1.1, 1.0, 1.6)), (0.24, 0, -0.06)),
        "mouth_forward": (bump(left, (q[0] + q[17]) / 2, (2.2, 1.5, 3)), (0, 0, 0.22)),
        "cheekbone": (bump(left, [5.2, -1.9, -3.2], (1.5, 1.2, 2)), (0.15, 0.05, 0.22)),
        "cheek_full": (bump(left, q[LEFT_CHEEK] + [0.6, -1.4, -1], (1.8, 2.0, 2.5)), (0.26, 0, 0.26)),
        "brow_ridge": (ridge, (0, 0, 0.15)),
        "brow_height": (bump(left, [3.2, 1.8, -0.6], (2.4, 0.6, 2)), (0, 0.18, 0)),
        "eye_spacing": (bump(left, core.eye_centres[0], (2.0, 2.0, 3)), (0.15, 0, 0)),
        "eye_depth": (bump(left, core.eye_centres[0], (1.9, 1.6, 3)), (0, 0, -0.16)),
    }
    return {name: _pair(p, weight, *shift) for name, (weight, shift) in table.items()}


def _eye_shapes(core: Core, p: Array) -> dict[str, Array]:
    """Shape of the lids' opening: under 1.5 mm, along the eyeball's surface, so that the lids stay on it."""
    q, left = core.neutral, p * [1, 1, 1]
    left[:, 0] = np.abs(p[:, 0])
    outer, inner = (bump(left, q[LEFT_EYE_LOOP[k]], 0.65) for k in (0, 8))
    upper, lower = (bump(left, q[LEFT_EYE_LOOP[k]], (0.8, 0.35, 1)) for k in (4, 12))
    fields = {
        "eye_opening": _pair(p, upper, 0, 0.07, 0) + _pair(p, lower, 0, -0.05, 0),
        "eye_slant": _pair(p, outer, 0, 0.14, 0) + _pair(p, inner, 0, -0.06, 0),
        "eye_length": _pair(p, outer, 0.08, 0, 0) + _pair(p, inner, -0.05, 0, 0),
    }
    return {name: _tangential(core, p, field) for name, field in fields.items()}


def _tangential(core: Core, p: Array, field: Array) -> Array:
    """Take out the part of a field that points to or from the nearer eye's centre, within 2 cm of it."""
    out = field.copy()
    for centre in core.eye_centres:
        ray = p - centre
        distance = np.linalg.norm(ray, axis=1, keepdims=True)
        ray = ray / distance
        out -= ray * (out * ray).sum(1, keepdims=True) * smoothstep(distance, 2.0, 1.6)
    return np.asarray(out)


def _distilled(core: Core) -> dict[str, Array]:
    """Two of the cartoon's own responses; the rest of them are covered by the modes above."""
    amounts = {"mouth_low": 0.40, "chin_long": 0.35, "nose_large": 0.40}
    return {f"drawn_{name}": spread(core.deltas[name] * amount, 5.0) for name, amount in amounts.items()}


def _asymmetry(p: Array) -> dict[str, Array]:
    """No face is symmetric: two low-frequency fields of about a millimetre."""
    face = smoothstep(p[:, 1], -15, -11) * smoothstep(p[:, 2], -14, -6)
    lean = along(face * np.sin((p[:, 1] + 1.0) / 4.2), [0.14, 0, 0])
    tilt = along(face * np.tanh(p[:, 0] / 4), [0, 0.10, 0.05])
    return {"asymmetry_lean": lean, "asymmetry_tilt": tilt}


def _keep_eyes_rigid(core: Core, p: Array, field: Array) -> Array:
    """Around each eye replace a field by its mean at the eyeball, which cannot deform: lids keep lying on it."""
    out = field.copy()
    for centre in core.eye_centres:
        near = smoothstep(np.linalg.norm((p - centre) * [0.75, 1, 0.6], axis=1), 2.3, 1.3)[:, None]
        window = bump(p, centre, (1.2, 1.0, 2.0))[:, None]
        out = out * (1 - near) + near * (field * window).sum(0) / window.sum()
    return np.asarray(out)


def orthogonal(modes: dict[str, Array], weight: Array) -> Array:
    """Principal directions (C, 3, S) of the modes' joint distribution, each at one sigma, largest first.

    Args:
        modes: (C, 3) fields.
        weight: (C,) how much each control point counts: the face more than the shell.
    """
    stacked = np.stack([m.reshape(-1) for m in modes.values()], 1)
    scale = np.repeat(np.sqrt(weight), 3)[:, None]
    _, _, vt = np.linalg.svd(scale * stacked, full_matrices=False)
    rotation = vt[:N_SHAPE].T
    leading = np.abs(rotation).argmax(0)
    rotation = rotation * np.sign(rotation[leading, np.arange(rotation.shape[1])])
    return np.asarray((stacked @ rotation).reshape(-1, 3, rotation.shape[1]))
