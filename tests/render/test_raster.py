from __future__ import annotations

import numpy as np
import pytest

from dialogbuild.render.fragments import Cull, Rasterizer
from dialogbuild.render.raster_numba import NumbaRasterizer
from dialogbuild.render.raster_reference import ReferenceRasterizer
from dialogbuild.render.raster_torch import TorchRasterizer

REFERENCE = ReferenceRasterizer()
FAST: list[Rasterizer] = [NumbaRasterizer(), TorchRasterizer(max_samples=1000)]  # small: the list of samples is cut
ENGINES: list[Rasterizer] = [*FAST, REFERENCE]
IDS = [e.name for e in ENGINES]


def _random_mesh(rng: np.random.Generator, n_vertices: int, n_faces: int) -> tuple[np.ndarray, np.ndarray]:
    verts = np.concatenate([rng.uniform(-10, 50, (n_vertices, 2)), rng.uniform(0.3, 2.0, (n_vertices, 1))], 1)
    return verts, rng.integers(0, n_vertices, (n_faces, 3)).astype(np.int32)


@pytest.mark.parametrize("engine", FAST, ids=lambda e: e.name)
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("cull", ["back", "none"])
def test_a_fast_engine_equals_the_reference(engine: Rasterizer, seed: int, cull: Cull) -> None:
    rng = np.random.default_rng(seed)
    verts, faces = _random_mesh(rng, 60, 150)
    if seed % 2:
        verts[:, :2] = np.round(verts[:, :2] * 2) / 2  # corners and edges on pixel centres
        verts[:, 2] = np.round(verts[:, 2], 1)
    pair = (engine, REFERENCE)
    fast, slow = (e.rasterize(verts, faces, (33, 40), cull) for e in pair)
    np.testing.assert_array_equal(fast.face_id, slow.face_id)
    np.testing.assert_allclose(fast.bary, slow.bary, atol=1e-6)
    np.testing.assert_allclose(fast.depth, slow.depth, atol=1e-6)
    attributes = rng.normal(size=(60, 5))
    np.testing.assert_allclose(*(e.interpolate(attributes, faces, fast) for e in pair), atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES, ids=IDS)
def test_shared_edges_neither_leak_nor_overlap(engine: Rasterizer) -> None:
    """A fan of triangles around an inner point, corners on and off pixel centres: each sample is hit exactly once."""
    for centre in ((8.0, 8.0), (8.5, 8.5), (7.3, 9.1), (8.5, 3.5)):
        ring = [(0.5, 0.5), (0.5, 8.5), (0.5, 15.5), (8.5, 15.5), (15.5, 15.5), (15.5, 8.5), (15.5, 0.5), (8.5, 0.5)]
        verts = np.array([(*centre, 1.0), *((x, y, 1.0) for x, y in ring)])
        faces = np.array([(0, 1 + k, 1 + (k + 1) % 8) for k in range(8)], np.int32)
        hits = np.zeros((16, 16), int)
        for face in faces:
            hits += engine.rasterize(verts, face[None], (16, 16)).face_id >= 0
        together = engine.rasterize(verts, faces, (16, 16)).face_id >= 0
        assert hits.max() == 1, f"{(hits > 1).sum()} samples belong to two triangles"
        np.testing.assert_array_equal(hits == 1, together)
        assert hits[1:15, 1:15].min() == 1, "a sample inside belongs to no triangle"
        assert hits.sum() == 15 * 15, "top and left border belong to the fan, bottom and right do not"


@pytest.mark.parametrize("engine", ENGINES, ids=IDS)
def test_a_sample_within_rounding_of_a_shared_edge_belongs_to_one_side(engine: Rasterizer) -> None:
    """Edges drawn through a pixel centre: whichever sign rounding gives, both triangles must see the same one."""
    rng = np.random.default_rng(1)
    faces = np.array([[0, 1, 2], [1, 0, 3]], np.int32)
    for _ in range(40):
        centre, reach = np.array([2.5, 2.5]), rng.uniform(1, 9, 2)
        along = rng.normal(size=2)
        across = np.array([along[1], -along[0]])
        ends = [centre - reach[0] * along, centre + reach[1] * along, centre + 9 * across, centre - 9 * across]
        verts = np.array([(*xy, 1.0) for xy in ends])
        hits = [engine.rasterize(verts, face[None], (5, 5), "none").face_id[2, 2] >= 0 for face in faces]
        assert sum(hits) == 1, f"{sum(hits)} triangles hit the sample on the edge {verts[:2, :2].tolist()}"


@pytest.mark.parametrize("engine", ENGINES, ids=IDS)
def test_the_nearer_surface_wins_and_ties_go_to_the_lower_id(engine: Rasterizer) -> None:
    square = [(0, 0), (0, 8), (8, 8)]
    verts = np.array([(x, y, z) for z in (2.0, 1.0, 1.0) for x, y in square])
    faces = np.arange(9, dtype=np.int32).reshape(3, 3)
    hit = engine.rasterize(verts, faces, (8, 8)).face_id
    assert set(np.unique(hit)) == {-1, 1}


@pytest.mark.parametrize("engine", ENGINES, ids=IDS)
def test_barycentric_weights_are_perspective_correct(engine: Rasterizer) -> None:
    """The middle of an edge between depths 1 and 3 lies a quarter of the way along it in space."""
    verts = np.array([(0.0, 0.0, 1.0), (0.0, 20.0, 1.0), (20.0, 0.0, 3.0)])
    faces = np.array([[0, 1, 2]], np.int32)
    out = engine.rasterize(verts, faces, (20, 20))
    row, column = 0, 9
    x = column + 0.5
    far = (x / 20 / 3) / ((1 - x / 20) / 1 + x / 20 / 3)
    assert out.bary[row, column, 2] == pytest.approx(far, abs=1e-6)
    assert out.depth[row, column] == pytest.approx(1 + 2 * far, abs=1e-6)
    assert out.bary[row, column].sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("engine", ENGINES, ids=IDS)
def test_what_is_behind_the_camera_or_not_finite_is_dropped(engine: Rasterizer) -> None:
    faces = np.array([[0, 1, 2]], np.int32)
    good = np.array([(1.0, 1.0, 1.0), (1.0, 9.0, 1.0), (9.0, 9.0, 1.0)])
    assert (engine.rasterize(good, faces, (10, 10)).face_id >= 0).any()
    for corner, value in ((0, -1.0), (1, 0.0), (2, 0.005), (0, np.nan), (1, np.inf)):
        bad = good.copy()
        bad[corner, 2] = value
        assert (engine.rasterize(bad, faces, (10, 10)).face_id < 0).all(), f"depth {value} was drawn"
    bad = good.copy()
    bad[1, 0] = np.nan
    assert (engine.rasterize(bad, faces, (10, 10)).face_id < 0).all()


@pytest.mark.parametrize("engine", ENGINES, ids=IDS)
def test_triangles_outside_or_larger_than_the_image_are_clipped(engine: Rasterizer) -> None:
    faces = np.array([[0, 1, 2]], np.int32)
    outside = np.array([(20.0, 1.0, 1.0), (20.0, 9.0, 1.0), (29.0, 9.0, 1.0)])
    assert (engine.rasterize(outside, faces, (10, 12)).face_id < 0).all()
    huge = np.array([(-1e5, -1e5, 1.0), (-1e5, 3e5, 1.0), (3e5, -1e5, 1.0)])
    assert (engine.rasterize(huge, faces, (10, 12)).face_id == 0).all()


@pytest.mark.parametrize("engine", ENGINES, ids=IDS)
def test_back_faces_are_culled_unless_asked_for(engine: Rasterizer) -> None:
    verts = np.array([(1.0, 1.0, 1.0), (1.0, 9.0, 1.0), (9.0, 9.0, 1.0)])
    flipped = np.array([[0, 2, 1]], np.int32)
    assert (engine.rasterize(verts, flipped, (10, 10)).face_id < 0).all()
    assert (engine.rasterize(verts, flipped, (10, 10), cull="none").face_id == 0).any()


@pytest.mark.parametrize("engine", ENGINES, ids=IDS)
def test_an_empty_mesh_gives_an_empty_image(engine: Rasterizer) -> None:
    out = engine.rasterize(np.zeros((0, 3)), np.zeros((0, 3), np.int32), (4, 5))
    assert out.face_id.shape == (4, 5)
    assert (out.face_id == -1).all()
    assert (out.depth == 0).all()
