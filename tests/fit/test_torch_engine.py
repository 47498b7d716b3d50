"""The tensor engine against the compiled one: normal equations, steps and optima.

Differences are compared with the float64 tensors too, so that it shows whose rounding they are: a pixel coordinate of
float32 is rounded by about 5e-6 px, in both engines alike.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import photo_scene
import pytest
import torch
from tiny_head import tiny_head
from torch.utils._python_dispatch import TorchDispatchMode

from dialogbuild.errors import ConfigError
from dialogbuild.fit.gauss_newton import SolverOptions, solve_frames
from dialogbuild.fit.landmarks import LandmarkBlock
from dialogbuild.fit.normal import Robust, assemble_all
from dialogbuild.fit.params import ParamLayout, PriorSigmas, make_prior
from dialogbuild.fit.photometric_kernel import sample_points
from dialogbuild.fit.rig import build_rig, pose_points, project_points
from dialogbuild.fit.torch_engine import TorchLandmarks, TorchPhotometric, TorchPrior
from dialogbuild.fit.torch_rig import resolve_device, rotations
from dialogbuild.fit.torch_sample import Sampler
from dialogbuild.fit.torch_solver import State, _iterate, damped_step, solve_frames_torch
from dialogbuild.head.rotation import left_jacobian, rodrigues

CPU = torch.device("cpu")
# relative to a frame's largest entry; measured up to 4e-6 between the engines and up to 5e-6 between either one and
# float64. At the optimum, where g is a small difference of large sums, the same rounding is a larger part of it.
FLOAT32 = 1e-5


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _off(s, seed=0, scale=1.0):
    """Parameters a little away from the truth, as landmarks would leave them."""
    sigma = np.full(s.theta.shape[1], 0.05)
    sigma[:18], sigma[3:6], sigma[6:9] = 0.01, 0.002, 0.0
    return s.theta + scale * sigma * np.random.default_rng(seed).normal(size=s.theta.shape)


def _prior(s):
    return make_prior(ParamLayout(s.model.n_expr), s.model, PriorSigmas())


def _apart(a, b):
    """Largest difference of H, g and cost, relative to each frame's largest entry of b."""
    out = {}
    for name in ("H", "g", "cost"):
        x, y = (np.asarray(getattr(e, name)).reshape(len(e.cost), -1) for e in (a, b))
        out[name] = (np.abs(x - y).max(axis=1) / np.abs(y).max(axis=1)).max()
    return out


def _compare(block, kind, theta):
    """The engines agree, and float32 is as near to float64."""
    frames = np.arange(len(theta))
    compiled = block.assemble(theta, frames)
    single = kind.from_block(block, CPU)
    fast, reference = (b.assemble(theta, frames) for b in (single, kind.from_block(block, CPU, torch.float64)))
    for name, apart in _apart(fast, compiled).items():
        assert apart < FLOAT32, f"{name} differs between the engines by {apart:.1e}"
    for name, apart in _apart(fast, reference).items():
        assert apart < FLOAT32, f"{name} of float32 is {apart:.1e} from float64"
    np.testing.assert_allclose(single.cost(theta, frames), block.cost(theta, frames), rtol=FLOAT32)
    np.testing.assert_allclose(single.cost(theta, frames), fast.cost, rtol=1e-6)


@pytest.mark.parametrize("level", [0, 1])
def test_pixel_equations_of_a_rendered_head_equal_the_compiled_ones(level):
    s = photo_scene.scene()
    _compare(photo_scene.pixel_block(s, level), TorchPhotometric, _off(s))


@pytest.mark.parametrize("kind", ["student", "huber", "none"])
def test_landmark_equations_of_a_head_equal_the_compiled_ones(kind):
    s = photo_scene.scene()
    _compare(photo_scene.detection_block(s, Robust(kind, 3.0)), TorchLandmarks, _off(s))


@pytest.mark.parametrize("n_expr", [7, 100])
@pytest.mark.parametrize("moving_joints", [False, True])
@pytest.mark.parametrize("pose_dirs", [False, True])
def test_pixel_equations_know_pose_correctives_and_moving_joints(pose_dirs, moving_joints, n_expr):
    _, theta, block = photo_scene.tiny_case(3, pose_dirs, moving_joints, n_expr)
    _compare(block, TorchPhotometric, theta + 0.003 * np.random.default_rng(0).normal(size=theta.shape))


@pytest.mark.parametrize("moving_joints", [False, True])
@pytest.mark.parametrize("pose_dirs", [False, True])
def test_landmark_equations_know_corners_correctives_and_moving_joints(pose_dirs, moving_joints):
    model = tiny_head(pose_dirs=pose_dirs, moving_joints=moving_joints, n_expr=20)
    rig = build_rig(model, model.landmarks["mp478"])
    rng = np.random.default_rng(0)
    theta = 0.2 * rng.normal(size=(3, rig.size))
    theta[:, 3:6] = [0.02, -0.01, 0.8]
    pixels, _ = project_points(pose_points(rig, theta).points, theta[:, 3:6], (700.0, 160.0, 130.0))
    target = (pixels + 4 * rng.normal(size=pixels.shape)).astype(np.float32)
    gaps = np.array([[0, 3], [7, 5]])
    sure = rng.uniform(0.2, 1, (3, rig.n_points + 2)).astype(np.float32)
    sure[:, ::7] = 0
    block = LandmarkBlock(
        rig, (700.0, 160.0, 130.0), target, sure[:, :-2], gaps, 3 * sure[:, -2:], Robust("student", 4.0), 0.15
    )
    theta = theta + 0.02 * rng.normal(size=theta.shape)  # away from the optimum, where g is a difference of equals
    _compare(block, TorchLandmarks, theta)
    assert len(rig.v) == 3, "this case is about points inside triangles"
    without = replace(block, gaps=gaps[:0], gap_inv_sigma=sure[:, :0])
    _compare(without, TorchLandmarks, theta)


def test_float64_pixel_equations_match_central_differences_of_their_cost():
    """With hardly any tails the cost is a sum of squares, whose gradient has no frozen weights."""
    _, theta, block = photo_scene.tiny_case()
    tensors = TorchPhotometric.from_block(replace(block, dof=1e7), CPU, torch.float64)
    at, frames = theta + 1e-3, np.arange(len(theta))
    g = tensors.assemble(at, frames).g
    for k in range(theta.shape[1]):
        step = np.zeros_like(at)
        step[:, k] = 1e-5
        expected = (tensors.cost(at + step, frames) - tensors.cost(at - step, frames)) / 2e-5
        # the picture's central differences are not its bilinear slopes: 0.4 % at these wave lengths
        assert np.abs(g[:, k] - expected).max() < 0.01 * np.abs(g).max(), f"column {k}"


def test_uint8_windows_and_any_order_of_frames_are_taken():
    s = photo_scene.scene()
    block = photo_scene.pixel_block(s)
    assert block.images.dtype == np.uint8
    order = np.array([2, 0, 0])
    theta = _off(s)[order]
    a = TorchPhotometric.from_block(block, CPU).assemble(theta, order)
    assert _apart(a, block.assemble(theta, order))["H"] < FLOAT32
    np.testing.assert_allclose(a.H[1], a.H[2], rtol=1e-6, atol=1e-6 * np.abs(a.H[1]).max())


@pytest.mark.parametrize("level", [0, 1])
def test_samples_and_their_border_equal_the_compiled_ones(level):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 20, 30, 3)).astype(np.uint8)
    low, high = np.float32([1.5, 1.5]), np.float32([27.5, 17.5])  # the first places in, and out
    corners = [
        low,
        high,
        np.nextafter(low, np.float32(0)),
        np.nextafter(high, np.float32(0)),
        [27.25, 1.5],
        [1.5, 17.25],
    ]
    places = np.concatenate([corners, rng.uniform(-3, 33, (200, 2))]).astype(np.float32) * 2**level
    sampler = Sampler.from_images(images, level, CPU, torch.float32)
    pixels = torch.as_tensor(np.stack([places, places[::-1]])).mT
    value, gx, gy, inside = sampler.gradients(pixels, torch.tensor([1, 0]))
    alone, same = sampler.values(pixels, torch.tensor([1, 0]))
    assert 50 < inside[0].sum() < 150
    assert inside[0, :6].tolist() == [True, False, False, True, True, True]
    for k, frame in enumerate((1, 0)):
        expected = np.empty((len(places), 3, 3), np.float32)
        sample_points(images[frame], pixels[k].mT.numpy(), np.float32(0.5**level), expected)
        on = expected[:, 0, 0] >= 0
        np.testing.assert_array_equal(inside[k], on)
        np.testing.assert_array_equal(same[k], on)
        np.testing.assert_allclose(value[k].T[on], expected[on, :, 0], atol=1e-6)
        np.testing.assert_allclose(alone[k].T[on], expected[on, :, 0], atol=1e-6)
        slopes = torch.stack([gx[k].T, gy[k].T], dim=-1)[on] * 2**level  # by level pixels
        np.testing.assert_allclose(slopes, expected[on, :, 1:], atol=2e-6)


def test_a_head_behind_the_camera_or_outside_its_window_says_nothing():
    _, theta, block = photo_scene.tiny_case(3)
    theta[0, 5], theta[1, 3] = -0.9, 5.0
    tensors = TorchPhotometric.from_block(block, CPU)
    for found in (block.assemble(theta, np.arange(3)), tensors.assemble(theta, np.arange(3))):
        assert np.abs(found.H[:2]).max() == 0
        assert np.abs(found.g[:2]).max() == 0
        assert found.cost[:2].tolist() == [0, 0]
        assert np.abs(found.H[2]).max() > 0


def test_the_prior_on_tensors_equals_the_prior():
    s = photo_scene.scene()
    prior = _prior(s).block
    theta = _off(s) - 0.1  # some blendshapes below their bound
    tensors = TorchPrior.from_block(prior, CPU)
    assert max(_apart(tensors.assemble(theta, np.arange(3)), prior.assemble(theta, np.arange(3))).values()) < 1e-13
    np.testing.assert_allclose(tensors.cost(theta, np.arange(3)), prior.cost(theta, np.arange(3)), rtol=1e-13)


def test_rotations_and_their_jacobians_equal_the_heads_own_from_zero_on():
    rng = np.random.default_rng(0)
    w = rng.normal(size=(40, 3)) * np.geomspace(1e-9, 1.5, 40)[:, None]
    w[0] = 0
    R, left = rotations(torch.as_tensor(w))
    np.testing.assert_allclose(R, rodrigues(w), atol=1e-14)
    np.testing.assert_allclose(left, left_jacobian(w), atol=1e-14)


@pytest.mark.parametrize("level", [0, 1])
def test_three_steps_end_within_a_thousandth_sigma_of_the_compiled_engine(level):
    s = photo_scene.scene()
    blocks = [photo_scene.detection_block(s), photo_scene.pixel_block(s, level)]
    tensors = [TorchLandmarks.from_block(blocks[0], CPU), TorchPhotometric.from_block(blocks[1], CPU)]
    prior, options, start = _prior(s), SolverOptions(3, 0.0), _off(s)
    compiled = solve_frames(blocks, prior, start, options)
    assert (assemble_all((*blocks, prior.block), start, np.arange(3)).cost > compiled.equations.cost + 50).all()
    sigma = np.sqrt(np.diagonal(_covariance(compiled, prior), axis1=1, axis2=2))
    for fit in (solve_frames(tensors, prior, start, options), solve_frames_torch(tensors, prior, start, options)):
        apart = np.abs(fit.theta - compiled.theta)[:, prior.free] / sigma
        assert apart.max() < 1e-3, f"{apart.max():.1e} sigma"  # measured 2e-4
        assert fit.iterations.tolist() == [3, 3, 3]


def _covariance(fit, prior):
    return np.linalg.inv(fit.equations.H[:, prior.free[:, None], prior.free])


def test_the_tensor_solver_ends_at_the_same_optimum_with_the_same_verdicts():
    s = photo_scene.scene()
    prior, start = _prior(s), _off(s)
    blocks = [
        TorchLandmarks.from_block(photo_scene.detection_block(s), CPU, torch.float64),
        TorchPhotometric.from_block(photo_scene.pixel_block(s), CPU, torch.float64),
    ]
    options = SolverOptions(40, 1e-4)
    host, device = solve_frames(blocks, prior, start, options), solve_frames_torch(blocks, prior, start, options)
    np.testing.assert_allclose(device.theta, host.theta, atol=1e-8)
    np.testing.assert_allclose(device.equations.cost, host.equations.cost, rtol=1e-10)
    np.testing.assert_array_equal(device.iterations, host.iterations)
    np.testing.assert_array_equal(device.converged, host.converged)
    assert host.converged.all()
    assert host.finite.all()
    assert device.finite.all()
    # frames do not know each other: in pieces of two, they end where they end together
    pieces = solve_frames_torch(blocks, prior, start, options, chunk_frames=2)
    np.testing.assert_allclose(pieces.theta, device.theta, atol=1e-8)


def test_rejected_steps_raise_the_damping_like_the_host_solver_does():
    """From far away the first steps go wrong; both solvers must take the same way."""
    _, theta, block = photo_scene.tiny_case(3)
    model = tiny_head(points=80)
    prior = make_prior(ParamLayout(model.n_expr), model, PriorSigmas(expr=3.0))
    tensors = [TorchPhotometric.from_block(block, CPU, torch.float64)]
    start = theta + 0.08 * np.random.default_rng(1).normal(size=theta.shape) * (np.arange(25) != 5)
    start[:, 6:9] = 0
    options = SolverOptions(12, 1e-6)
    host, device = solve_frames(tensors, prior, start, options), solve_frames_torch(tensors, prior, start, options)
    np.testing.assert_array_equal(device.iterations, host.iterations)
    np.testing.assert_allclose(device.equations.cost, host.equations.cost, rtol=1e-6)
    costs = [solve_frames_torch(tensors, prior, start, SolverOptions(k, 1e-6)).equations.cost for k in range(1, 12)]
    assert (np.diff(costs, axis=0) == 0).any(), "no step was rejected: the case tests nothing"
    assert (np.diff(costs, axis=0) <= 0).all()


def test_a_system_that_is_not_positive_definite_is_damped_and_not_stepped():
    H = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    H[1, 0, 1] = H[1, 1, 0] = 3.0
    g = torch.ones((2, 4), dtype=torch.float64)
    step, promised = damped_step(H, g, torch.full((2,), 1e-3, dtype=torch.float64), torch.arange(3))
    np.testing.assert_allclose(step[0], [-1 / 1.001] * 3 + [0], rtol=1e-12)
    assert step[1].abs().max() == 0
    assert promised[0] == pytest.approx(1.5, rel=1e-3)
    assert promised[1] == torch.inf


def test_devices_are_named_or_refused_with_what_to_do(monkeypatch):
    assert resolve_device("cpu").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto").type == "cpu"
    with pytest.raises(ConfigError, match=r"finds 0 CUDA devices; use cpu or auto"):
        resolve_device("cuda")
    for name in ("gpu", "cuda:x", "cpu:0", ""):
        with pytest.raises(ConfigError, match="auto, cpu, cuda"):
            resolve_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto") == torch.device("cuda")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ConfigError, match="finds 2 CUDA devices"):
        resolve_device("cuda:2")


def test_capture_is_refused_without_a_cuda_device():
    _, theta, block = photo_scene.tiny_case(2)
    model = tiny_head(points=80)
    prior = make_prior(ParamLayout(model.n_expr), model, PriorSigmas())
    with pytest.raises(ConfigError, match="capture needs blocks on a CUDA device, not cpu"):
        solve_frames_torch([TorchPhotometric.from_block(block, CPU)], prior, theta, SolverOptions(), capture=True)


class _Recorder(TorchDispatchMode):
    """Names of all operations that reach a device."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("moving_joints", [False, True])
def test_an_iteration_neither_reads_a_result_nor_brings_anything_from_the_host(moving_joints):
    """What a CUDA graph would refuse, seen without one: reading a value, shapes that depend on data, new constants."""
    _, theta, block = photo_scene.tiny_case(2, moving_joints, moving_joints)
    model = tiny_head(points=80)
    prior = make_prior(ParamLayout(model.n_expr), model, PriorSigmas())
    blocks = [TorchPhotometric.from_block(block, CPU), TorchPrior.from_block(prior.block, CPU)]
    marks = photo_scene.detection_block(photo_scene.scene())
    free, frames = torch.as_tensor(prior.free), torch.arange(2)
    zeros, no = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.bool)
    state = State(torch.as_tensor(theta), *blocks[0].equations(torch.as_tensor(theta), frames), zeros, zeros, no, no)
    forbidden = {"_local_scalar_dense", "nonzero", "lift_fresh", "lift_fresh_copy", "masked_select", "unique"}
    with _Recorder() as seen:
        bool(frames[[0]].sum() > 0)
    assert seen.names >= {"lift_fresh", "_local_scalar_dense"}, "the recorder misses what it is for"
    with _Recorder() as seen:
        _iterate(state, blocks, free, frames, 0.01)
    assert "linalg_cholesky_ex" in seen.names
    assert not seen.names & forbidden
    tensors, at = TorchLandmarks.from_block(marks, CPU), torch.as_tensor(photo_scene.scene().theta)
    with _Recorder() as seen:
        tensors.equations(at, torch.arange(3))
    assert not seen.names & forbidden


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("capture", [False, True])
def test_on_cuda_the_solver_ends_where_it_ends_on_the_cpu(capture):
    s = photo_scene.scene()
    prior, start, options = _prior(s), _off(s), SolverOptions(4, 0.0)
    ends = []
    for device, captured in ((CPU, False), (torch.device("cuda"), capture)):
        blocks = [
            TorchLandmarks.from_block(photo_scene.detection_block(s), device),
            TorchPhotometric.from_block(photo_scene.pixel_block(s), device),
        ]
        ends.append(solve_frames_torch(blocks, prior, start, options, captured))
    sigma = np.sqrt(np.diagonal(_covariance(ends[0], prior), axis1=1, axis2=2))
    assert (np.abs(ends[1].theta - ends[0].theta)[:, prior.free] / sigma).max() < 1e-2
