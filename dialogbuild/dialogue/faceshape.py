"""A face's rigid shape from its landmarks: enough to tell two people of one video apart across cuts."""

from __future__ import annotations

import numpy as np

from dialogbuild.dialogue.pcm import Array

# Eye corners, nose, forehead, temples, cheekbones of MediaPipe's mesh: what neither speech nor smiles move.
RIGID = np.array(
    [33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 2, 98, 327, 10, 151, 9, 8, 127, 356, 234, 454, 54, 284, 116, 345]
)


def rigid_points(lmk_px: Array, lmk_z_px: Array) -> Array:
    """The rigid landmarks, centred and scaled to unit RMS radius. (N, 478, 2), (N, 478) px -> (N, 26, 3)."""
    points = np.concatenate([lmk_px[:, RIGID], lmk_z_px[:, RIGID, None]], axis=2).astype(np.float64)
    points -= points.mean(axis=1, keepdims=True)
    radius = np.sqrt((points**2).sum(axis=2).mean(axis=1))
    scaled: Array = points / np.maximum(radius, 1e-9)[:, None, None]
    return scaled


def align(points: Array, reference: Array) -> Array:
    """Rotate each shape onto the reference in the least-squares sense (Kabsch 1976). (N, P, 3), (P, 3) -> (N, P, 3)."""
    u, _, vt = np.linalg.svd(np.einsum("npi,pj->nij", points, reference))
    sign = np.sign(np.linalg.det(u @ vt))
    u[:, :, 2] *= sign[:, None]
    turned: Array = points @ (u @ vt)
    return turned


def mean_shapes(shapes: list[Array], rounds: int = 3) -> Array:
    """Mean rigid shape of each track in one common frame (generalised Procrustes, Gower 1975).

    Args:
        shapes: per track (N_i, 26, 3) from ``rigid_points``, N_i >= 1.

    Returns:
        (len(shapes), 26, 3).
    """
    reference = shapes[0][0]
    means: Array = np.stack([s[0] for s in shapes])
    for _ in range(rounds):
        means = np.stack([np.median(align(s, reference), axis=0) for s in shapes])
        reference = means.mean(axis=0)
        reference /= np.sqrt((reference**2).sum(axis=1).mean())
    return means


def shape_distance(means: Array) -> Array:
    """RMS distance between mean shapes, in face radii. (K, 26, 3) -> (K, K)."""
    distance: Array = np.sqrt(((means[:, None] - means[None]) ** 2).sum(axis=3).mean(axis=2))
    return distance
