"""The block-tridiagonal smoother against a dense solve, and what it must keep: blinks and lip closures."""

from __future__ import annotations

import numpy as np
import pytest

from dialogbuild.fit.params import ParamLayout
from dialogbuild.fit.smoother import WalkSigmas, smooth, walk_sigma


def _random_problem(T=9, P=4, seed=0):
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(T, P, P))
    H = A @ A.transpose(0, 2, 1) + np.eye(P)
    x = rng.normal(size=(T, P))
    return H, np.einsum("tpq,tq->tp", H, x)


@pytest.mark.parametrize("cut", [None, 4])
def test_equals_the_dense_solution_and_covariance(cut):
    H, eta = _random_problem()
    T, P = eta.shape
    sigma = np.array([0.3, 1.0, 2.0, 0.5])
    free = np.array([0, 1, 3])
    linked = np.ones(T - 1, bool)
    if cut is not None:
        linked[cut] = False
    dense = np.zeros((T * P, T * P))
    for t in range(T):
        dense[t * P : (t + 1) * P, t * P : (t + 1) * P] += H[t]
    for t in np.flatnonzero(linked):
        for p in range(P):
            a, b = t * P + p, (t + 1) * P + p
            dense[np.ix_((a, b), (a, b))] += np.array([[1, -1], [-1, 1]]) / sigma[p] ** 2
    keep = (np.arange(T)[:, None] * P + free).ravel()
    inverse = np.linalg.inv(dense[np.ix_(keep, keep)])
    found = smooth(H, eta, sigma, free, linked, dof=np.inf)
    np.testing.assert_allclose(found.theta[:, free].ravel(), inverse @ eta[:, free].ravel(), rtol=2e-5, atol=1e-6)
    K = len(free)
    blocks = [inverse[t * K : (t + 1) * K, t * K : (t + 1) * K] for t in range(T)]
    np.testing.assert_allclose(found.covariance, blocks, rtol=1e-5, atol=1e-7)
    assert (found.theta[:, 2] == 0).all()
    assert (found.sigma()[:, 2] == 0).all()


def test_nothing_crosses_a_cut():
    H, eta = _random_problem()
    linked = np.ones(8, bool)
    linked[3] = False
    before = smooth(H, eta, np.full(4, 0.1), np.arange(4), linked).theta
    eta[6] += 100.0
    after = smooth(H, eta, np.full(4, 0.1), np.arange(4), linked).theta
    np.testing.assert_array_equal(before[:4], after[:4])
    assert np.abs(before[4:] - after[4:]).max() > 0.1


def test_a_gap_is_bridged_in_a_line_and_its_sigma_says_so():
    T = 11
    H = np.zeros((T, 1, 1))
    H[[0, 10]] = 1e6
    eta = np.zeros((T, 1))
    eta[10] = 1e6 * 5.0
    found = smooth(H, eta, np.array([0.5]), np.array([0]), np.ones(T - 1, bool), dof=np.inf)
    np.testing.assert_allclose(found.theta[:, 0], np.linspace(0, 5, T), atol=2e-3)
    # a Brownian bridge: variance q t (n - t) / n
    expected = 0.5 * np.sqrt(5 * 5 / 10)
    assert found.sigma()[5, 0] == pytest.approx(expected, rel=0.01)
    assert found.sigma()[0, 0] < 0.01


def test_noise_is_calmed_and_a_blink_keeps_its_depth():
    layout = ParamLayout(3)
    sigma = walk_sigma(layout, WalkSigmas(), (1, 2))
    rng = np.random.default_rng(3)
    T, noise = 100, 0.05
    truth = np.zeros((T, layout.size))
    truth[50:54, 19] = (0.5, 1.0, 1.0, 0.4)  # a blink of 160 ms in one lid
    truth[20:22, 9] = 0.15  # the jaw opens for two ticks
    seen = truth + rng.normal(size=truth.shape) * noise
    H = np.repeat((np.eye(layout.size) / noise**2)[None], T, axis=0)
    out = smooth(H, np.einsum("tpq,tq->tp", H, seen), sigma, np.arange(layout.size), np.ones(T - 1, bool)).theta
    assert out[51:53, 19].min() > 0.85
    assert out[20:22, 9].min() > 0.08
    calm = np.r_[0:15, 60:100]
    assert out[calm, 0].std() < 0.7 * noise
    assert out[calm, 18].std() < 0.95 * noise


def test_heavy_tails_let_a_jump_through_that_a_gaussian_walk_flattens():
    T = 40
    truth = np.where(np.arange(T) < 20, 0.0, 1.0)[:, None]
    H = np.full((T, 1, 1), 1 / 0.05**2)
    heavy = smooth(H, H[:, 0] * truth, np.array([0.03]), np.array([0]), np.ones(T - 1, bool), dof=4.0).theta
    gauss = smooth(H, H[:, 0] * truth, np.array([0.03]), np.array([0]), np.ones(T - 1, bool), dof=np.inf).theta
    assert np.abs(heavy - truth).max() < 0.05
    assert np.abs(gauss - truth).max() > 0.2


def test_lids_may_move_faster_than_other_expressions():
    sigma = walk_sigma(ParamLayout(4), WalkSigmas(), (2, 3))
    assert sigma[20] == sigma[21] == WalkSigmas().lids
    assert sigma[18] == WalkSigmas().expr
