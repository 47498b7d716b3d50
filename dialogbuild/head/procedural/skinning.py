"""Joints and skinning weights."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from dialogbuild.head.model import JAW, NECK, ROOT
from dialogbuild.head.procedural.fields import Array, smoothstep
from dialogbuild.head.procedural.landmarks import ABOVE_LIP, LIP_CORNERS, LOWER_LIP, N_FACE, UPPER_LIP
from dialogbuild.head.procedural.surface import Ids

ROOT_JOINT = np.array([0.0, -17.5, -10.6])
NECK_JOINT = np.array([0.0, -9.0, -10.4])
JAW_JOINT = np.array([0.0, -3.3, -7.2])


def jaw_weights(face: Array, triangles: Ids) -> Array:
    """How much each control point (468,) moves with the jaw: 1 on lower lip and chin, 0 above the mouth, harmonic on
    the mesh between, where the mouth's hole parts upper from lower lip."""
    x, y = np.abs(face[:, 0]), face[:, 1]
    fixed = np.full(N_FACE, np.nan)
    # the skull's part: above a line from the nose's base up to the ear
    fixed[y > -5.4 + 0.45 * np.maximum(x - 1.5, 0)] = 0
    fixed[(y < -8.2) & (x < 3.4)] = 1
    fixed[list(UPPER_LIP) + list(ABOVE_LIP)] = 0
    half_mouth = x[list(LIP_CORNERS)].max()
    for i in LOWER_LIP:
        fixed[i] = 0.35 + 0.6 * np.sqrt(max(0.0, 1 - (x[i] / half_mouth) ** 2))
    fixed[list(LIP_CORNERS)] = 0.33
    return np.clip(_harmonic(fixed, triangles), 0, 1)


def _harmonic(fixed: Array, triangles: Ids) -> Array:
    n = len(fixed)
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    pairs = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
    adjacency = sp.csr_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    laplacian = (sp.diags(np.asarray(adjacency.sum(1)).ravel()) - adjacency).tocsr()
    free = np.isnan(fixed)
    out = fixed.copy()
    out[free] = spla.spsolve(laplacian[free][:, free].tocsc(), -laplacian[free][:, ~free] @ fixed[~free])
    return out


def skin_weights(points: Array, jaw: Array) -> Array:
    """(V, 5) for the skin, from each vertex's place and its share of the jaw. The neck bends between a line that rises
    from the throat to the nape and the root at the neck's base."""
    y, z = points[:, 1], points[:, 2]
    top = np.interp(z, [-15, -6], [-5.5, -11.8])
    neck = 1 - smoothstep(-y, -top, 17.0)
    jaw = np.clip((jaw - 0.01) / 0.98, 0, 1) * neck  # the smooth surface overshoots by less than a hundredth
    out = np.zeros((len(points), 5))
    out[:, JAW], out[:, NECK], out[:, ROOT] = jaw, neck - jaw, 1 - neck
    return out
