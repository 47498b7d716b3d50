from __future__ import annotations

import numpy as np
import pytest

from dialogbuild.head import generate


@pytest.fixture(scope="module")
def fresh() -> dict[str, np.ndarray]:
    return generate.build_core()


def test_the_committed_constants_are_what_the_generator_makes(fresh: dict[str, np.ndarray]) -> None:
    assert generate.differences(fresh, generate.CORE_PATH) == []


def test_a_changed_constant_is_reported(fresh: dict[str, np.ndarray]) -> None:
    moved = fresh | {"neutral_cm": fresh["neutral_cm"] + np.float32(0.2)}
    assert generate.differences(moved, generate.CORE_PATH) == ["neutral_cm differs by 0.2"]
    swapped = fresh | {"mirror": fresh["mirror"][::-1]}
    assert len(generate.differences(swapped, generate.CORE_PATH)) == 1
    assert len(generate.differences({"mirror": fresh["mirror"]}, generate.CORE_PATH)) == 1


def test_the_tessellation_is_a_face_with_holes_for_eyes_and_mouth(fresh: dict[str, np.ndarray]) -> None:
    t = fresh["triangles"].astype(int)
    edges = np.sort(np.concatenate([t[:, [0, 1]], t[:, [1, 2]], t[:, [2, 0]]]), 1)
    _, count = np.unique(edges, axis=0, return_counts=True)
    assert len(t) == 852
    assert (count == 2).sum() == 1234
    assert (count == 1).sum() == 36 + 16 + 16 + 20


def test_aligning_undoes_a_similarity() -> None:
    rng = np.random.default_rng(0)
    target = rng.normal(size=(468, 3))
    from dialogbuild.head.rotation import rodrigues

    moved = 2.5 * target @ rodrigues([0.2, -0.4, 0.1]).T + [3, 1, -2]
    np.testing.assert_allclose(generate.align(moved, target), target, atol=1e-9)


def test_mirror_pairs_recovers_a_known_symmetry() -> None:
    rng = np.random.default_rng(1)
    half = rng.uniform(0.5, 3, (50, 3))
    points = np.concatenate([half, half * [-1, 1, 1]]) + np.array([0.7, 0, 0])
    padded = np.concatenate([points, np.tile([[0.7, 9.0, 9.0]], (300, 1)) + np.arange(300)[:, None] * [0, 1, 0]])
    pair, plane = generate.mirror_pairs(padded)
    assert plane == pytest.approx(0.7, abs=0.05)
    np.testing.assert_array_equal(pair[:50], np.arange(50, 100))
