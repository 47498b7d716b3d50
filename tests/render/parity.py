"""How two rasterisers may differ: in few pixels, each of them on an edge or at a tie of depths."""

from __future__ import annotations

import numpy as np

from dialogbuild.render.fragments import Fragments

MAX_SHARE = 1e-3  # of covered pixels whose face differs
EDGE_PX = 1e-4  # a sample this near to an edge may fall on either side
TIE_M = 1e-6  # surfaces this near to each other may win in either order
BARY, DEPTH_M = 1e-4, 1e-5


def assert_parity(a: Fragments, b: Fragments, verts_px: np.ndarray, faces: np.ndarray, bary: float = BARY) -> None:
    covered = (a.face_id >= 0) | (b.face_id >= 0)
    differs = a.face_id != b.face_id
    assert differs.sum() <= MAX_SHARE * covered.sum(), f"{differs.sum()} of {covered.sum()} faces differ"
    for row, column in zip(*np.nonzero(differs), strict=True):
        ids = (int(a.face_id[row, column]), int(b.face_id[row, column]))
        corners = [verts_px[faces[i]].astype(np.float64) for i in ids if i >= 0]
        edge = min(_edge_distance(c, column + 0.5, row + 0.5) for c in corners)
        tie = abs(a.depth[row, column] - b.depth[row, column]) if min(ids) >= 0 else np.inf
        assert edge < EDGE_PX or tie < TIE_M, f"({row}, {column}): faces {ids}, {edge} px to an edge, depths {tie} m"
    same = covered & ~differs
    np.testing.assert_allclose(a.bary[same], b.bary[same], atol=bary, rtol=0)
    np.testing.assert_allclose(a.depth[same], b.depth[same], atol=DEPTH_M, rtol=0)


def _edge_distance(corners: np.ndarray, x: float, y: float) -> float:
    """From a point to the nearest edge line of a triangle, px."""
    start, end = corners[:, :2], np.roll(corners[:, :2], -1, 0)
    along, to = end - start, np.array([x, y]) - start
    return float(np.min(np.abs(along[:, 0] * to[:, 1] - along[:, 1] * to[:, 0]) / np.linalg.norm(along, axis=1)))
