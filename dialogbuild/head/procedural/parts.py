"""Parts that are not the skin: eyeballs, lid rims, the mouth's inside, teeth, tongue, ears. Centimetres.

Each part says how it follows the skin: ``follow`` is a matrix from skin vertices to its own vertices, so that every
blendshape of the skin carries it along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from dialogbuild.head.procedural.fields import EYE_RADIUS, Array, smoothstep
from dialogbuild.head.procedural.surface import Ids

IRIS_RADIUS, PUPIL_RADIUS = 0.585, 0.19


@dataclass(frozen=True, eq=False)
class Part:
    """Geometry of one part.

    Args:
        name: region name.
        points: (N, 3) cm.
        triangles: (M, 3), local numbering, counter-clockwise from outside.
        uv: (N, 2) in the unit square of the part's own tile.
        follow: (N, skin vertices) for identity; rows sum to 1 (a part moves with the skin it sits on).
        expressive: how much of the skin's expression each vertex follows, (N,).
        weights: (N, 5) skinning weights.
    """

    name: str
    points: Array
    triangles: Ids
    uv: Array
    follow: sp.csr_matrix
    expressive: Array
    weights: Array


def grid_triangles(n_rows: int, n_columns: int, closed: bool) -> Ids:
    """Two triangles per cell of a grid numbered row by row; ``closed`` joins the last column to the first."""
    row, column = np.meshgrid(np.arange(n_rows - 1), np.arange(n_columns - (not closed)), indexing="ij")
    following = (column + 1) % n_columns
    a, b = row * n_columns + column, row * n_columns + following
    c, d = a + n_columns, b + n_columns
    return np.asarray(np.concatenate([np.stack([a, b, c], -1), np.stack([b, d, c], -1)]).reshape(-1, 3))


def mean_of(skin_ids: Sequence[int] | Ids, n_rows: int, n_skin: int) -> sp.csr_matrix:
    """A follow matrix whose every row is the mean of some skin vertices."""
    ids = np.asarray(skin_ids)
    rows = np.repeat(np.arange(n_rows), len(ids))
    return sp.csr_matrix((np.full(len(rows), 1 / len(ids)), (rows, np.tile(ids, n_rows))), shape=(n_rows, n_skin))


def each_of(skin_ids: Ids, n_skin: int) -> sp.csr_matrix:
    """A follow matrix that copies one skin vertex per row."""
    n = len(skin_ids)
    return sp.csr_matrix((np.ones(n), (np.arange(n), skin_ids)), shape=(n, n_skin))


def rigid_weights(n: int, joint: int) -> Array:
    """(n, 5) weights of one joint."""
    return np.tile(np.eye(5)[joint], (n, 1))


# Rings of the eyeball by sine of the polar angle: the iris's and the pupil's edges lie on rings.
_PUPIL, _IRIS = np.arcsin(PUPIL_RADIUS / EYE_RADIUS), np.arcsin(IRIS_RADIUS / EYE_RADIUS)
_POLAR = np.concatenate([
    np.linspace(0, _PUPIL, 3), np.linspace(_PUPIL, _IRIS, 5)[1:], np.linspace(_IRIS, 2.3, 15)[1:]
])  # fmt: skip
EYE_COLUMNS = 32
IRIS_RING = 6
"""Row of the eyeball's grid that is the edge of the iris; row 0 is the centre of the pupil, column 0 points to +x."""


def eyeball(name: str, centre: Array, loop: Ids, joint: int, n_skin: int) -> Part:
    """A ball looking along +z, open at the back."""
    azimuth = np.linspace(0, 2 * np.pi, EYE_COLUMNS, endpoint=False)
    polar, around = np.meshgrid(_POLAR, azimuth, indexing="ij")
    unit = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], -1).reshape(-1, 3)
    triangles = grid_triangles(len(_POLAR), EYE_COLUMNS, closed=True)[:, ::-1]
    triangles = _drop_degenerate(triangles, EYE_COLUMNS)
    radial = (polar / _POLAR[-1]).reshape(-1, 1)
    uv = 0.5 + 0.5 * radial * np.stack([np.cos(around), np.sin(around)], -1).reshape(-1, 2)
    n = len(unit)
    return Part(
        name, centre + EYE_RADIUS * unit, triangles, uv, mean_of(loop, n, n_skin), np.zeros(n), rigid_weights(n, joint)
    )


def _drop_degenerate(triangles: Ids, n_columns: int) -> Ids:
    """The first ring of a polar grid is one point many times: keep one of the two triangles per cell."""
    return np.asarray(triangles[(triangles < n_columns).sum(1) != 2])


def lid_rim(name: str, skin: Array, loop: Ids, centre: Array, skin_weights: Array) -> Part:
    """A strip from the lid margin back to the eyeball, the lid's thickness."""
    outer = skin[loop]
    ray = outer - centre
    inner = centre + ray / np.linalg.norm(ray, axis=1, keepdims=True) * (EYE_RADIUS - 0.04)
    deep = np.minimum(inner, np.where([False, False, True], outer - 0.02, np.inf))
    points = np.concatenate([outer, deep])
    triangles = grid_triangles(2, len(loop), closed=True)
    if centre[0] < 0:  # the right eye's loop runs the other way round
        triangles = triangles[:, ::-1]
    t = 1 - np.abs(np.linspace(-1, 1, len(loop)))  # there and back: the strip closes on itself
    uv = np.concatenate([np.stack([t, np.full_like(t, v)], 1) for v in (0.9, 0.1)])
    both = np.tile(loop, 2)
    return Part(name, points, triangles, uv, each_of(both, len(skin)), np.ones(len(both)), skin_weights[both])


def mouth_bag(skin: Array, loop: Ids, skin_weights: Array) -> Part:
    """The inside of lips and cheeks: from the inner lips around the teeth to the throat."""
    lips = skin[loop]
    seam = lips[:, 1].mean()
    n = len(loop)
    upper = np.where(np.arange(n) <= n // 2, 1.0, -1.0)
    middle = np.clip(1 - (lips[:, 0] / np.abs(lips[:, 0]).max()) ** 2, 0, 1) ** 0.5
    # just behind the seam the lips press into each other, so that no tooth shows between closed lips
    # depth behind the lips, height away from the seam, widening, pull towards the throat (cm, cm, factor, 0..1)
    profile = [
        (0, 0, 1.0, 0), (0.10, -0.035, 1.0, 0), (0.22, 0.08, 1.0, 0), (0.45, 0.5, 1.02, 0), (0.7, 1.05, 1.05, 0),
        (1.5, 1.35, 1.15, 0.1), (3.2, 1.5, 1.15, 0.5), (5.0, 1.4, 0.9, 0.9), (6.2, 0.6, 0.5, 1.0),
    ]  # fmt: skip
    rows = []
    for depth, height, widen, pull in profile:
        z = lips[:, 2] - depth
        z = z * (1 - pull) + pull * (lips[:, 2].max() - depth - 0.3)
        y = lips[:, 1] + upper * height * middle
        rows.append(np.stack([lips[:, 0] * widen, y * (1 - pull) + pull * (seam + upper * height * middle), z], 1))
    rows.append(np.tile([[0, seam, rows[-1][:, 2].min() - 0.2]], (n, 1)))
    ids = np.tile(loop, len(rows))
    depth_share = np.repeat(np.linspace(0, 1, len(rows)), n)
    expressive = 1 - smoothstep(depth_share, 0.1, 0.7)
    t = 1 - np.abs(np.linspace(-1, 1, n))
    uv = np.concatenate([np.stack([t, np.full(n, 1 - d)], 1) for d in np.linspace(0, 1, len(rows))])
    triangles = grid_triangles(len(rows), n, closed=True)[:, ::-1]
    follow = _towards_mean(loop, depth_share, len(skin))
    weights = skin_weights[ids]
    return Part("mouth", np.concatenate(rows), triangles, uv, follow, expressive, weights)


def _towards_mean(loop: Ids, share: Array, n_skin: int) -> sp.csr_matrix:
    copies = len(share) // len(loop)
    own = each_of(np.tile(loop, copies), n_skin)
    mean = mean_of(loop, len(share), n_skin)
    return (sp.diags(1 - share) @ own + sp.diags(share) @ mean).tocsr()


def teeth(name: str, skin: Array, loop: Ids, upper: bool, joint: int) -> Part:
    """One row of teeth as a scalloped band on a parabola, behind the lips."""
    seam, front = skin[loop][:, 1].mean(), skin[loop][:, 2].max()
    n = 61
    angle = np.linspace(-1.25, 1.25, n)
    sign = 1.0 if upper else -1.0
    scallop = 0.05 * np.abs(np.sin(angle * 9.5)) ** 4
    edge = seam - (0.16 if upper else 0.10)
    sag = 0.0 if upper else 0.45 * (angle / 1.25) ** 4
    start = front - (0.72 if upper else 0.86)
    rows = []
    for height, forward in ((0, -0.18), (0.0, 0.0), (0.45, 0.06), (0.85, 0.0), (1.25, -0.12)):
        y = edge + sign * (height + (scallop if height == 0 else 0)) - sag
        x = (2.15 if upper else 2.0) * np.sin(angle)
        rows.append(np.stack([x, np.broadcast_to(y, n), start - 2.9 * (1 - np.cos(angle)) + forward], 1))
    triangles = grid_triangles(len(rows), n, closed=False)
    triangles = triangles if upper else triangles[:, ::-1]
    t = np.linspace(0, 1, n)
    uv = np.concatenate([np.stack([t, np.full(n, v)], 1) for v in (0.0, 0.1, 0.4, 0.7, 1.0)])
    count = len(rows) * n
    return Part(
        name, np.concatenate(rows), triangles, uv, mean_of(loop, count, len(skin)), np.zeros(count),
        rigid_weights(count, joint),
    )  # fmt: skip


def tongue(skin: Array, loop: Ids, joint: int) -> Part:
    """The back of a tongue lying behind the lower teeth."""
    seam, front = skin[loop][:, 1].mean(), skin[loop][:, 2].max()
    n_rows, n_columns = 12, 15
    s, t = np.meshgrid(np.linspace(0, 1, n_rows), np.linspace(-1, 1, n_columns), indexing="ij")
    x = 1.5 * t * np.sqrt(np.clip(1 - (1 - s) ** 3, 0, 1))
    y = seam - 0.45 + 0.35 * np.sin(np.pi * (0.15 + 0.7 * s)) - 0.45 * t**2 - 0.5 * np.clip(0.3 - s, 0, 1)
    z = front - 1.5 - 4.2 * s
    points = np.stack([x, y, z], -1).reshape(-1, 3)
    uv = np.stack([(t + 1) / 2, s], -1).reshape(-1, 2)
    triangles = grid_triangles(n_rows, n_columns, closed=False)[:, ::-1]
    n = len(points)
    return Part("tongue", points, triangles, uv, mean_of(loop, n, len(skin)), np.zeros(n), rigid_weights(n, joint))


def ear(name: str, side: float, root: Array, anchor: Ids, n_skin: int) -> Part:
    """A cupped flap: rim (helix), fold (antihelix) and bowl (concha) as heights over an egg-shaped outline.

    ``side`` is +1 for the subject's left; ``root`` is the middle of the line where the ear meets the head.
    """
    n_rings, n_columns = 13, 36
    radius, angle = np.meshgrid(
        np.linspace(0, 1, n_rings), np.linspace(0, 2 * np.pi, n_columns, endpoint=False), indexing="ij"
    )
    back, up = radius * np.cos(angle), radius * np.sin(angle)
    breadth = 1.75 + 0.45 * up  # the top is broader than the lobe
    helix = 0.30 * np.exp(-(((radius - 0.90) / 0.08) ** 2)) * smoothstep(back + 0.35 * up, -0.9, 0.2)
    antihelix = 0.22 * np.exp(-(((radius - 0.62) / 0.11) ** 2)) * smoothstep(back, -0.2, 0.5)
    bowl = -0.55 * np.exp(-((radius / 0.38) ** 2))
    tragus = 0.35 * np.exp(-(((back + 0.62) / 0.14) ** 2) - (((up + 0.08) / 0.16) ** 2))
    curl = -0.35 * smoothstep(radius, 0.93, 1.0)
    height = helix + antihelix + bowl + tragus + curl
    front = np.stack([height, 3.15 * up, -breadth * back], -1).reshape(-1, 3)
    rear = np.stack([np.minimum(height, 0.1) - 0.30 * (1 - radius**6), 3.15 * up, -breadth * back], -1).reshape(-1, 3)
    local = np.concatenate([front, rear])
    local[:, 2] -= 1.35  # the hinge is the front edge
    flare, tilt = np.radians(20), np.radians(-12)
    turn = np.array([[np.cos(flare), 0, -np.sin(flare)], [0, 1, 0], [np.sin(flare), 0, np.cos(flare)]])
    lean = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    points = root + (local @ turn.T @ lean.T) * [side, 1, 1]
    face = _drop_degenerate(grid_triangles(n_rings, n_columns, closed=True), n_columns)
    if side < 0:
        face = face[:, ::-1]
    triangles = np.concatenate([face, face[:, ::-1] + n_rings * n_columns])
    disc = 0.5 + 0.5 * np.stack([back, up], -1).reshape(-1, 2)
    n = len(points)
    return Part(
        name, points, triangles, np.concatenate([disc, disc]), mean_of(anchor, n, n_skin), np.zeros(n),
        rigid_weights(n, 1),
    )  # fmt: skip
