"""Which points of a face are covered, from their colours through a track: a point that is not itself is hidden.

Every landmark has its own colour, whatever it is: skin, brow, beard, the rim of glasses. Its median over the track
says which, a smooth change over the face takes light and shade off, and what then differs far more than that point
usually does, together with its neighbours, is something else in front. What covers a point most of the time counts
as its colour. Eyes and lips are not asked (they open), nor are points that are turned away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dialogbuild.faces.labels import MASK_SIDE
from dialogbuild.faces.masks import oval_cells, to_cells
from dialogbuild.faces.mirror import PARTNER

Array = npt.NDArray[Any]
N_POINTS = 468  # without the irises
SAMPLE_SIDE = 128  # px of the crop that colours are taken from; a point is the mean of 3 x 3 of them
_LIPS = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185, 78, 95, 88, 178),
    *(87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191, 76, 77, 90, 180, 85, 16, 315, 404),
    *(320, 307, 306, 408, 304, 303, 302, 11, 72, 73, 74, 184, 62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292, 407),
    *(272, 271, 268, 12, 38, 41, 42, 183),
)
_EYES = (
    *(33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246, 130, 25, 110, 24, 23, 22, 26, 112),
    *(243, 190, 56, 28, 27, 29, 30, 247, 263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388),
    *(466, 359, 255, 339, 254, 253, 252, 256, 341, 463, 414, 286, 258, 257, 259, 260, 467),
)
ASKED = np.setdiff1d(np.arange(N_POINTS), [*_LIPS, *_EYES])
_NEIGHBOURS, _NEAREST = 10, 4
_DARK = 16.0  # added to values before the logarithm: noise counts less in the dark
_SIGMA_FLOOR = 0.07  # log units; coding and noise move a point by about half of it
_SIGMAS, _LEAST = 3.5, 0.18  # a covered point is off by so many of its sigmas, and by so much in log units
_MIN_SHARE, _MIN_POINTS, _GROW = 0.5, 10, 2
_MIN_AREA = 0.35  # a patch of the face that shows less of itself, relative to the middle one, is turned away
_MIN_FRAMES = 15
_ROUNDS = 6


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """Of the M points that are asked: (M, K) rows of the nearest others, and (M, 2, K) maps from their offsets (K, 2)
    in a picture to the patch's linear change against the average face."""

    near: Array
    solve: Array


def sample_points(view: npt.NDArray[np.uint8], points_px: Array, crop: Array) -> npt.NDArray[np.uint8]:
    """Colours (468, 3) at the landmarks; outside the crop its edge.

    Args:
        view: (S, S, 3) the crop's pixels;  points_px: (478, 2) px of the image.
    """
    small = cv2.blur(cv2.resize(view, (SAMPLE_SIDE, SAMPLE_SIDE), interpolation=cv2.INTER_AREA), (3, 3))
    at = np.clip(to_cells(points_px[:N_POINTS], crop) * (SAMPLE_SIDE / MASK_SIDE), 0, SAMPLE_SIDE - 1).astype(int)
    return np.asarray(small[at[:, 1], at[:, 0]])


def covered_points(points_px: Array, colours: Array) -> npt.NDArray[np.bool_]:
    """Which landmarks are covered, for one track.

    Args:
        points_px: (T, 478, 2);  colours: (T, 468, 3) uint8 from ``sample_points``.

    Returns:
        (T, 468) bool; always False for eyes and lips, and in tracks of fewer than 15 ticks.
    """
    out = np.zeros((len(colours), N_POINTS), bool)
    if len(colours) < _MIN_FRAMES:
        return out
    shape = average_face(points_px)
    around = neighbourhood(shape)
    seen = facing(points_px[:, ASKED], around)
    score = oddity(colours[:, ASKED], seen, shape[ASKED])
    odd = (score > 1) & seen
    share = _share(odd, seen, around)
    both = odd & (share >= _MIN_SHARE)
    found = both
    for _ in range(_GROW):  # the rim of a patch, where each point is less sure
        share = _share(found, seen, around)
        found = found | (odd & (share >= 0.2)) | (seen & (score > 0.5) & (share >= 0.4))
    found = _lasting(found)
    for t in np.flatnonzero(found.any(axis=1)):
        found[t] = _large(found[t], around)
    out[:, ASKED] = found
    return out


def average_face(points_px: Array) -> Array:
    """Mean landmarks (468, 2) of a track after a similarity, mirrored onto themselves: as seen from the front."""
    p = points_px[:, :N_POINTS].astype(np.float64)
    right, left = p[:, 33], p[:, 263]
    z = (p[..., 0] + 1j * p[..., 1] - ((right + left) @ [0.5, 0.5j])[:, None]) / ((left - right) @ [1, 1j])[:, None]
    mean = np.median(z.real, axis=0) + 1j * np.median(z.imag, axis=0)
    both = (mean - np.conj(mean[PARTNER[:N_POINTS]])) / 2  # a mirror swaps left and right: x -> -x
    both = both + 1j * (mean.imag + mean[PARTNER[:N_POINTS]].imag - 2 * both.imag) / 2
    return np.column_stack([both.real, both.imag])


def neighbourhood(shape: Array) -> Neighbourhood:
    """Nearest neighbours among the points that are asked, on the average face (468, 2)."""
    p = shape[ASKED]
    distance = np.linalg.norm(p[:, None] - p[None], axis=2)
    near = np.argsort(distance, axis=1, kind="stable")[:, 1 : _NEIGHBOURS + 1]
    return Neighbourhood(near, np.linalg.pinv(p[near] - p[:, None]))


def facing(points_px: Array, around: Neighbourhood) -> npt.NDArray[np.bool_]:
    """Points whose patch of the face is seen neither edge-on nor from behind. (T, M, 2) px -> (T, M) bool."""
    offsets = points_px[:, around.near] - points_px[:, :, None]
    change = np.einsum("mik,tmkj->tmij", around.solve, offsets.astype(np.float64))
    area = np.linalg.det(change)
    middle = np.maximum(np.median(area, axis=1), 1e-6)
    return np.asarray(area > _MIN_AREA * middle[:, None])


def oddity(colours: Array, seen: Array, shape: Array) -> Array:
    """How far each point is from its own colour, (T, M): above 1 is too far.

    Args:
        colours: (T, M, 3) uint8;  seen: (T, M) bool;  shape: (M, 2) place on the average face.
    """
    value = np.log((colours.astype(np.float32) + _DARK) / 255)
    own = np.median(value, axis=0)
    basis = np.column_stack([np.ones(len(shape)), shape - shape.mean(axis=0)]).astype(np.float32)
    for _ in range(2):
        lit = np.einsum("mk,tkc->tmc", basis, _smooth_change(value - own, seen, basis))
        own = np.median(value - lit, axis=0)
    rest = value - lit - own
    sigma = np.maximum(1.4826 * np.median(np.abs(rest), axis=0), _SIGMA_FLOOR)
    off = np.linalg.norm(rest / sigma, axis=2) / (np.sqrt(3) * _SIGMAS)
    return np.asarray(np.minimum(off, np.abs(rest).max(axis=2) / _LEAST))


def _smooth_change(rest: Array, seen: Array, basis: Array) -> Array:
    """Robust brightness and slope per frame and channel, (T, 3, 3): iteratively reweighted least squares."""
    weight = seen.astype(np.float32)
    light = np.zeros((len(rest), basis.shape[1], rest.shape[2]), np.float32)
    first = np.stack([np.median(r[s], axis=0) if s.any() else np.zeros(3) for r, s in zip(rest, seen, strict=True)])
    light[:, 0] = first
    ridge = np.diag([0.1, 3.0, 3.0]).astype(np.float32)
    for _ in range(_ROUNDS):
        error2 = ((rest - np.einsum("mk,tkc->tmc", basis, light)) ** 2).sum(axis=2)
        w = weight / (1 + error2 / (3 * _SIGMA_FLOOR**2)) ** 2
        H = np.einsum("tm,mk,ml->tkl", w, basis, basis) + ridge
        light = np.linalg.solve(H, np.einsum("tm,mk,tmc->tkc", w, basis, rest))
    return light


def _share(odd: Array, seen: Array, around: Neighbourhood) -> Array:
    """Which part of each point's seen neighbours is odd, (T, M); 0 where fewer than four are seen."""
    count = seen[:, around.near].sum(axis=2)
    return np.where(count >= 4, (odd & seen)[:, around.near].sum(axis=2) / np.maximum(count, 1), 0.0)


def _large(found: Array, around: Neighbourhood) -> Array:
    """The found points (M,) that lie in patches of at least ``_MIN_POINTS``, joined by neighbourhood."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    own, near = np.repeat(np.arange(len(found)), _NEIGHBOURS), around.near.ravel()
    joined = found[own] & found[near]
    graph = coo_matrix((np.ones(int(joined.sum())), (own[joined], near[joined])), shape=(len(found),) * 2)
    _, patch = connected_components(graph, directed=False)
    return np.asarray(found & (np.bincount(patch)[patch] >= _MIN_POINTS))


def _lasting(found: Array) -> Array:
    """Without what appears in one tick alone, and with what is missing in one alone: a vote of three ticks."""
    padded = np.concatenate([found[:1], found, found[-1:]])
    return np.asarray(padded[:-2].astype(np.int8) + padded[1:-1] + padded[2:] >= 2)


def covered_cells(points_px: Array, covered: Array, crop: Array) -> npt.NDArray[np.bool_]:
    """Cells of the face half of whose nearest landmarks are covered. (478, 2), (468,), (4,) -> (64, 64) bool."""
    out = np.zeros((MASK_SIDE, MASK_SIDE), bool)
    if not covered.any():
        return out
    from scipy.spatial import cKDTree

    rows, columns = np.nonzero(oval_cells(points_px, crop))
    tree = cKDTree(to_cells(points_px[ASKED], crop))
    _, near = tree.query(np.column_stack([columns, rows]) + 0.5, k=_NEAREST)
    out[rows, columns] = covered[ASKED][near].mean(axis=1) >= 0.5
    return out
